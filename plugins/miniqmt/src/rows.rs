//! The terminal's lists, row by row: read, held against what was sent, and left out where they are another program's.

use qt_plugin_api::{OrderRow, TradeRow};
use serde_json::{Value, json};

use crate::convert::{self, Read};
use crate::frame::Frame;
use crate::line::Line;
use crate::options::{ChangedRemark, millis};
use crate::remark::Remark;
use crate::session::{Failed, Session, done, lock, passing, unanswered};

/// So many different warnings about rows are enough.
const WARNINGS: usize = 100;

impl Session {
    /// The day's orders, each held against the remark that was sent, and the rest of the answer.
    pub(crate) fn orders(&self, line: &Line) -> Result<(Vec<OrderRow>, Frame), Failed> {
        let now_ms = self.clock.now_ms();
        self.listed(line, "orders", |row| self.order_row(row, true, now_ms))
    }

    /// The day's trades, and the rest of the answer.
    pub(crate) fn trades(&self, line: &Line) -> Result<(Vec<TradeRow>, Frame), Failed> {
        let now_ms = self.clock.now_ms();
        self.listed(line, "trades", |row| self.trade_row(row, now_ms))
    }

    fn listed<T>(
        &self,
        line: &Line,
        op: &str,
        mut read: impl FnMut(Value) -> Result<Option<T>, String>,
    ) -> Result<(Vec<T>, Frame), Failed> {
        let within = self.options.query_deadline();
        let (mut rows, mut wrong) = (Vec::new(), None);
        let mut take = |row| {
            if wrong.is_none() {
                match read(row) {
                    Ok(row) => rows.extend(row),
                    Err(why) => wrong = Some(why),
                }
            }
        };
        // The bridge gives up first, so that its words arrive.
        let request = json!({ "within_ms": millis(within) });
        let answer = line.ask_each(op, request, within + within / 4, &mut take);
        let answer = answer.map_err(|lost| unanswered(line, lost)).and_then(done)?;
        self.left_out(&answer.left_out);
        match wrong {
            // One bad row makes the list no list.
            Some(why) => Err(passing(why)),
            None => Ok((rows, answer)),
        }
    }

    /// One order as the host wants it.
    pub(crate) fn order_row(
        &self,
        row: Value,
        is_listed: bool,
        now_ms: i64,
    ) -> Result<Option<OrderRow>, String> {
        self.calibrate(&row, is_listed, now_ms);
        Ok(self.usable(convert::order(row, now_ms)?))
    }

    /// One trade as the host wants it.
    pub(crate) fn trade_row(&self, row: Value, now_ms: i64) -> Result<Option<TradeRow>, String> {
        Ok(self.usable(convert::trade(row, now_ms)?))
    }

    /// A row that can be used; what is odd about it, or why it cannot be, is said once.
    fn usable<T>(&self, read: Read<T>) -> Option<T> {
        match read {
            Read::Row(row) => Some(row),
            Read::Odd(row, why) => {
                self.warn_once(why);
                Some(row)
            }
            Read::Foreign => None,
            Read::LeftOut(why) => {
                self.warn_once(why);
                None
            }
        }
    }

    /// Rows that the bridge could not read and that are not ours.
    fn left_out(&self, rows: &[String]) {
        for why in rows {
            self.warn_once(format!("a row of another program is left out: {why}"));
        }
    }

    fn warn_once(&self, text: String) {
        let mut said = lock(&self.said);
        if said.len() < WARNINGS && said.insert(text.clone()) {
            self.log.warning(self.masked(&text));
        }
    }

    fn calibrate(&self, row: &Value, is_listed: bool, now_ms: i64) {
        let record = row["client_order_id"].as_str();
        let remark = row["remark"].as_str().unwrap_or_default();
        let mut calibration = lock(&self.calibration);
        let before = calibration.now(now_ms).clone();
        let is_news = calibration.see(record, remark, is_listed, now_ms);
        let known = calibration.now(now_ms).clone();
        drop(calibration);
        if known != before {
            // Whoever waits for it looks again. Not at each row: a long day's list would wake them hundreds of thousands of times.
            self.changed.notify_all();
        }
        if let (true, Remark::Changed(how)) = (is_news, known) {
            let then = match self.options.changed_remark {
                ChangedRemark::Refuse => "no more orders are sent today (`changed_remark`)",
                ChangedRemark::Trade => "orders go on, as `changed_remark` says",
            };
            self.log.error(format!("{how}; {then}"));
        }
    }
}

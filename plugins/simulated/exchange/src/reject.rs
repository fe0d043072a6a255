//! Why an exchange or a broker does not take an order.

use std::fmt;

use qt_market::{LotError, Price, Shares, Symbol};
use rust_decimal::Decimal;

/// A refusal in the words of a broker, with a word and a number that stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable word, such as `PRICE_LIMIT`.
    pub code: &'static str,
    /// A stable number, as brokers have them; people read the words.
    pub number: i64,
    /// In Chinese, as a counter says it.
    pub chinese: &'static str,
    /// In English, with the values.
    pub english: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} ({})", self.code, self.chinese, self.english)
    }
}

impl std::error::Error for Rejection {}

/// Every code with its number and its Chinese words.
pub const CODES: [(&str, i64, &str); 20] = [
    ("NO_QUOTE", 2001, "证券停牌或无行情"),
    ("QUANTITY", 2002, "委托数量错误"),
    ("LOT", 2003, "委托数量不是每手股数的整数倍"),
    ("BELOW_MINIMUM", 2004, "委托数量低于最小申报数量"),
    ("ABOVE_LARGEST", 2005, "委托数量超过单笔最大申报数量"),
    ("NO_SHARES", 2006, "证券可用数量不足"),
    ("SESSION", 2007, "非交易时间，不允许委托"),
    ("PRICE_TICK", 2008, "委托价格不是最小价格变动单位的整数倍"),
    ("PRICE_LIMIT", 2009, "委托价格超过涨跌幅限制"),
    ("PRICE_CAGE", 2010, "委托价格超出有效申报价格范围"),
    ("MARKET_PHASE", 2011, "当前阶段不接受市价委托"),
    ("NO_COUNTERPARTY", 2012, "对手方无报价，市价委托失败"),
    ("AFTER_HOURS_PRICE", 2013, "盘后定价委托价格劣于收盘价"),
    ("SELF_TRADE", 2014, "不允许自成交"),
    ("NO_CASH", 2015, "资金可用数不足"),
    ("CANCEL_CLOSED", 2016, "当前时段不接受撤单"),
    ("NO_SUCH_ORDER", 2017, "委托不存在"),
    ("ORDER_ENDED", 2018, "委托已成交或已撤销，不能撤单"),
    ("DUPLICATE_ID", 2019, "委托编号重复"),
    ("PRICE", 2020, "委托价格错误"),
];

/// A refusal by its code. One that is not in [`CODES`] has the number 0; a test keeps that from happening.
pub(crate) fn reject(code: &'static str, english: String) -> Rejection {
    let known = CODES.iter().find(|(known, _, _)| *known == code);
    let (number, chinese) = known.map_or((0, ""), |(_, number, chinese)| (*number, *chinese));
    Rejection {
        code,
        number,
        chinese,
        english,
    }
}

pub(crate) fn lot(error: &LotError) -> Rejection {
    let code = match error {
        LotError::NotPositive { .. } => "QUANTITY",
        LotError::BelowMinimum { .. } => "BELOW_MINIMUM",
        LotError::NotWholeLots { .. } => "LOT",
        LotError::AboveLargest { .. } => "ABOVE_LARGEST",
        LotError::AboveSellable { .. } => "NO_SHARES",
    };
    reject(code, error.to_string())
}

/// A sale of more than may be sold.
pub(crate) fn no_shares(symbol: &Symbol, asked: Shares, sellable: Shares, total: Shares) -> Rejection {
    let waits = if total > sellable {
        format!(
            " of {total} held; what was bought today is sold from the next trading day on, what open sales hold is bound"
        )
    } else {
        String::new()
    };
    reject(
        "NO_SHARES",
        format!("{symbol}: {asked} shares are to be sold, {sellable} can be{waits}"),
    )
}

/// A purchase of more than there is cash for.
pub(crate) fn no_cash(symbol: &Symbol, needed: Decimal, available: Decimal) -> Rejection {
    reject(
        "NO_CASH",
        format!("{symbol}: {needed} yuan are needed with fees, {available} are available"),
    )
}

/// A limit outside of the day's limits.
pub(crate) fn price_limit(symbol: &Symbol, limit: Price, lower: Price, upper: Price) -> Rejection {
    reject(
        "PRICE_LIMIT",
        format!("{symbol}: {limit} is outside of the day's limits {lower} to {upper}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_are_each_there_once_and_the_words_say_all() {
        let mut words: Vec<_> = CODES.iter().map(|(word, _, _)| *word).collect();
        let mut numbers: Vec<_> = CODES.iter().map(|(_, number, _)| *number).collect();
        words.sort_unstable();
        words.dedup();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((words.len(), numbers.len()), (CODES.len(), CODES.len()));
        let shown = no_cash(&"600519.SH".parse().unwrap(), Decimal::TEN, Decimal::ONE).to_string();
        assert_eq!(
            shown,
            "[NO_CASH] 资金可用数不足 (600519.SH: 10 yuan are needed with fees, 1 are available)"
        );
    }
}

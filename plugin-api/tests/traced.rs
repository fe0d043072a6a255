//! The author's `tracing` events in the host's log. A test of its own: a subscriber is global to its process.
#![cfg(all(feature = "host", feature = "tracing"))]

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use qt_plugin_api::{
    host::{Callbacks, OpenArgs, open_linked},
    tracing::{debug, error, info, info_span, trace},
    *,
};
use serde_json::json;

struct Speaker(bool);

impl Broker for Speaker {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        // The context is dropped here; the events of later calls must arrive all the same.
        Ok(Self(trace::install(&cx.log)))
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        let span = info_span!("place", id = %order.client_order_id, try_ = 1);
        let _inside = span.enter();
        info!(quantity = order.quantity, firm = true, "to the exchange");
        debug!("hidden");
        std::thread::spawn(|| error!(target: "wire", code = -3, "lost"))
            .join()
            .expect("ends");
        trace!(name = "hidden too");
        PlaceResult::Unknown {
            reason: format!("{}", self.0),
        }
    }

    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        CancelResult::Sent
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        Ok(vec![])
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        Ok(vec![])
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(vec![])
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        Ok(AccountRow::default())
    }

    fn connection(&self) -> ConnectionState {
        ConnectionState::Connected
    }
}

#[test]
fn events_keep_level_target_and_fields() {
    let (lines, held) = (Arc::new(Mutex::new(vec![])), Arc::new(()));
    let config = json!({});
    for round in 0..2 {
        let (written, inside) = (Arc::clone(&lines), Arc::clone(&held));
        let callbacks = Callbacks::new(|_, _| {})
            .with_log_filter(|level| level >= LogLevel::Info)
            .with_log(move |line| {
                let _ = &inside;
                let text = format!(
                    "{:?}|{}|{}|{}",
                    line.level, line.target, line.message, line.fields
                );
                written.lock().expect("lines").push(text);
            });
        let args = OpenArgs {
            config: &config,
            data_dir: Path::new("/"),
            account_id: None,
            callbacks,
        };
        let broker = open_linked::<Speaker>(args).expect("opens");
        let price = "1".parse().expect("decimal");
        let order = OrderRequest::new("ABCDEFGHIJ0123456789", "000858.SZ", Side::Buy, 100, Some(price));
        assert_eq!(
            broker.place_order(&order),
            PlaceResult::Unknown {
                reason: "true".into()
            }
        );
        let expected = [
            r#"Info|traced|to the exchange|{"quantity":100,"firm":true,"spans":[{"name":"place","id":"ABCDEFGHIJ0123456789","try_":1}]}"#,
            r#"Error|wire|lost|{"code":-3}"#,
        ];
        let mut seen = std::mem::take(&mut *lines.lock().expect("lines"));
        for line in &mut seen {
            // The order of keys in an object means nothing.
            let (head, fields) = line.rsplit_once("|{").expect("fields");
            let value: serde_json::Value = serde_json::from_str(&format!("{{{fields}")).expect("JSON");
            *line = format!("{head}|{value}");
        }
        let expected = expected.map(|line| {
            let (head, fields) = line.rsplit_once("|{").expect("fields");
            let value: serde_json::Value = serde_json::from_str(&format!("{{{fields}")).expect("JSON");
            format!("{head}|{value}")
        });
        assert_eq!(seen, expected, "round {round}");
        drop(broker);
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "the subscriber must not keep the host's context"
        );
    }
    // After the broker is gone, its threads may still speak: nobody listens, and nothing breaks.
    info!("to nobody");
    assert!(lines.lock().expect("lines").is_empty());
}

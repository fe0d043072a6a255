//! Offers both interfaces of its time.

mod broker;

use broker::Exhibit;
use qt_plugin_api::*;

fn at_open(cx: &OpenContext) -> Result<(), OpenError> {
    cx.metrics.count("opened_total", 1);
    Ok(())
}

impl Quotes for Exhibit {
    fn quotes(&self, symbols: &[String]) -> Result<Vec<Quote>, CallError> {
        let one = |symbol: &String| Quote { symbol: symbol.clone(), last_price: Some(Decimal::ONE), ..Quote::default() };
        Ok(symbols.iter().map(one).collect())
    }
}

impl TradesSince for Exhibit {
    fn trades_since(&self, cursor: Option<&str>) -> Result<TradesPage, CallError> {
        let all = self.trades_today()?;
        let from = cursor.and_then(|c| c.parse().ok()).unwrap_or(0).min(all.len());
        Ok(TradesPage { cursor: all.len().to_string(), trades: all[from..].to_vec() })
    }
}

export_broker! {
    type: Exhibit,
    name: "museum-plain",
    version: "1.0.0",
    description: "Offers both interfaces of its time",
    capabilities: ["place", "orders", "trades"],
    interfaces: [quotes, trades],
    licence: "MIT",
}

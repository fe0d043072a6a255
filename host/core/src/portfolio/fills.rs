//! The trades of one order with their fees, as the analyzer wants them.

use qt_market::{Market, Side, Symbol};
use rust_decimal::Decimal;

use super::exact::{At, PLACES};
use super::{PortfolioError, Trade};
use crate::order::Fill;

/// The trades of one order, each with its part of the order's fees.
///
/// A kind of fee that the broker leaves out of some fill is estimated over the whole order, since
/// the smallest commission counts once an order, and shared out by amount; the parts sum up to the
/// whole to the last digit.
///
/// # Errors
/// A fill without shares, or a figure that no decimal holds.
pub fn trades_of(
    symbol: Symbol,
    side: Side,
    fills: &[Fill],
    market: &Market,
) -> Result<Vec<Trade>, PortfolioError> {
    let at = At(symbol, "the fees of its trades");
    let mut trades = Vec::with_capacity(fills.len());
    let mut amounts = Vec::with_capacity(fills.len());
    let mut whole = Decimal::ZERO;
    for fill in fills {
        let trade = Trade {
            symbol,
            side,
            size: fill.size,
            price: fill.price,
            fees: Decimal::ZERO,
            at: fill.at,
        };
        let amount = trade.amount()?;
        whole = at.add(whole, amount)?;
        amounts.push(amount);
        trades.push(trade);
    }
    let Some(first) = fills.first() else {
        return Ok(trades);
    };
    let guess = market.fees_of_amount(&symbol, side, whole, first.at.trading_date().civil())?;
    type Kind = (fn(&Fill) -> Option<Decimal>, Decimal);
    let kinds: [Kind; 3] = [
        (|fill| fill.commission, guess.commission),
        (|fill| fill.stamp_tax, guess.stamp_tax),
        (|fill| fill.transfer_fee, guess.transfer_fee),
    ];
    for (said, guess) in kinds {
        let all_said: Option<Vec<Decimal>> = fills.iter().map(said).collect();
        let parts = match all_said {
            Some(parts) => parts,
            None => shared_out(at, guess, &amounts, whole)?,
        };
        for (trade, part) in trades.iter_mut().zip(parts) {
            trade.fees = at.add(trade.fees, part)?;
        }
    }
    Ok(trades)
}

/// `fee` by the parts that `amounts` have in `whole`; all of it on the last where there is no amount.
fn shared_out(
    at: At,
    fee: Decimal,
    amounts: &[Decimal],
    whole: Decimal,
) -> Result<Vec<Decimal>, PortfolioError> {
    let (mut so_far, mut given) = (Decimal::ZERO, Decimal::ZERO);
    let mut parts = Vec::with_capacity(amounts.len());
    for (place, amount) in (1..).zip(amounts) {
        so_far = at.add(so_far, *amount)?;
        // What is due so far less what was given: roundings never add up.
        let due = if place == amounts.len() {
            fee
        } else if whole.is_zero() {
            Decimal::ZERO
        } else {
            at.div(at.mul(fee, so_far)?, whole)?.round_dp(PLACES)
        };
        parts.push(at.sub(due, given)?);
        given = due;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::d;
    use super::*;
    use crate::time::UtcMillis;
    use proptest::prelude::*;

    fn fill(size: i64, price: &str, commission: Option<&str>) -> Fill {
        Fill {
            id: crate::FillId("F".to_owned()),
            size,
            price: d(price),
            commission: commission.map(d),
            stamp_tax: Some(Decimal::ZERO),
            transfer_fee: Some(Decimal::ZERO),
            at: UtcMillis(1_795_536_000_000),
        }
    }

    fn fees(fills: &[Fill]) -> Vec<String> {
        let symbol = "000858.SZ".parse().unwrap();
        trades_of(symbol, Side::Buy, fills, Market::builtin())
            .unwrap()
            .iter()
            .map(|trade| trade.fees.normalize().to_string())
            .collect()
    }

    #[test]
    fn what_the_broker_says_counts_and_what_it_leaves_out_is_estimated_once_an_order() {
        assert_eq!(fees(&[fill(100, "10", Some("1.5"))]), ["1.5"]);
        // Two fills of one order pay the smallest commission once, shared out by amount.
        let two = [fill(100, "10", None), fill(300, "10", None)];
        assert_eq!(fees(&two), ["1.25", "3.75"]);
        // Said for one alone does not count: the estimate covers the order.
        let half = [fill(100, "10", Some("1")), fill(100, "10", None)];
        assert_eq!(fees(&half), ["2.5", "2.5"]);
        assert!(fees(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn the_parts_of_a_fee_sum_up_to_it(
            fee in 0i64..1_000_000, cents in proptest::collection::vec(0i64..1_000_000, 1..20),
        ) {
            let at = At("000858.SZ".parse().unwrap(), "a fee");
            let amounts: Vec<_> = cents.iter().map(|cents| Decimal::new(*cents, 2)).collect();
            let whole = amounts.iter().sum();
            let fee = Decimal::new(fee, 2);
            let parts = shared_out(at, fee, &amounts, whole).unwrap();
            prop_assert_eq!(parts.iter().sum::<Decimal>(), fee);
            prop_assert!(parts.iter().all(|part| *part >= Decimal::ZERO));
        }
    }
}

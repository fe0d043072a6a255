//! A grid on a holding: buying below and selling above to bring its cost down.

use qt_market::{
    Price, Shares, Side, Toward, check_quantity, lot_rule, round_down_to_lot, round_to_tick, tick,
};
use rust_decimal::Decimal;

use super::exact::{At, HUNDRED};
use super::totals::price_of;
use super::{PortfolioError, Position, PositionFigures};

/// More levels than this are a mistake, and every loop has an end.
const MOST_GRIDS: u32 = 1_000;
const FIVE: Decimal = Decimal::from_parts(5, 0, 0, false, 0);

/// What a person may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridOptions {
    /// Levels on each side, 1 to 1000.
    pub grids: u32,
    /// Distance of two levels in percent, above 0 and below 100.
    pub spacing_pct: Decimal,
    /// Shares a level; `None`: a tenth of the holding in whole lots, at least one.
    pub size: Option<Shares>,
    /// How long it is meant to run, in days.
    pub duration_days: u32,
}

impl Default for GridOptions {
    fn default() -> Self {
        Self {
            grids: 10,
            spacing_pct: FIVE,
            size: None,
            duration_days: 30,
        }
    }
}

/// The suggestion for one holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridSuggestion<'a> {
    /// The holding and its figures.
    pub figures: PositionFigures<'a>,
    /// Levels on each side.
    pub grids: u32,
    /// Distance of two levels in percent.
    pub spacing_pct: Decimal,
    /// Shares bought at each level below.
    pub buy_size: Shares,
    /// Shares sold at each level above; never more than is held.
    pub sell_size: Shares,
    /// The average cost that is hoped for, in yuan: cost × (1 − spacing). `None` where the cost is not above zero, as
    /// after profits were booked against it: there is no cost to reduce then.
    pub target_cost: Option<Price>,
    /// How much lower that is, in percent; `None` where there is no cost to reduce.
    pub cost_reduction_pct: Option<Decimal>,
    /// Shares not to be exceeded: one and a half times the holding, down to whole lots, and never so few that the
    /// smallest purchase would exceed them: 1500 for 1000, 700 for 500, 200 for 100, 300 for 150.
    pub max_position: Shares,
    /// How long it is meant to run, in days.
    pub duration_days: u32,
}

/// One level of the ladder, as if it and those nearer to the price were filled, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridLevel {
    /// 1 is the nearest to the price.
    pub level: u32,
    /// In yuan, on a tick.
    pub price: Price,
    /// Shares.
    pub size: Shares,
    /// Shares held after it.
    pub position_after: Shares,
    /// Average cost after it, as brokers dilute it: what was paid minus what was earned, a share.
    /// `None` where nothing is left. Without fees.
    pub avg_cost_after: Option<Price>,
    /// True where it takes the holding above the largest that is suggested.
    pub above_max: bool,
}

/// The levels below and above a price, the nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// The price that the levels lie around, in yuan.
    pub price: Price,
    /// price × (1 − spacing)^k, on ticks, half to even; ends above zero.
    pub buys: Vec<GridLevel>,
    /// price × (1 + spacing)^k, on ticks, half to even; ends where nothing is left to sell.
    pub sells: Vec<GridLevel>,
}

/// Suggests a grid for a holding.
///
/// # Errors
/// Nothing is held, an option is out of its range, or a figure is too large.
pub fn suggest_grid<'a>(
    figures: &PositionFigures<'a>,
    options: &GridOptions,
) -> Result<GridSuggestion<'a>, PortfolioError> {
    let position = figures.position;
    let symbol = position.symbol;
    check_options(position, options)?;
    let buy_size = buy_size(position, options)?;
    let (target_cost, cost_reduction_pct) = if position.avg_cost > Decimal::ZERO {
        let factor = (HUNDRED - options.spacing_pct) / HUNDRED;
        let target = At(symbol, "the target cost").mul(position.avg_cost, factor)?;
        (Some(target), Some(options.spacing_pct))
    } else {
        (None, None)
    };
    let max_position = max_position(position)?;
    Ok(GridSuggestion {
        figures: *figures,
        grids: options.grids,
        spacing_pct: options.spacing_pct,
        buy_size,
        sell_size: buy_size.min(position.total),
        target_cost,
        cost_reduction_pct,
        max_position,
        duration_days: options.duration_days,
    })
}

/// The levels of a grid around `price`, or around the holding's own price where that is `None`.
///
/// Levels that fall on the same tick are one, so a cheap stock may have fewer than asked for.
///
/// # Errors
/// As [`suggest_grid`], and a price that is not above zero.
pub fn ladder(
    position: &Position,
    price: Option<Price>,
    options: &GridOptions,
) -> Result<Ladder, PortfolioError> {
    check_options(position, options)?;
    let symbol = position.symbol;
    let price = price.unwrap_or_else(|| price_of(position).0);
    if price <= Decimal::ZERO {
        return Err(PortfolioError::NoPrice { symbol, price });
    }
    let size = buy_size(position, options)?;
    Ok(Ladder {
        price,
        buys: rungs(position, price, Side::Buy, size, options)?,
        sells: rungs(position, price, Side::Sell, size.min(position.total), options)?,
    })
}

fn rungs(
    position: &Position,
    price: Price,
    side: Side,
    size: Shares,
    options: &GridOptions,
) -> Result<Vec<GridLevel>, PortfolioError> {
    let symbol = position.symbol;
    let at = At(symbol, "a level of the grid");
    let tick = tick(&symbol);
    let max_position = max_position(position)?;
    let factor = match side {
        Side::Buy => HUNDRED - options.spacing_pct,
        Side::Sell => HUNDRED + options.spacing_pct,
    } / HUNDRED;
    let mut exact = price;
    let mut last = round_to_tick(price, tick, Toward::NearestEven);
    let mut held = position.total;
    let mut paid = at.mul(Decimal::from(held), position.avg_cost)?;
    let mut rungs = Vec::new();
    for _ in 0..options.grids {
        exact = exact
            .checked_mul(factor)
            .ok_or(PortfolioError::TooLarge { symbol, what: at.1 })?;
        let level_price = round_to_tick(exact, tick, Toward::NearestEven);
        if level_price < tick || (side == Side::Sell && held == 0) {
            break;
        }
        if level_price == last {
            continue;
        }
        last = level_price;
        let (size, change) = match side {
            Side::Buy => (size, size),
            Side::Sell => (size.min(held), -size.min(held)),
        };
        held = held
            .checked_add(change)
            .ok_or(PortfolioError::TooLarge { symbol, what: at.1 })?;
        paid = at.add(paid, at.mul(Decimal::from(change), level_price)?)?;
        rungs.push(GridLevel {
            level: u32::try_from(rungs.len() + 1).unwrap_or(u32::MAX),
            price: level_price,
            size,
            position_after: held,
            avg_cost_after: if held == 0 {
                None
            } else {
                Some(at.div(paid, Decimal::from(held))?)
            },
            above_max: held > max_position,
        });
    }
    Ok(rungs)
}

fn check_options(position: &Position, options: &GridOptions) -> Result<(), PortfolioError> {
    let symbol = position.symbol;
    if position.total <= 0 {
        return Err(PortfolioError::NothingHeld { symbol });
    }
    let refuse = |option, value, expected| {
        Err(PortfolioError::Option {
            symbol,
            option,
            value,
            expected,
        })
    };
    if options.grids == 0 || options.grids > MOST_GRIDS {
        return refuse("grids", options.grids.into(), "a number from 1 to 1000");
    }
    if options.spacing_pct <= Decimal::ZERO || options.spacing_pct >= HUNDRED {
        return refuse(
            "spacing",
            options.spacing_pct,
            "a percentage above 0 and below 100",
        );
    }
    Ok(())
}

fn buy_size(position: &Position, options: &GridOptions) -> Result<Shares, PortfolioError> {
    let symbol = &position.symbol;
    match options.size {
        Some(size) => {
            check_quantity(symbol, Side::Buy, size, None)?;
            Ok(size)
        }
        None => Ok(round_down_to_lot(symbol, position.total / 10).max(lot_rule(symbol).minimum)),
    }
}

/// See [`GridSuggestion::max_position`].
fn max_position(position: &Position) -> Result<Shares, PortfolioError> {
    let symbol = position.symbol;
    let too_large = PortfolioError::TooLarge {
        symbol,
        what: "the largest position",
    };
    let wished = position.total.checked_add(position.total / 2);
    let rule = lot_rule(&symbol);
    // The holding and the smallest purchase, up to whole lots.
    let least = position
        .total
        .checked_add(rule.minimum)
        .and_then(|shares| shares.checked_add(rule.step - 1))
        .map(|shares| shares - shares % rule.step);
    match (wished, least) {
        (Some(wished), Some(least)) => Ok(round_down_to_lot(&symbol, wished).max(least)),
        _ => Err(too_large),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{d, example, position};
    use super::super::{round2, value};
    use super::*;
    use proptest::prelude::*;

    fn suggestion(position: &Position, options: &GridOptions) -> Result<[String; 6], PortfolioError> {
        let book = [position.clone()];
        let valuation = value(&book).unwrap();
        suggest_grid(&valuation.positions[0], options).map(|s| {
            [
                s.buy_size.to_string(),
                s.sell_size.to_string(),
                s.target_cost
                    .map_or("-".to_owned(), |cost| round2(cost).to_string()),
                s.cost_reduction_pct.map_or("-".to_owned(), |pct| pct.to_string()),
                s.max_position.to_string(),
                s.duration_days.to_string(),
            ]
        })
    }

    #[test]
    fn the_specifications_holding_has_its_suggestion() {
        let options = GridOptions::default();
        assert_eq!((options.grids, options.spacing_pct), (10, d("5")));
        let holding = &example()[0];
        assert_eq!(
            suggestion(holding, &options).unwrap(),
            ["100", "100", "40.38", "5", "1500", "30"]
        );
    }

    #[test]
    fn sizes_are_whole_lots_of_the_board() {
        let options = GridOptions::default();
        let sizes = |symbol: &str, total: Shares| {
            let [buy, sell, ..] = suggestion(&position(symbol, total, "10", Some("10")), &options).unwrap();
            (buy, sell)
        };
        let pair = |buy: &str, sell: &str| (buy.to_owned(), sell.to_owned());
        assert_eq!(sizes("000858.SZ", 500), pair("100", "100"));
        assert_eq!(sizes("000858.SZ", 12_990), pair("1200", "1200"));
        assert_eq!(sizes("000858.SZ", 50), pair("100", "50"));
        assert_eq!(sizes("688981.SH", 1_000), pair("200", "200"));
        assert_eq!(sizes("688981.SH", 2_555), pair("255", "255"));
        assert_eq!(sizes("113050.SH", 300), pair("30", "30"));
    }

    #[test]
    fn the_largest_position_is_in_whole_lots_and_has_room_for_a_purchase() {
        let largest = |symbol: &str, total: Shares| {
            let figures = suggestion(
                &position(symbol, total, "10", Some("10")),
                &GridOptions::default(),
            );
            figures.unwrap()[4].parse::<Shares>().unwrap()
        };
        for (symbol, total, shares) in [
            // The specification's figure.
            ("000858.SZ", 1000, 1500),
            ("000858.SZ", 500, 700),
            ("000858.SZ", 300, 400),
            ("000858.SZ", 200, 300),
            ("000858.SZ", 100, 200),
            // Odd holdings, as after a bonus issue.
            ("000858.SZ", 150, 300),
            ("000858.SZ", 50, 200),
            ("000858.SZ", 1, 200),
            ("000858.SZ", 1234, 1800),
            // One share is a lot where that is the step.
            ("688981.SH", 200, 400),
            ("688981.SH", 1001, 1501),
            ("113050.SH", 10, 20),
            ("113050.SH", 50, 70),
        ] {
            assert_eq!(largest(symbol, total), shares, "{symbol} {total}");
        }
    }

    #[test]
    fn where_there_is_no_cost_there_is_none_to_reduce() {
        for cost in ["0", "-3.5"] {
            let free = position("000858.SZ", 1000, cost, Some("43.20"));
            let figures = suggestion(&free, &GridOptions::default()).unwrap();
            assert_eq!(figures[2..4], ["-", "-"], "{cost}");
            // It can be traded in a grid all the same.
            let levels = ladder(&free, None, &GridOptions::default()).unwrap();
            assert_eq!((levels.price, levels.buys.len()), (d("43.20"), 10));
        }
    }

    #[test]
    fn the_ladder_has_the_specifications_prices_and_the_costs_after_each_fill() {
        let holding = position("000858.SZ", 1000, "42.50", Some("43.20"));
        let ladder = ladder(&holding, Some(d("40.00")), &GridOptions::default()).unwrap();
        let prices = |levels: &[GridLevel]| {
            levels
                .iter()
                .take(3)
                .map(|level| level.price.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(prices(&ladder.buys), ["38.00", "36.10", "34.30"]);
        assert_eq!(prices(&ladder.sells), ["42.00", "44.10", "46.30"]);
        assert_eq!((ladder.buys.len(), ladder.sells.len()), (10, 10));
        // (1000 × 42.50 + 100 × 38.00) / 1100, and (1000 × 42.50 − 100 × 42.00) / 900.
        let cost = |level: &GridLevel| round2(level.avg_cost_after.unwrap()).to_string();
        assert_eq!(
            (cost(&ladder.buys[0]), ladder.buys[0].position_after),
            ("42.09".to_owned(), 1100)
        );
        assert_eq!(
            (cost(&ladder.sells[0]), ladder.sells[0].position_after),
            ("42.56".to_owned(), 900)
        );
        assert!(!ladder.buys[4].above_max && ladder.buys[5].above_max);
        assert_eq!(
            (ladder.sells[9].position_after, ladder.sells[9].avg_cost_after),
            (0, None)
        );
        // Without a price, around the holding's own.
        let own = super::ladder(&holding, None, &GridOptions::default()).unwrap();
        assert_eq!(own.buys[0].price, d("41.04"));
    }

    #[test]
    fn a_cheap_stock_ends_at_one_tick_and_repeats_no_level() {
        let cheap = position("600519.SH", 1000, "0.05", Some("0.05"));
        let ladder = ladder(
            &cheap,
            None,
            &GridOptions {
                grids: 200,
                ..GridOptions::default()
            },
        )
        .unwrap();
        let prices: Vec<_> = ladder.buys.iter().map(|level| level.price.to_string()).collect();
        assert_eq!(prices, ["0.04", "0.03", "0.02", "0.01"]);
        assert!(ladder.sells.windows(2).all(|pair| pair[0].price < pair[1].price));
    }

    #[test]
    fn what_makes_no_grid_is_refused_by_name() {
        let holding = position("000858.SZ", 1000, "42.50", Some("43.20"));
        let default = GridOptions::default();
        for options in [
            GridOptions { grids: 0, ..default },
            GridOptions {
                grids: 1001,
                ..default
            },
            GridOptions {
                spacing_pct: Decimal::ZERO,
                ..default
            },
            GridOptions {
                spacing_pct: d("100"),
                ..default
            },
            GridOptions {
                size: Some(150),
                ..default
            },
            GridOptions {
                size: Some(0),
                ..default
            },
        ] {
            let error = suggestion(&holding, &options).unwrap_err();
            assert!(error.to_string().starts_with("000858.SZ: "), "{error}");
            assert_eq!(ladder(&holding, None, &options).unwrap_err(), error);
        }
        let none = position("000858.SZ", 0, "42.50", Some("43.20"));
        assert!(matches!(
            suggestion(&none, &default),
            Err(PortfolioError::NothingHeld { .. })
        ));
        let free = position("000858.SZ", 1000, "-2", None);
        assert!(matches!(
            ladder(&free, None, &default),
            Err(PortfolioError::NoPrice { .. })
        ));
        let huge = position("000858.SZ", i64::MAX, "1", Some("1"));
        assert!(matches!(
            suggestion(&huge, &default),
            Err(PortfolioError::TooLarge { .. })
        ));
        let dear = position("000858.SZ", 1, "1", Some("79228162514264337593543950335"));
        assert!(matches!(
            ladder(&dear, None, &default),
            Err(PortfolioError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_ladder_only_falls_below_and_only_rises_above(
            ticks in 1i64..1_000_000, spacing in 1i64..9_999, grids in 1u32..60, total in 1i64..1_000_000,
        ) {
            let price = Decimal::new(ticks, 2);
            let holding = position("600519.SH", total, "10", None);
            let options =
                GridOptions { grids, spacing_pct: Decimal::new(spacing, 2), ..GridOptions::default() };
            let ladder = ladder(&holding, Some(price), &options).unwrap();
            let mut last = price;
            for level in &ladder.buys {
                prop_assert!(level.price < last && level.price >= Decimal::new(1, 2));
                last = level.price;
            }
            let mut last = price;
            for level in &ladder.sells {
                prop_assert!(level.price > last && level.position_after >= 0);
                last = level.price;
            }
            let sold: Shares = ladder.sells.iter().map(|level| level.size).sum();
            prop_assert!(sold <= total);
            prop_assert!(ladder.buys.len() <= grids as usize && ladder.sells.len() <= grids as usize);
        }
    }
}

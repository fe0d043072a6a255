//! Rules by board and date beside what the exchanges' texts and the press say of them. The expected values are written
//! out here by hand and come from nowhere in the program. `cargo test -p qt-market --test rules -- --nocapture` prints
//! the table.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use jiff::civil::{Date, date};
use qt_market::{Listing, Market, Phase, Side, Symbol, parse_time, show_time};
use rust_decimal::Decimal;

/// One line of the table: what is asked, of which symbol, on which day, the answer, and whose word it is.
struct Line(&'static str, &'static str, Date, &'static str, &'static str);

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn limits(symbol: &Symbol, listing: Listing, on: Date) -> String {
    Market::builtin()
        .price_limits(symbol, d("10.00"), listing, on)
        .map_or("none".to_owned(), |limits| {
            format!("{}..{}", limits.lower.normalize(), limits.upper.normalize())
        })
}

fn answer(question: &str, symbol: &Symbol, on: Date) -> String {
    let market = Market::builtin();
    let lot = market.lot_rule(symbol, on);
    let fees = |side| {
        let fees = market.fees_at_price(symbol, side, 1000, d("100"), on).unwrap();
        format!(
            "commission {} stamp {} transfer {}",
            fees.commission.normalize(),
            fees.stamp_tax.normalize(),
            fees.transfer_fee.normalize()
        )
    };
    let cage = |side, base: &str| {
        market
            .cage(symbol, side, d(base), on)
            .map_or("none".to_owned(), |price| price.normalize().to_string())
    };
    let listed = |trading_day| Listing {
        trading_day: Some(trading_day),
        ..Listing::default()
    };
    match question {
        "lot" => format!("{}+{}", lot.minimum, lot.step),
        "largest order" => format!("{}/{}", lot.largest_limit, lot.largest_market),
        "tick" => market.tick(symbol, on).to_string(),
        "limits of 10.00" => limits(symbol, Listing::default(), on),
        "limits of 10.00, ST" => limits(
            symbol,
            Listing {
                special_treatment: true,
                ..Listing::default()
            },
            on,
        ),
        "limits of 10.00, day 1" => limits(symbol, listed(1), on),
        "limits of 10.00, day 5" => limits(symbol, listed(5), on),
        "limits of 10.00, day 6" => limits(symbol, listed(6), on),
        question if question.starts_with("highest bid at ") => cage(Side::Buy, &question[15..]),
        question if question.starts_with("lowest offer at ") => cage(Side::Sell, &question[16..]),
        "sellable after days" => market.settlement_days(symbol).to_string(),
        "fees of buying 100000" => fees(Side::Buy),
        "fees of selling 100000" => fees(Side::Sell),
        "sessions" => {
            let windows = market.windows(symbol, on);
            let mut shown: Vec<String> = windows
                .iter()
                .filter(|window| window.phase != Phase::OpeningAuction)
                .map(|window| format!("{}-{}", show_time(window.from), show_time(window.to)))
                .collect();
            if shown.is_empty() {
                shown.push("closed".to_owned());
            }
            shown.join(" ")
        }
        question if question.starts_with("cancel at ") => market
            .window(symbol, on, parse_time(&question["cancel at ".len()..]).unwrap())
            .map_or("closed".to_owned(), |window| window.cancels.to_string()),
        other => panic!("no question {other}"),
    }
}

const NOW: Date = date(2026, 11, 24);
const JULY_3: Date = date(2026, 7, 3);
const JULY_6: Date = date(2026, 7, 6);

const MAIN: &str = "600519.SH";
const CHINEXT: &str = "300750.SZ";
const STAR: &str = "688981.SH";
const BSE: &str = "920002.BJ";
const FUND: &str = "510300.SH";
const SZ_FUND: &str = "159915.SZ";
const BOND: &str = "113050.SH";
const B_SHARE: &str = "900948.SH";
const SZ_B_SHARE: &str = "200596.SZ";

const TABLE: &[Line] = &[
    Line("lot", MAIN, NOW, "100+100", "O exchange rules"),
    Line("lot", CHINEXT, NOW, "100+100", "S"),
    Line("lot", STAR, NOW, "200+1", "S"),
    Line("lot", BSE, NOW, "100+1", "S"),
    Line("lot", FUND, NOW, "100+100", "S"),
    Line("lot", BOND, NOW, "10+10", "S"),
    Line("largest order", MAIN, NOW, "1000000/1000000", "O"),
    Line("largest order", CHINEXT, NOW, "300000/150000", "S"),
    Line("largest order", STAR, NOW, "100000/50000", "S"),
    Line("tick", MAIN, NOW, "0.01", "O"),
    Line("tick", BSE, NOW, "0.01", "O"),
    Line("tick", FUND, NOW, "0.001", "S"),
    Line("tick", BOND, NOW, "0.001", "U"),
    Line("tick", B_SHARE, NOW, "0.001", "O"),
    Line("limits of 10.00", MAIN, NOW, "9..11", "S 10 %"),
    Line(
        "limits of 10.00",
        CHINEXT,
        date(2020, 8, 21),
        "9..11",
        "S before the reform",
    ),
    Line("limits of 10.00", CHINEXT, date(2020, 8, 24), "8..12", "S 20 %"),
    Line("limits of 10.00", STAR, NOW, "8..12", "S 20 %"),
    Line("limits of 10.00", BSE, NOW, "7..13", "S 30 %"),
    Line("limits of 10.00", BOND, NOW, "8..12", "S since 2022-08-01"),
    Line(
        "limits of 10.00",
        BOND,
        date(2022, 7, 29),
        "none",
        "S none before",
    ),
    Line(
        "limits of 10.00, ST",
        MAIN,
        JULY_3,
        "9.5..10.5",
        "S 5 % before 2026-07-06",
    ),
    Line("limits of 10.00, ST", MAIN, JULY_6, "9..11", "S 10 % since"),
    Line("limits of 10.00, day 1", MAIN, NOW, "none", "S first five days"),
    Line("limits of 10.00, day 5", MAIN, NOW, "none", "S"),
    Line("limits of 10.00, day 6", MAIN, NOW, "9..11", "S"),
    Line("limits of 10.00, day 5", STAR, NOW, "none", "S"),
    Line("limits of 10.00, day 6", CHINEXT, NOW, "8..12", "S"),
    Line("limits of 10.00, day 1", BSE, NOW, "none", "S first day"),
    Line("limits of 10.00, day 5", BSE, NOW, "7..13", "S"),
    Line(
        "limits of 10.00, day 1",
        BOND,
        NOW,
        "5.67..15.73",
        "S +57.3 % -43.3 %",
    ),
    Line("highest bid at 100", MAIN, NOW, "102", "O/S"),
    Line("lowest offer at 100", MAIN, NOW, "98", "O/S"),
    Line("highest bid at 100", STAR, NOW, "102", "O/S"),
    Line("lowest offer at 100", CHINEXT, NOW, "98", "O/S"),
    Line("highest bid at 100", BSE, NOW, "105", "O/S"),
    Line("lowest offer at 100", BSE, NOW, "95", "O/S"),
    Line("sellable after days", MAIN, NOW, "1", "S T+1"),
    Line("sellable after days", FUND, NOW, "1", "S equity ETF"),
    Line("sellable after days", "518880.SH", NOW, "0", "S gold ETF"),
    Line("sellable after days", "511990.SH", NOW, "0", "S money ETF"),
    Line("sellable after days", "513100.SH", NOW, "0", "S cross-border ETF"),
    Line("sellable after days", BOND, NOW, "0", "S"),
    Line(
        "fees of selling 100000",
        MAIN,
        date(2023, 8, 25),
        "commission 25 stamp 100 transfer 1",
        "S stamp 0.1 %",
    ),
    Line(
        "fees of selling 100000",
        MAIN,
        date(2023, 8, 28),
        "commission 25 stamp 50 transfer 1",
        "S stamp 0.05 %",
    ),
    Line(
        "fees of buying 100000",
        MAIN,
        NOW,
        "commission 25 stamp 0 transfer 1",
        "S",
    ),
    Line(
        "fees of buying 100000",
        MAIN,
        date(2022, 4, 28),
        "commission 25 stamp 0 transfer 2",
        "S 0.002 % before 2022-04-29",
    ),
    Line(
        "fees of selling 100000",
        FUND,
        NOW,
        "commission 25 stamp 0 transfer 0",
        "S ETFs none",
    ),
    Line(
        "sessions",
        MAIN,
        NOW,
        "09:30-11:30 13:00-14:57 14:57-15:00 15:05-15:30",
        "S",
    ),
    Line(
        "sessions",
        MAIN,
        JULY_3,
        "09:30-11:30 13:00-14:57 14:57-15:00",
        "S no after hours before 2026-07-06",
    ),
    Line(
        "sessions",
        STAR,
        JULY_3,
        "09:30-11:30 13:00-14:57 14:57-15:00 15:05-15:30",
        "S",
    ),
    Line(
        "sessions",
        FUND,
        JULY_3,
        "09:30-11:30 13:00-15:00",
        "S no closing auction before 2026-07-06",
    ),
    Line(
        "sessions",
        FUND,
        JULY_6,
        "09:30-11:30 13:00-14:57 14:57-15:00 15:05-15:30",
        "S",
    ),
    Line(
        "sessions",
        SZ_FUND,
        JULY_3,
        "09:30-11:30 13:00-14:57 14:57-15:00",
        "S",
    ),
    Line(
        "sessions",
        BSE,
        JULY_6,
        "09:30-11:30 13:00-14:57 14:57-15:00 15:05-15:30",
        "S BSE too",
    ),
    Line(
        "sessions",
        MAIN,
        date(2026, 10, 1),
        "closed",
        "exchange_calendars 4.13.2",
    ),
    Line("sessions", MAIN, date(2026, 11, 22), "closed", "a Sunday"),
    Line(
        "sessions",
        MAIN,
        date(2024, 2, 9),
        "closed",
        "exchange_calendars 4.13.2",
    ),
    Line("cancel at 09:21", MAIN, NOW, "false", "S no cancel from 09:20"),
    Line("cancel at 09:19", MAIN, NOW, "true", "S until 09:20"),
    Line(
        "cancel at 14:58",
        MAIN,
        NOW,
        "false",
        "S none in the closing auction",
    ),
    Line("cancel at 10:00", MAIN, NOW, "true", "S"),
    Line("cancel at 12:00", MAIN, NOW, "closed", "S"),
    Line("largest order", BSE, NOW, "1000000/1000000", "U"),
    Line("largest order", FUND, NOW, "1000000/1000000", "S"),
    Line("tick", SZ_B_SHARE, NOW, "0.01", "O Hong Kong dollars"),
    Line("lot", B_SHARE, NOW, "100+100", "O"),
    Line(
        "limits of 10.00",
        MAIN,
        date(1996, 12, 13),
        "none",
        "O none before 1996-12-16",
    ),
    Line("limits of 10.00", MAIN, date(1996, 12, 16), "9..11", "O"),
    Line("limits of 10.00", B_SHARE, NOW, "9..11", "O"),
    Line(
        "limits of 10.00",
        FUND,
        NOW,
        "8..12",
        "U the wider of 10 % and 20 %",
    ),
    Line(
        "limits of 10.00, ST",
        CHINEXT,
        date(2020, 8, 21),
        "9.5..10.5",
        "S before the reform",
    ),
    Line(
        "limits of 10.00, ST",
        CHINEXT,
        NOW,
        "8..12",
        "S as all of ChiNext",
    ),
    Line(
        "limits of 10.00, ST",
        STAR,
        NOW,
        "8..12",
        "S STAR has no own limits of ST",
    ),
    Line("limits of 10.00, ST", B_SHARE, JULY_3, "9.5..10.5", "S"),
    Line("limits of 10.00, ST", B_SHARE, JULY_6, "9..11", "S"),
    Line(
        "limits of 10.00, day 1",
        MAIN,
        date(2023, 4, 7),
        "6.4..14.4",
        "S +44 % -36 % before 2023-04-10",
    ),
    Line(
        "limits of 10.00, day 1",
        CHINEXT,
        date(2020, 8, 21),
        "6.4..14.4",
        "S before 2020-08-24",
    ),
    Line(
        "limits of 10.00, day 5",
        MAIN,
        date(2023, 4, 7),
        "9..11",
        "S free on no day but the first",
    ),
    Line("limits of 10.00, day 6", STAR, NOW, "8..12", "S"),
    Line(
        "highest bid at 100",
        MAIN,
        date(2023, 4, 7),
        "none",
        "O no cage before 2023-04-10",
    ),
    Line("highest bid at 100", MAIN, date(2023, 4, 10), "102", "O"),
    Line(
        "highest bid at 100",
        CHINEXT,
        date(2020, 8, 21),
        "none",
        "O none before 2020-08-24",
    ),
    Line("highest bid at 100", FUND, NOW, "none", "O funds have none"),
    Line("highest bid at 3", MAIN, NOW, "3.1", "O or ten ticks"),
    Line("highest bid at 3", STAR, NOW, "3.06", "O/S no ten ticks"),
    Line("lowest offer at 3", MAIN, NOW, "2.9", "O or ten ticks"),
    Line("lowest offer at 1", BSE, NOW, "0.9", "O/S or ten ticks"),
    Line("sellable after days", STAR, NOW, "1", "S T+1"),
    Line(
        "sellable after days",
        SZ_FUND,
        NOW,
        "1",
        "U its code does not tell",
    ),
    Line("sellable after days", B_SHARE, NOW, "1", "S"),
    Line(
        "fees of buying 100000",
        BOND,
        NOW,
        "commission 25 stamp 0 transfer 0",
        "S",
    ),
    Line(
        "fees of selling 100000",
        B_SHARE,
        NOW,
        "commission 25 stamp 50 transfer 0",
        "S",
    ),
    Line(
        "fees of selling 100000",
        BSE,
        NOW,
        "commission 25 stamp 50 transfer 1",
        "S",
    ),
    Line(
        "sessions",
        BOND,
        NOW,
        "09:30-11:30 13:00-15:00",
        "U Shanghai bonds: no closing auction in the tables",
    ),
    Line(
        "sessions",
        MAIN,
        date(2025, 10, 8),
        "closed",
        "exchange_calendars 4.13.2",
    ),
    Line(
        "sessions",
        MAIN,
        date(2027, 2, 8),
        "closed",
        "U provisional: Spring Festival",
    ),
];

#[test]
fn the_rules_of_each_board_on_each_date() {
    let mut wrong = Vec::new();
    for Line(question, symbol, on, expected, source) in TABLE {
        let found = answer(question, &symbol.parse().unwrap(), *on);
        let mark = if found == *expected {
            ""
        } else {
            "  <-- not as expected"
        };
        println!("{on}  {symbol}  {question:<24} {found:<50} {source}{mark}");
        if found != *expected {
            wrong.push(format!(
                "{question} of {symbol} on {on}: {found}, expected {expected} ({source})"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A listing's date is data of the user's: the free days are counted from it, by the calendar, and no name has to tell them.
#[test]
fn a_listing_that_the_tables_name_has_its_free_days() {
    let market = Market::with_overrides(
        "[listings]\n\"301999.SZ\" = { listed = \"2026-09-23\" }\n\"920999.BJ\" = { listed = \"2026-11-24\" }\n\
         \"600999.SH\" = { special_treatment = true }\n",
    )
    .unwrap();
    let limits = |symbol: &str, known: Listing, on: Date| {
        market
            .price_limits(&symbol.parse().unwrap(), d("10.00"), known, on)
            .map_or("none".to_owned(), |limits| {
                format!("{}..{}", limits.lower.normalize(), limits.upper.normalize())
            })
    };
    let old = Listing::default();
    for (symbol, known, on, expected) in [
        // Wednesday and Thursday, a holiday on the 25th, Monday to Wednesday, and the national holiday up to 10-07.
        ("301999.SZ", old, date(2026, 9, 23), "none"),
        ("301999.SZ", old, date(2026, 9, 24), "none"),
        ("301999.SZ", old, date(2026, 9, 28), "none"),
        ("301999.SZ", old, date(2026, 9, 30), "none"),
        ("301999.SZ", old, date(2026, 10, 8), "8..12"),
        ("301999.SZ", old, date(2026, 12, 24), "8..12"),
        // It comes before a name that still bears its mark.
        ("301999.SZ", Listing::of_name("C新股"), date(2026, 10, 8), "8..12"),
        ("920999.BJ", old, date(2026, 11, 24), "none"),
        ("920999.BJ", old, date(2026, 11, 25), "7..13"),
        ("600999.SH", old, date(2026, 7, 3), "9.5..10.5"),
        ("301998.SZ", old, date(2026, 9, 23), "8..12"),
    ] {
        assert_eq!(limits(symbol, known, on), expected, "{symbol} on {on}");
    }
    // What was decided by is kept as text, listings with it.
    assert_eq!(Market::read(market.text()).unwrap(), market);
    for (text, named) in [
        ("\"301999\" = {}", "301999"),
        (
            "\"301999.SZ\" = { listed = \"soon\" }",
            "listings.301999.SZ: `soon`",
        ),
        ("\"301999.SZ\" = { since = \"2026-09-23\" }", "since"),
    ] {
        let error = Market::with_overrides(&format!("[listings]\n{text}\n")).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

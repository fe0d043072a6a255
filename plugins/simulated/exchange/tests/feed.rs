//! Files of quotes: what they may look like, and where a bad one is wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_exchange::{Feed, Happened, Quote, Shape, time};
use qt_market::Market;

fn read(text: &str) -> Result<Vec<Quote>, String> {
    let mut feed = Feed::new(text.as_bytes(), Market::builtin()).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    while let Some(quote) = feed.next_quote().map_err(|error| error.to_string())? {
        all.push(quote);
    }
    Ok(all)
}

#[test]
fn bars_and_ticks_are_told_apart_by_their_columns() {
    let bars = read(
        "time,symbol,open,high,low,close,volume,previous_close\n\
         2026-11-24 09:31,600519.SH,100,101.5,99.01,100.10,120000,99.5\n\
         2026-11-24T09:32:00.500,600519,100.1,100.1,100.1,100.1,0.0,\n",
    )
    .unwrap();
    assert_eq!(time::show(bars[1].at), "2026-11-24 09:32:00.500");
    assert_eq!(
        (bars[0].previous_close, bars[1].previous_close),
        (Some(995_000), None)
    );
    let Happened::Bar(bar) = bars[0].what else {
        panic!("{bars:?}")
    };
    assert_eq!((bar.low, bar.close, bar.volume), (990_100, 1_001_000, 120_000));
    assert_eq!(bars[1].symbol.to_string(), "600519.SH");

    let text = "symbol,time,volume,last,bid1,bid1_volume,ask1,ask1_volume\n000858.SZ,1795485600000,100,10,9.99,500,,\n";
    let ticks = read(text).unwrap();
    let Happened::Tick(tick) = ticks[0].what else {
        panic!("{ticks:?}")
    };
    let (bids, asks) = tick.levels.unwrap();
    assert_eq!((bids[0], bids[1], asks[0]), ((99_900, 500), (0, 0), (0, 0)));
    assert_eq!(
        Feed::new(text.as_bytes(), Market::builtin()).unwrap().shape(),
        Shape::Ticks
    );
}

#[test]
fn a_bad_file_names_line_column_value_and_what_to_do() {
    let bars = "time,symbol,open,high,low,close,volume\n2026-11-24 09:31,600519.SH,100,101,99,100,1000\n";
    for (line, expected) in [
        (
            "2026-11-24 09:32,600519.SH,abc,101,99,100,1000",
            "line 3, column open: `abc` is not a price",
        ),
        (
            "2026-11-24 09:32,600519.SH,100,101,99,-1,1000",
            "line 3, column close: `-1` is not a price",
        ),
        (
            "2026-11-24 09:32,600519.SH,100,99,99,100,1000",
            "line 3, column high: `99` is not the highest",
        ),
        (
            "2026-11-24 09:32,600519.SH,100,101,100.5,100,1000",
            "line 3, column low: `100.5` is not the lowest",
        ),
        (
            "2026-11-24 09:32,600519.SH,100,101,99,100,10.5",
            "line 3, column volume: `10.5` is not a whole number of shares",
        ),
        (
            "2026-11-24 09:32,600519.SH,100,101,99,100",
            "line 3, column volume: `` is not a whole number",
        ),
        (
            "2026-11-24 09:32,000001,100,101,99,100,1000",
            "line 3, column symbol: `000001` is not a symbol",
        ),
        (
            "2026-11-24 09:32,MAOTAI,100,101,99,100,1000",
            "line 3, column symbol: `MAOTAI` is not a symbol",
        ),
        (
            "24.11.2026 09:32,600519.SH,100,101,99,100,1000",
            "line 3, column time: `24.11.2026 09:32` is not a time",
        ),
        (
            "2026-02-30 09:32,600519.SH,100,101,99,100,1000",
            "line 3, column time: `2026-02-30 09:32` is not a time",
        ),
        (
            "2026-11-24 09:30,600519.SH,100,101,99,100,1000",
            "is not after 2026-11-24 09:31:00, the time of a line before; sort",
        ),
        (
            "2026-11-24 25:30,600519.SH,100,101,99,100,1000",
            "`2026-11-24 25:30` is not a time",
        ),
    ] {
        let error = read(&format!("{bars}{line}\n")).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
    for (text, expected) in [
        ("", "there is no column `time`"),
        ("time,symbol,volume\n", "there is no column `last`"),
        ("time,symbol,close,volume\n", "there is no column `open`"),
        (
            "time,symbol,last,volume,bid1\n",
            "there is no column `bid1_volume`",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(
            error.starts_with("line 1: ") && error.contains(expected),
            "{text}: {error}"
        );
    }
}

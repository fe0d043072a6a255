use std::path::Path;

use ::parquet::basic::{LogicalType, Repetition, TimeUnit};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use qt_core::portfolio::{Account, Position, Trade, TradeBook, today};
use qt_market::Side;
use serde_json::Value;

use super::*;
use crate::cli::cells::Colour;

const LOOK: Look = Look {
    colour: Colour::RedUp,
    names: true,
};

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn held(symbol: &str, name: Option<&str>, total: i64, cost: &str, last: Option<&str>) -> Position {
    Position {
        symbol: symbol.parse().unwrap(),
        name: name.map(str::to_owned),
        total,
        sellable: total,
        frozen: 0,
        avg_cost: d(cost),
        last_price: last.map(d),
        previous_close: last.map(|last| d(last) - Decimal::ONE),
    }
}

/// 2026-11-24 15:00 in Shanghai.
const AS_OF: UtcMillis = UtcMillis(1_795_503_600_000);

fn view(positions: Vec<Position>) -> BookView {
    let trade = Trade {
        symbol: "000858.SZ".parse().unwrap(),
        side: Side::Buy,
        size: 100,
        price: d("43"),
        fees: d("5.04"),
        at: AS_OF.plus_ms(-3_600_000),
    };
    let traded: Vec<_> = positions
        .iter()
        .any(|p| p.symbol == trade.symbol)
        .then_some(trade)
        .into_iter()
        .collect();
    BookView {
        source: BookSource::Broker {
            adapter: "simulated".to_owned(),
        },
        as_of: AS_OF,
        today: Ok(today(&positions, &traded).unwrap()),
        trades: TradeBook::from_trades(traded).unwrap(),
        positions,
        account: Some(Account {
            account_id: "8881234567".to_owned(),
            total_asset: d("300000.01"),
            cash: d("46050.01"),
            available_cash: d("46000"),
            frozen_cash: d("50.01"),
            market_value: d("253950"),
        }),
        orders: Vec::new(),
        notes: vec!["a \"note\"".to_owned()],
    }
}

fn example() -> BookView {
    view(vec![
        held("000858.SZ", Some("五粮液"), 1000, "42.50", Some("43.20")),
        held("002050.SZ", None, 500, "38.0033333333", Some("37.50")),
        held("600519.SH", Some("=\"茅台\",\n"), 100, "-1850", None),
    ])
}

fn snapshots() -> Vec<Snapshot> {
    [(0, "100"), (1, "110"), (2, "99")]
        .map(|(day, total)| Snapshot {
            day: TradingDate(AS_OF.trading_date().0 - 4 + day),
            at: AS_OF,
            total_asset: d(total),
            cash: d("1"),
            market_value: d(total) - Decimal::ONE,
            unrealized_pnl: Decimal::ZERO,
            positions: 3,
            day_pnl: None,
            opening_value: None,
        })
        .to_vec()
}

fn written(view: &BookView, name: &str, table: Option<&str>, folder: &Path) -> PathBuf {
    let export = Export::of(view, &snapshots(), &RiskThresholds::default(), false).unwrap();
    let target = Target::new(&folder.join(name), table).unwrap();
    target.write(&export, LOOK, false).unwrap();
    target.path
}

#[test]
fn the_tables_are_those_of_this_version() {
    // A change here is a change of what readers rely on: see `schema`'s promise.
    assert_eq!(
        schema::as_text(&nothing().tables()),
        include_str!("schema-v1.txt")
    );
}

#[test]
fn json_says_everything_with_every_digit() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&example(), "book.json", None, folder.path());
    let text = std::fs::read_to_string(path).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["format"], "quanttrader-export");
    assert_eq!(value["schema_version"], 1);
    assert_eq!(value["as_of"], "2026-11-24T15:00:00.000+08:00");
    assert_eq!(value["source"], "broker simulated");
    assert_eq!(value["notes"][0], "a \"note\"");
    assert_eq!(value["units"]["positions"]["avg_cost"], "CNY/share");
    let number = |pointer: &str| value.pointer(pointer).unwrap().to_string();
    assert_eq!(number("/positions/1/avg_cost"), "38.0033333333");
    assert_eq!(number("/positions/1/unrealized_pnl"), "-251.66666665");
    assert_eq!(number("/positions/2/unrealized_pnl_pct"), "null");
    assert_eq!(value["positions"][2]["name"], "=\"茅台\",\n");
    assert_eq!(value["positions"][2]["price_source"], "cost");
    assert_eq!(
        value["positions"][0]["first_buy"],
        "2026-11-24T14:00:00.000+08:00"
    );
    // 900 held overnight gained 1 yuan each, 100 bought at 43.00 gained 0.20 each, less fees.
    assert_eq!(number("/positions/0/today_pnl"), "914.96");
    assert_eq!(value["summary"]["total_positions"], 3);
    assert_eq!(value["account"]["account_id"], "******4567");
    assert_eq!(number("/account/total_asset"), "300000.01");
    assert_eq!(number("/equity/2/drawdown_pct"), "10");
    assert_eq!(value["equity"][2]["day"], "2026-11-22");
    assert_eq!(value["orders"], serde_json::json!([]));
    let tables = nothing();
    for table in tables.tables() {
        assert!(value.get(table.name).is_some(), "{}", table.name);
    }
}

#[test]
fn a_day_of_which_nothing_is_known_is_null_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let dark = |symbol: &str| Position {
        previous_close: None,
        ..held(symbol, None, 100, "10", Some("11"))
    };
    let figures = ["today_pnl", "today_overnight", "today_trades", "today_fees"];
    let known = |view: &BookView, name: &str| {
        let path = written(view, &format!("{name}.json"), None, folder.path());
        let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let csv = written(view, &format!("{name}.csv"), Some("summary"), folder.path());
        let mut csv = ::csv::Reader::from_path(csv).unwrap();
        let headers = csv.headers().unwrap().clone();
        let fields = csv.records().next().unwrap().unwrap();
        let parquet = written(view, &format!("{name}.parquet"), Some("summary"), folder.path());
        let parquet = SerializedFileReader::new(std::fs::File::open(parquet).unwrap()).unwrap();
        let row = parquet.get_row_iter(None).unwrap().next().unwrap().unwrap();
        figures.map(|figure| {
            let place = headers.iter().position(|header| header == figure).unwrap();
            let cell = row
                .get_column_iter()
                .find(|(column, _)| *column == figure)
                .unwrap()
                .1;
            let known = [
                value["summary"].get(figure).is_some_and(|v| !v.is_null()),
                !fields.get(place).unwrap().is_empty(),
                *cell != Field::Null,
            ];
            assert_eq!(known, [known[0]; 3], "{figure}");
            known[0]
        })
    };
    let bright = held("600519.SH", None, 100, "10", Some("11"));
    assert_eq!(
        known(&view(vec![dark("000001.SZ"), dark("000002.SZ")]), "dark"),
        [false; 4]
    );
    assert_eq!(known(&view(vec![dark("000001.SZ"), bright]), "half"), [true; 4]);
    assert_eq!(known(&view(Vec::new()), "empty"), [true; 4]);
}

#[test]
fn what_was_sold_out_is_listed_as_the_broker_lists_it_and_counted_nowhere() {
    let book = view(vec![
        held("000001.SZ", None, 100, "10", Some("11")),
        held("000002.SZ", None, 0, "10", None),
        held("000858.SZ", None, 100, "10", Some("9")),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = written(&book, "book.json", None, folder.path());
    let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let symbols = |table: &str| {
        let rows = value[table].as_array().unwrap();
        rows.iter()
            .map(|row| row["symbol"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(symbols("positions"), ["000001.SZ", "000002.SZ", "000858.SZ"]);
    assert_eq!(symbols("risk"), ["000001.SZ", "000858.SZ"]);
    assert_eq!(value["summary"]["total_positions"], 2);
    assert_eq!(value["summary"]["unpriced_positions"], 0);
    let export = Export::of(&book, &[], &RiskThresholds::default(), false).unwrap();
    assert_eq!(chart::allocation(&export.holdings().unwrap(), 5).len(), 2);
    let tables = export.tables();
    for (table, rows) in [("positions", 3), ("risk", 2)] {
        let table = tables.iter().find(|one| one.name == table).unwrap();
        let written: usize = table.pieces(1).map(|piece| piece.unwrap().count()).sum();
        assert_eq!((table.rows, written), (rows, rows), "{}", table.name);
    }
}

#[test]
fn csv_is_a_folder_with_the_schema_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&example(), "book.csv", None, folder.path());
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "account.csv",
            "equity.csv",
            "fills.csv",
            "orders.csv",
            "positions.csv",
            "risk.csv",
            "schema.json",
            "summary.csv"
        ]
    );
    let mut reader = ::csv::Reader::from_path(path.join("positions.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let field = |row: usize, name: &str| {
        let place = headers.iter().position(|header| header == name).unwrap();
        rows[row].get(place).unwrap().to_owned()
    };
    assert_eq!(rows.len(), 3);
    assert_eq!(field(1, "avg_cost"), "38.0033333333");
    assert_eq!(field(1, "name"), "");
    assert_eq!(field(2, "name"), "=\"茅台\",\n");
    let schema: Value = serde_json::from_slice(&std::fs::read(path.join("schema.json")).unwrap()).unwrap();
    assert_eq!(schema["schema_version"], 1);
    assert_eq!(schema["as_of_ms"], AS_OF.0);
    let one = written(&example(), "risk.csv", Some("risk"), folder.path());
    let text = std::fs::read_to_string(one).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn parquet_has_types_and_exact_decimals() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&example(), "book.parquet", None, folder.path());
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let file = reader.metadata().file_metadata();
    let facts: std::collections::HashMap<_, _> = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|kv| (kv.key.as_str(), kv.value.clone().unwrap()))
        .collect();
    assert_eq!(facts["quanttrader.schema_version"], "1");
    assert!(
        facts["quanttrader.units"].contains(r#""avg_cost":"CNY/share""#),
        "{facts:?}"
    );
    let column = |name: &str| {
        file.schema_descr()
            .columns()
            .iter()
            .find(|column| column.name() == name)
            .unwrap()
            .clone()
    };
    let decimal = column("avg_cost");
    assert_eq!(decimal.logical_type_ref(), Some(&LogicalType::decimal(10, 38)));
    assert_eq!(
        decimal.self_type().get_basic_info().repetition(),
        Repetition::REQUIRED
    );
    assert_eq!(
        column("known_since").logical_type_ref(),
        Some(&LogicalType::timestamp(true, TimeUnit::MILLIS))
    );
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let field = |row: usize, name: &str| {
        let columns = rows[row].get_column_iter();
        columns
            .filter(|(column, _)| *column == name)
            .map(|(_, field)| field.clone())
            .next()
            .unwrap()
    };
    assert_eq!(field(1, "avg_cost").to_string(), "38.0033333333");
    assert_eq!(field(1, "unrealized_pnl").to_string(), "-251.6666666500");
    assert_eq!(field(1, "known_since"), Field::Null);
    assert_eq!(field(0, "first_buy"), Field::TimestampMillis(AS_OF.0 - 3_600_000));
    assert_eq!(field(0, "name"), Field::Str("五粮液".to_owned()));
    assert_eq!(field(0, "quantity"), Field::Long(1000));
    let all = written(&example(), "all.parquet/", None, folder.path());
    let equity = SerializedFileReader::new(std::fs::File::open(all.join("equity.parquet")).unwrap()).unwrap();
    let row = equity.get_row_iter(None).unwrap().next().unwrap().unwrap();
    let day = i32::try_from(AS_OF.trading_date().0 - 4).unwrap();
    assert_eq!(row.get_column_iter().next().unwrap().1, &Field::Date(day));
}

#[test]
fn more_rows_than_a_group_and_none_at_all_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let symbol = |n: usize| format!("{:06}.{}", n % 100_000, if n < 100_000 { "SH" } else { "SZ" });
    let many: Vec<_> = (0..140_000)
        .map(|n| held(&symbol(n), None, 100, "1.5", Some("2")))
        .collect();
    for book in [view(many), view(Vec::new())] {
        let rows = book.positions.len();
        let path = written(&book, &format!("{rows}.parquet"), Some("risk"), folder.path());
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let groups: Vec<_> = reader
            .metadata()
            .row_groups()
            .iter()
            .map(|group| group.num_rows())
            .collect();
        if rows == 0 {
            assert_eq!(groups, [0_i64; 0]);
            continue;
        }
        assert_eq!(groups, [131_072, 8_928]);
        let group = reader.get_row_group(1).unwrap();
        let last = group.get_row_iter(None).unwrap().last().unwrap().unwrap();
        let first = last.get_column_iter().next().unwrap().1.clone();
        assert_eq!(first, Field::Str(symbol(139_999)));
    }
}

#[test]
fn a_decimal_that_parquet_cannot_hold_is_refused_with_its_column() {
    let largest = d("7922816251426433759354395033.5");
    assert_eq!(
        parquet::scaled(largest),
        Some(79_228_162_514_264_337_593_543_950_335_000_000_000)
    );
    assert_eq!(parquet::scaled(d("-0.0000000001")), Some(-1));
    assert_eq!(parquet::scaled(Decimal::MAX), None);
    let folder = tempfile::tempdir().unwrap();
    let book = view(vec![held("000858.SZ", None, 0, &Decimal::MAX.to_string(), None)]);
    let export = Export::of(&book, &[], &RiskThresholds::default(), false).unwrap();
    let target = Target::new(&folder.path().join("book.parquet"), None).unwrap();
    let error = target.write(&export, LOOK, false).unwrap_err().to_string();
    assert!(
        error.contains("column avg_cost") && error.contains(".json"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

/// Takes a number of bytes, as a disk does that is nearly full.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_by_every_format() {
    let book = example();
    let export = Export::of(&book, &snapshots(), &RiskThresholds::default(), false).unwrap();
    let tables = export.tables();
    for room in [0, 1, 100, 900] {
        let full =
            |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        full(json::write(&mut Full(room), &export));
        full(csv::write(&mut Full(room.min(300)), &tables[0]));
        full(parquet::write(&mut Full(room), &tables[0], &export.meta));
    }
}

#[test]
fn nothing_is_replaced_unasked_and_never_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let book = example();
    let export = Export::of(&book, &[], &RiskThresholds::default(), false).unwrap();
    let write = |name: &str, force: bool| {
        let target = Target::new(&folder.path().join(name), None).unwrap();
        assert_eq!(
            target.check(force).is_ok(),
            target.write(&export, LOOK, force).is_ok()
        );
        target.write(&export, LOOK, force)
    };
    std::fs::write(folder.path().join("a.json"), "mine").unwrap();
    let error = write("a.json", false).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(
        std::fs::read_to_string(folder.path().join("a.json")).unwrap(),
        "mine"
    );
    write("a.json", true).unwrap();
    assert!(
        std::fs::read_to_string(folder.path().join("a.json"))
            .unwrap()
            .contains("000858.SZ")
    );
    // A folder of ours is replaced as a whole, one with other things is left alone.
    let target = Target::new(&folder.path().join("b.csv"), None).unwrap();
    target.write(&export, LOOK, false).unwrap();
    assert!(matches!(
        target.write(&export, LOOK, false),
        Err(PlaceError::Exists { .. })
    ));
    std::fs::write(target.path.join("risk.csv"), "stale").unwrap();
    target.write(&export, LOOK, true).unwrap();
    assert_ne!(
        std::fs::read_to_string(target.path.join("risk.csv")).unwrap(),
        "stale"
    );
    std::fs::write(target.path.join("diary.txt"), "dear").unwrap();
    let error = write("b.csv", true).unwrap_err();
    assert!(
        matches!(&error, PlaceError::Foreign { name, .. } if name == "diary.txt"),
        "{error}"
    );
    std::fs::create_dir(folder.path().join("c.json")).unwrap();
    assert!(matches!(write("c.json", true), Err(PlaceError::OtherKind { .. })));
    let error = write("nowhere/d.json", false).unwrap_err().to_string();
    assert!(error.contains("make it first"), "{error}");
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["a.json", "b.csv", "c.json"], "no temporary file stays");
}

#[cfg(unix)]
#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["a.json", "a.parquet", "a.svg"] {
        assert_eq!(
            mode(&written(&example(), name, None, folder.path())),
            0o600,
            "{name}"
        );
    }
    let csv = written(&example(), "a.csv", None, folder.path());
    assert_eq!(mode(&csv), 0o700);
    assert_eq!(mode(&csv.join("account.csv")), 0o600);
}

#[test]
fn what_is_wanted_is_read_from_the_name() {
    let read = |name: &str, table| Target::new(Path::new(name), table).map(|t| (t.format, t.folder));
    assert_eq!(read("a.JSON", None), Ok((Format::Json, false)));
    assert_eq!(read("a.csv", None), Ok((Format::Csv, true)));
    assert_eq!(read("a.csv/", None), Ok((Format::Csv, true)));
    assert_eq!(read("a.csv", Some("fills")), Ok((Format::Csv, false)));
    assert_eq!(read("x/a.parquet", None), Ok((Format::Parquet, false)));
    assert_eq!(read("x/a.parquet/", None), Ok((Format::Parquet, true)));
    assert_eq!(read("a.svg", None), Ok((Format::Svg, false)));
    for (name, table, said) in [
        ("a.xlsx", None, "expected .json, .csv"),
        ("book", None, "no ending"),
        ("a.parquet", Some("trades"), "expected one of positions, summary"),
        ("a.json", Some("risk"), "leave it out"),
        ("a.svg/", None, "take the `/` away"),
        ("a.csv/", Some("risk"), "take the `/` away"),
    ] {
        let error = read(name, table).unwrap_err();
        assert!(error.contains(said), "{name}: {error}");
    }
}

#[test]
fn only_the_end_of_a_long_account_number_is_shown_unless_asked_for() {
    for (number, shown) in [("8881234567", "******4567"), ("1234567", "*******"), ("", "")] {
        assert_eq!(masked(number), shown);
    }
    let book = example();
    let export = Export::of(&book, &[], &RiskThresholds::default(), true).unwrap();
    assert_eq!(export.account[0].account_id, "8881234567");
}

#[test]
fn pictures_show_the_largest_and_the_rest_as_one() {
    let many: Vec<_> = (1..=50)
        .map(|n| {
            held(
                &format!("60{n:04}.SH"),
                Some("名字"),
                100,
                "10",
                Some(if n % 2 == 0 { "9" } else { "12" }),
            )
        })
        .collect();
    let book = view(many);
    let export = Export::of(&book, &[], &RiskThresholds::default(), false).unwrap();
    let holdings = export.holdings().unwrap();
    let parts = chart::allocation(&holdings, 15);
    assert_eq!(parts.len(), 16);
    assert_eq!(parts[15].label, "35 others");
    let sum: Decimal = parts.iter().map(|bar| bar.amount).sum();
    assert_eq!(sum, export.totals().value);
    let earned = chart::gains(&holdings, 15);
    assert_eq!(earned[15].label, "35 others");
    assert_eq!(
        earned.iter().map(|bar| bar.amount).sum::<Decimal>(),
        export.totals().pnl
    );
    // The largest gain first, the largest loss last before the others.
    assert!(
        earned[..15]
            .windows(2)
            .all(|pair| pair[0].amount >= pair[1].amount)
    );
    // One behind the others is shown as itself.
    assert_eq!(chart::allocation(&holdings, 49).len(), 50);
    assert_eq!(chart::allocation(&holdings, 49)[49].label, "600050.SH 名字");
    for (amount, largest, long) in [
        ("0", "5", 0),
        ("5", "5", 40),
        ("-5", "5", 40),
        ("0.001", "5", 1),
        ("1", "0", 0),
    ] {
        assert_eq!(
            chart::length(d(amount), d(largest), 40),
            long,
            "{amount}/{largest}"
        );
    }
}

#[test]
fn a_picture_is_sound_xml_whatever_the_book() {
    let huge = "79228162514264337593543950";
    for book in [
        example(),
        view(Vec::new()),
        view(vec![held("000858.SZ", Some("<&>\u{1b}"), 1, huge, Some("3"))]),
        view(vec![held("000858.SZ", None, 0, "1", Some("1"))]),
        view(vec![held("000858.SZ", None, 100, "0", None)]),
    ] {
        for days in 0..=3 {
            let snapshots = &snapshots()[..days];
            let export = Export::of(&book, snapshots, &RiskThresholds::default(), false).unwrap();
            let text = svg::picture(&export, LOOK).unwrap();
            assert!(
                text.starts_with("<svg") && text.trim_end().ends_with("</svg>"),
                "{text}"
            );
            assert!(!text.contains('\u{1b}') && !text.contains("<&>") && !text.contains("NaN"));
            assert_eq!(text.contains("needs snapshots of two days"), days < 2);
        }
    }
    let text = svg::picture(
        &Export::of(&example(), &snapshots(), &RiskThresholds::default(), false).unwrap(),
        LOOK,
    )
    .unwrap();
    for part in [
        "五粮液",
        "¥43,200.00",
        "largest drawdown 10.00% on 2026-11-22",
        "3 positions",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

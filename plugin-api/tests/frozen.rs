//! ABI 1 and every named interface, held against what was released. Nothing in here may change to make a test pass.

use std::{fmt::Write, path::Path};

use abi_stable::{
    StableAbi,
    abi_stability::PrefixStableAbi,
    type_layout::{TLData, TLFields, TypeLayout},
};
use qt_plugin_api::{interfaces as i, v1};

/// What to do instead.
const INSTEAD: &str = "\
This is frozen: plugins that were built against it are in use, and a host that differs would refuse them or read their \
orders wrongly. Take the change back, and give what is new a name of its own: a table in a new file under \
src/interfaces/ with the next free name (`broker.depth/1`, or `broker.quotes/2` beside `broker.quotes/1`), offered and \
asked for by `query`, with a golden of its own. src/interfaces/quotes.rs shows the whole way.";

/// Digest of each golden as it was released. A golden that is edited no longer fits, and this list changes only when an
/// interface is added.
const RELEASED: [(&str, u64); 9] = [
    ("abi-v1", 0xd287_7050_a0c7_ac9b),
    ("broker.quotes-1", 0x50de_82e7_53ea_b383),
    ("broker.trades-1", 0x6dc8_c026_0b81_0276),
    ("host.clock-1", 0x8e6a_9af1_100e_eb58),
    ("host.config-1", 0xbd80_ee79_fbc4_5105),
    ("host.log-1", 0x8803_1889_d9ad_fa21),
    ("host.metrics-1", 0xc941_a2de_0d4e_d55a),
    ("host.opening-1", 0xf9c6_7877_c114_58a8),
    ("plugin.doctor-1", 0x01dc_f791_49b0_8c6d),
];

/// FNV-1a, 64 bits.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn fields(out: &mut String, fields: TLFields) {
    let mut offset = 0;
    for field in fields.iter() {
        let layout = field.layout();
        let (size, align) = (layout.size(), layout.alignment());
        offset = usize::next_multiple_of(offset, align);
        let functions: Vec<String> = field.function_range().iter().map(|f| f.to_string()).collect();
        let shown = if functions.is_empty() {
            field.full_type().to_string()
        } else {
            functions
                .join("; ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        writeln!(
            out,
            "    {}: {shown} @ offset={offset} size={size} align={align}",
            field.name()
        )
        .expect("text");
        offset += size;
    }
}

/// One type: everything that the other side must agree on.
fn describe(out: &mut String, layout: &TypeLayout) {
    let tag = layout.tag().to_string();
    writeln!(
        out,
        "{} {:?} @ size={} align={}\n    tag {}",
        layout.full_type(),
        layout.repr_attr(),
        layout.size(),
        layout.alignment(),
        tag.split_whitespace().collect::<Vec<_>>().join(" ")
    )
    .expect("text");
    match layout.data() {
        TLData::Struct { fields: all } => fields(out, all),
        TLData::PrefixType(prefix) => {
            writeln!(out, "    prefix up to field {}", prefix.first_suffix_field).expect("text");
            fields(out, prefix.fields);
        }
        other => panic!("{} is no struct: {other}", layout.full_type()),
    }
}

/// The constants, and the declarations of all types, as they stand in the source: a layout does not tell what is
/// inside an option or a list.
fn declarations(source: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in source.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        inside |= line.starts_with("pub struct ");
        let module = line.starts_with("pub mod ") && line.ends_with('{');
        if inside
            || module
            || ["pub const ", "#[repr", "#[sabi"]
                .iter()
                .any(|s| line.starts_with(s))
        {
            text += line;
            text.push(if inside && line != "}" && !line.ends_with(';') {
                ' '
            } else {
                '\n'
            });
        }
        inside &= line != "}";
    }
    text
}

/// Fails unless every type of a source file is among those that are described.
fn all_described(source: &str, text: &str) {
    for line in source.lines().filter(|l| l.starts_with("pub struct ")) {
        let name: String = line["pub struct ".len()..]
            .chars()
            .take_while(|c| c.is_alphanumeric())
            .collect();
        let described = text.lines().any(|l| {
            l.split_whitespace()
                .next()
                .is_some_and(|first| first.split('<').next() == Some(&*name))
        });
        // These stay on the author's side, and the root is described apart: only its prefix crosses.
        let inside = ["Quote", "TradesPage", "Finding", "DoctorContext", "Root"].contains(&&*name);
        assert!(
            described || inside,
            "{name} crosses the boundary and is not in the golden's test"
        );
    }
}

macro_rules! text_of {
    ([$($file:literal),*], [$($type:ty),* $(,)?]) => {{
        let mut text = String::new();
        $(describe(&mut text, <$type as StableAbi>::LAYOUT);)*
        $(
            let source = include_str!(concat!("../src/", $file));
            all_described(source, &text);
            text += &declarations(source);
        )*
        text
    }};
}

/// Without what depends on the width of a pointer; names, types, tags and the order of fields do not.
fn narrow(text: &str) -> String {
    let lines = text.lines().map(|l| l.split(" @ ").next().unwrap_or_default());
    lines.flat_map(|l| [l, "\n"]).collect()
}

fn compare(name: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.txt"));
    std::fs::write(&beside, found).expect("the temporary folder can be written");
    let golden = std::fs::read_to_string(&file)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    // The goldens were made on a machine of 64 bits.
    let (golden_here, found_here) = if cfg!(target_pointer_width = "64") {
        (golden.clone(), found.to_owned())
    } else {
        (narrow(&golden), narrow(found))
    };
    let first = golden_here
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(found_here.lines().map(Some).chain(std::iter::repeat(None)))
        .take_while(|(a, b)| a.is_some() || b.is_some())
        .find(|(a, b)| a != b);
    if let Some((released, now)) = first {
        panic!(
            "{name} is not what was released.\n  released: {}\n  now:      {}\n{INSTEAD}\n(The whole of it as it is now: {}.)",
            released.unwrap_or("(nothing)").trim(),
            now.unwrap_or("(nothing)").trim(),
            beside.display()
        );
    }
    let released = RELEASED.iter().find(|(n, _)| *n == name).map(|(_, d)| *d);
    assert_eq!(
        released,
        Some(digest(&golden)),
        "tests/golden/{name}.txt was edited after its release. {INSTEAD}"
    );
}

#[test]
fn abi_1_is_what_was_released() {
    use v1::{broker, host, money, root, sink, values};
    let mut text = String::new();
    describe(&mut text, <root::RootPrefix as PrefixStableAbi>::LAYOUT);
    text += &text_of!(
        [
            "v1/mod.rs", "v1/root.rs", "v1/broker.rs", "v1/sink.rs", "v1/host.rs", "v1/money.rs",
            "v1/values.rs", "v1/codes.rs"
        ],
        [
            root::RootRef, broker::BrokerTable, broker::ROpenContext<'static>, broker::ROpened, sink::SinkTable,
            sink::SinkHandle, host::HostTable, host::HostHandle, host::RInterface, money::RMoney,
            values::ROrderRequest<'static>, values::RCancelRequest<'static>, values::RAnswer,
            values::RRows<values::ROrderRow>, values::RRows<values::RTradeRow>,
            values::RRows<values::RPositionRow>, values::RRows<values::RAccountRow>, values::ROrderRow,
            values::RTradeRow, values::RPositionRow, values::RAccountRow, values::RConnection,
            values::ROrderError,
        ]
    );
    compare("abi-v1", &text);
}

#[test]
fn no_file_of_abi_1_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/v1");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let known = [
        "broker.rs",
        "codes.rs",
        "host.rs",
        "mod.rs",
        "money.rs",
        "root.rs",
        "sink.rs",
        "values.rs",
    ];
    assert_eq!(files, known, "{INSTEAD}");
}

#[test]
fn every_interface_has_a_golden_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/interfaces");
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a source");
        let Some(line) = text.lines().find(|l| l.starts_with("pub const NAME")) else {
            continue;
        };
        let name = line.split('"').nth(1).expect("a name").replace('/', "-");
        assert!(
            RELEASED.iter().any(|(n, _)| *n == name),
            "{name} has no golden: add a test for it here"
        );
    }
}

#[test]
fn broker_quotes_1_is_what_was_released() {
    let text = text_of!(["interfaces/quotes.rs"], [i::quotes::QuotesV1, i::quotes::RQuote]);
    compare("broker.quotes-1", &text);
}

#[test]
fn broker_trades_1_is_what_was_released() {
    let text = text_of!(
        ["interfaces/trades.rs"],
        [i::trades::TradesV1, i::trades::RTradesPage]
    );
    compare("broker.trades-1", &text);
}

#[test]
fn plugin_doctor_1_is_what_was_released() {
    let text = text_of!(
        ["interfaces/doctor.rs"],
        [i::doctor::DoctorV1, i::doctor::RDoctorContext<'static>, i::doctor::RFinding]
    );
    compare("plugin.doctor-1", &text);
}

#[test]
fn host_clock_1_is_what_was_released() {
    let text = text_of!(["interfaces/host_clock.rs"], [i::host_clock::HostClockV1]);
    compare("host.clock-1", &text);
}

#[test]
fn host_config_1_is_what_was_released() {
    let text = text_of!(
        ["interfaces/host_config.rs"],
        [i::host_config::HostConfigV1, i::host_config::RBlock]
    );
    compare("host.config-1", &text);
}

#[test]
fn host_log_1_is_what_was_released() {
    let text = text_of!(["interfaces/host_log.rs"], [i::host_log::HostLogV1]);
    compare("host.log-1", &text);
}

#[test]
fn host_metrics_1_is_what_was_released() {
    let text = text_of!(["interfaces/host_metrics.rs"], [i::host_metrics::HostMetricsV1]);
    compare("host.metrics-1", &text);
}

#[test]
fn host_opening_1_is_what_was_released() {
    let text = text_of!(["interfaces/host_opening.rs"], [i::host_opening::HostOpeningV1]);
    compare("host.opening-1", &text);
}

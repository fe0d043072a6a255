use serde_json::json;

use super::*;

fn manifest(schema: Value) -> Manifest {
    Manifest {
        name: "x".into(),
        version: "1.0.0".into(),
        abi: 1,
        api_version: "1.0.0".into(),
        description: String::new(),
        capabilities: vec![],
        interfaces: vec![],
        config_schema: Some(schema),
        rustc: String::new(),
        target: String::new(),
        panic: "unwind".into(),
        licence: String::new(),
        homepage: String::new(),
    }
}

fn said(schema: &Value, block: Value) -> Vec<String> {
    let faults = manifest(schema.clone()).check_config(&block);
    faults.iter().map(ToString::to_string).collect()
}

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["gateway"],
        "$defs": {
            "money": {"type": ["number", "string"]},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "secret": {"type": "string", "format": "password"},
        },
        "properties": {
            "gateway": {"type": "string", "minLength": 3, "description": "address"},
            "port": {"$ref": "#/$defs/port", "default": 80},
            "password": {"$ref": "#/$defs/secret"},
            "pin": {"writeOnly": true, "anyOf": [{"type": "string", "minLength": 6}, {"type": "null"}]},
            "mode": {"enum": ["fast", "safe"]},
            "cash": {"$ref": "#/$defs/money"},
            "fault": {"oneOf": [
                {"type": "boolean"},
                {"type": "object", "required": ["every"], "additionalProperties": false,
                 "properties": {"every": {"type": "integer", "minimum": 1}}},
            ]},
            "list": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "prices": {"type": "object", "additionalProperties": {"$ref": "#/$defs/money"}},
        },
    })
}

#[test]
fn a_good_block_has_no_fault() {
    let block = json!({
        "gateway": "host", "port": 1, "password": "p", "pin": null, "mode": "safe", "cash": "1.5",
        "fault": {"every": 3}, "list": [{"n": 1}, {}], "prices": {"A": 1.25},
    });
    assert_eq!(said(&schema(), block), Vec::<String>::new());
}

#[test]
fn each_fault_names_place_value_and_expectation() {
    let cases = [
        (
            json!({}),
            "`gateway` is missing, and must be a string of at least 3 characters",
        ),
        (
            json!({"gateway": 7}),
            "`gateway` is 7, and must be a string of at least 3 characters",
        ),
        (
            json!({"gateway": "ab"}),
            "`gateway` is \"ab\", and must be a string of at least 3 characters",
        ),
        (
            json!({"gateway": "abc", "prot": 1}),
            "`prot` is unknown; did you mean `port`?",
        ),
        (
            json!({"gateway": "abc", "Port": 1}),
            "`Port` is unknown; did you mean `port`?",
        ),
        (
            json!({"gateway": "abc", "port": 0}),
            "`port` is 0, and must be a whole number, at least 1, at most 65535",
        ),
        (
            json!({"gateway": "abc", "port": 1.5}),
            "`port` is 1.5, and must be a whole number, at least 1, at most 65535",
        ),
        (
            json!({"gateway": "abc", "mode": "slow"}),
            "`mode` is \"slow\", and must be one of `fast`, `safe`",
        ),
        (
            json!({"gateway": "abc", "cash": true}),
            "`cash` is true, and must be a number or a string",
        ),
        (
            json!({"gateway": "abc", "fault": 1}),
            "`fault` is 1, and must be true or false or an object",
        ),
        (
            json!({"gateway": "abc", "fault": {"every": 0}}),
            "`fault.every` is 0, and must be a whole number, at least 1",
        ),
        (
            json!({"gateway": "abc", "fault": {}}),
            "`fault.every` is missing, and must be a whole number, at least 1",
        ),
        (
            json!({"gateway": "abc", "list": [{}, {"n": "x"}]}),
            "`list[1].n` is \"x\", and must be a whole number",
        ),
        (
            json!({"gateway": "abc", "list": [{}, {}, {}]}),
            "`list` is a list, and must be a list of at most 2 entries",
        ),
        (
            json!({"gateway": "abc", "prices": {"A": null}}),
            "`prices.A` is null, and must be a number or a string",
        ),
        (json!([]), "the block is a list, and must be an object"),
    ];
    for (block, expected) in cases {
        assert_eq!(said(&schema(), block.clone()), [expected], "{block}");
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let block = json!({"gateway": 1, "port": "x", "mode": 3, "zzz": 1});
    assert_eq!(said(&schema(), block).len(), 4);
}

#[test]
fn a_secret_is_never_shown() {
    let secrets = [
        json!({"gateway": "abc", "password": 987_654}),
        json!({"gateway": "abc", "pin": "9876"}),
        json!({"gateway": "abc", "pin": 987_654}),
        // A misspelt key keeps its value to itself, and so does a block of the wrong kind.
        json!({"gateway": "abc", "passwrod": "987654"}),
        json!({"gateway": {"password": "987654"}}),
        json!({"gateway": "abc", "list": {"password": "987654"}}),
    ];
    for block in secrets {
        let faults = manifest(schema()).check_config(&block);
        assert_eq!(faults.len(), 1, "{block}");
        let text = format!("{faults:?} {}", faults[0]);
        assert!(!text.contains("9876"), "{text}");
    }
}

#[test]
fn a_schema_in_a_circle_ends() {
    let schema =
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    assert_eq!(said(&schema, json!({"x": 1})), Vec::<String>::new());
    let lost = json!({"properties": {"x": {"$ref": "#/$defs/none"}}});
    assert_eq!(said(&lost, json!({"x": 1})), Vec::<String>::new());
}

#[test]
fn the_options_say_what_there_is() {
    let options = manifest(schema()).config_options();
    let by = |name: &str| options.iter().find(|o| o.name == name).expect("an option");
    assert!(by("gateway").required && !by("port").required);
    assert_eq!(by("gateway").description, "address");
    assert_eq!(by("port").default.as_deref(), Some("80"));
    assert_eq!(by("port").expected, "a whole number, at least 1, at most 65535");
    assert!(by("password").secret && by("pin").secret && !by("cash").secret);
}

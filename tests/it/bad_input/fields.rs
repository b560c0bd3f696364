//! Fields: types, lengths, characters, times, numbers, depth.

use serde_json::{Value, json};

use super::{Case, Expect, ID, refused, with};

const TEXTS: [&str; 6] =
    ["event_type", "session_id", "event_id", "workflow_id", "phase_id", "milestone_id"];

pub(super) fn add(cases: &mut Vec<Case>) {
    types(cases);
    lengths(cases);
    characters(cases);
    data(cases);
    depth(cases);
    numbers(cases);
    timestamps(cases);
    names(cases);
}

fn types(cases: &mut Vec<Case>) {
    let class = "fields: another type, or missing";
    for field in TEXTS {
        for wrong in ["1", "1.5", "true", "[]", "[\"a\"]", "{}", "{\"a\":1}"] {
            let said = format!("{field} must be a string");
            cases.push(Case::one(class, with(field, wrong), Expect::Refused(&[422], said)));
        }
    }
    for field in ["event_type", "session_id"] {
        let said = || Expect::Refused(&[422], format!("{field} is required"));
        cases.push(Case::one(class, with(field, "null"), said()));
        cases.push(Case::one(
            class,
            with(field, "1").replace(&format!("\"{field}\":1"), "\"x\":1"),
            said(),
        ));
        // If a name occurs twice, the last one counts.
        cases.push(Case::one(class, with(field, &format!("\"a\",\"{field}\":null")), said()));
        let kept = Expect::Stored(json!({ field: "b" }));
        cases.push(Case::one(class, with(field, &format!("1,\"{field}\":\"b\"")), kept));
    }
    for field in ["workflow_id", "phase_id", "milestone_id"] {
        cases.push(Case::one(class, with(field, "null"), Expect::Stored(json!({ field: null }))));
    }
}

fn lengths(cases: &mut Vec<Case>) {
    let class = "fields: length";
    for field in TEXTS {
        let said = |bytes: usize| Expect::Refused(&[422], format!("255 bytes, it has {bytes}"));
        for (text, bytes) in [
            ("x".repeat(256), 256),
            ("ä".repeat(128), 256),
            ("€".repeat(86), 258),
            ("🦀".repeat(64), 256),
            ("\\u00e4".repeat(128), 256),
            ("\\n".repeat(256), 256),
            ("x".repeat(30_000), 30_000),
        ] {
            cases.push(Case::one(class, with(field, &format!("\"{text}\"")), said(bytes)));
        }
        if field != "event_id" && field != "phase_id" {
            let longest = "\\u00e4".repeat(127) + "x";
            let kept = Expect::Stored(json!({ field: "ä".repeat(127) + "x" }));
            cases.push(Case::one(class, with(field, &format!("\"{longest}\"")), kept));
        }
        if field.ends_with("type") || field.starts_with("session") || field.starts_with("event") {
            cases.push(Case::one(class, with(field, "\"\""), said(0)));
        } else {
            cases.push(Case::one(class, with(field, "\"\""), Expect::Stored(json!({ field: "" }))));
        }
    }
}

fn characters(cases: &mut Vec<Case>) {
    let class = "fields: characters";
    let texts = [
        (r"\u0000", "\0", "\u{fffd}"),
        (r"a\u0000b\u0000", "a\0b\0", "a\u{fffd}b\u{fffd}"),
        (r"\ud800", "\u{fffd}", "\u{fffd}"),
        (r"\udc00\ud800", "\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
        (r"\ud83e\udd80", "🦀", "🦀"),
        (r"\uffff\ufffe", "\u{ffff}\u{fffe}", "\u{ffff}\u{fffe}"),
        (r"\u0001\u001f\u007f", "\u{1}\u{1f}\u{7f}", "\u{1}\u{1f}\u{7f}"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t", "\"\\/\u{8}\u{c}\n\r\t"),
        (
            "'; DROP TABLE hook_events; --",
            "'; DROP TABLE hook_events; --",
            "'; DROP TABLE hook_events; --",
        ),
        (r"\\N\\.", "\\N\\.", "\\N\\."),
        (
            "$1 %s {} \u{202e}rtl\u{200b}",
            "$1 %s {} \u{202e}rtl\u{200b}",
            "$1 %s {} \u{202e}rtl\u{200b}",
        ),
        (" ", " ", " "),
    ];
    for (raw, jsonl, postgres) in texts {
        for field in ["event_type", "session_id", "workflow_id", "milestone_id"] {
            let event = with(field, &format!("\"{raw}\""));
            cases.push(Case::one(
                class,
                event,
                kept(&json!({ field: jsonl }), &json!({ field: postgres })),
            ));
        }
        // These test the event ID, so the phase has the ID of the case.
        let event = with("event_id", &format!("\"{raw}\",\"phase_id\":\"{ID}\""));
        let expect = kept(&json!({ "event_id": jsonl }), &json!({ "event_id": postgres }));
        cases.push(Case::one(class, event, expect));
    }
}

fn kept(jsonl: &Value, postgres: &Value) -> Expect {
    if jsonl == postgres {
        Expect::Stored(jsonl.clone())
    } else {
        Expect::StoredAs { jsonl: jsonl.clone(), postgres: postgres.clone() }
    }
}

fn data(cases: &mut Vec<Case>) {
    let class = "data and extra fields";
    for (wrong, kind) in [
        ("\"x\"", "a string"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("[]", "an array"),
        ("[{}]", "an array"),
        ("\"{}\"", "a string"),
    ] {
        let said = format!("data must be an object, not {kind}");
        cases.push(Case::one(class, with("data", wrong), Expect::Refused(&[422], said)));
    }
    cases.push(Case::one(class, with("data", "null"), Expect::Stored(json!({ "data": {} }))));
    let texts = [
        (r#"{"":"","a":{"":[]}}"#, json!({ "": "", "a": { "": [] } })),
        (r#"{ "a" : [ 1 , 2 ] , "b" : "  x  " }"#, json!({ "a": [1, 2], "b": "  x  " })),
        (
            r#"{"__proto__":{"x":1},"constructor":null}"#,
            json!({ "__proto__": { "x": 1 }, "constructor": null }),
        ),
        (r#"{"a\u0062":"\u0063\/"}"#, json!({ "ab": "c/" })),
        (
            r#"{"agent":1,"tool_name":[],"tool_use_id":null,"duration_ms":"5"}"#,
            json!({ "agent": 1, "tool_name": [], "tool_use_id": null, "duration_ms": "5" }),
        ),
    ];
    for (raw, value) in texts {
        cases.push(Case::one(class, with("data", raw), Expect::Stored(json!({ "data": value }))));
        let extra = Expect::Stored(json!({ "data": {}, "extra": { "more": value } }));
        cases.push(Case::one(class, with("more", raw), extra));
    }
    for field in ["data", "more"] {
        for (raw, postgres) in [
            (r#"{"n\u0000":"\u0000"}"#, json!({ "n\u{fffd}": "\u{fffd}" })),
            (
                r#"{"s":"\ud800","t":"\udfff\ud800x"}"#,
                json!({ "s": "\u{fffd}", "t": "\u{fffd}\u{fffd}x" }),
            ),
        ] {
            let at = |value: Value| {
                if field == "data" {
                    json!({ "data": value })
                } else {
                    json!({ "extra": { "more": value } })
                }
            };
            // The file has what was sent, which not every parser accepts.
            cases.push(Case::one(
                class,
                with(field, raw),
                Expect::StoredAs { jsonl: json!({}), postgres: at(postgres) },
            ));
        }
    }
    let long = "k".repeat(50_000);
    let expect = Expect::Stored(json!({ "data": { &long: 1 } }));
    cases.push(Case::one(class, with("data", &format!("{{\"{long}\":1}}")), expect));
    let names: Vec<String> = (0..3000).map(|n| format!("\"f{n}\":{n}")).collect();
    let event = with("", "").replacen('{', &format!("{{{},", names.join(",")), 1);
    cases.push(Case::one(class, event, Expect::Stored(json!({}))));
    for name in ["", "\\u0000", "received_at", "extra", "agent", "Event_Type", "event type"] {
        cases.push(Case::one(class, with(name, "1").replace("{,", "{"), Expect::Stored(json!({}))));
    }
}

fn depth(cases: &mut Vec<Case>) {
    let class = "nesting";
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let arrays = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let in_data = |raw: &str| with("data", &format!("{{\"a\":{raw}}}"));
    for (event, field) in [
        (in_data(&objects(120)), "data"),
        (in_data(&arrays(120)), "data"),
        (in_data(&arrays(1000)), "data"),
        (in_data(&arrays(30_000)), "data"),
        (with("more", &objects(121)), "more"),
        (with("more", &arrays(121)), "more"),
        (with("more", &arrays(30_000)), "more"),
    ] {
        let said = || format!("{field} is nested deeper than 120 levels (MAX_DEPTH)");
        cases.push(Case::one(class, &event, Expect::Refused(&[422], said())));
        cases.push(Case::lines(class, &event, Expect::Refused(&[422], said())));
    }
    for event in [in_data(&objects(119)), in_data(&arrays(119)), with("more", &arrays(120))] {
        cases.push(Case::one(class, event, Expect::Stored(json!({}))));
    }
    cases.push(Case::one(class, "[".repeat(60_000), refused(&[400], "an event")));
    cases.push(Case::batch(class, "[".repeat(60_000), refused(&[400], "")));
    cases.push(Case::batch(class, arrays(30_000), refused(&[422], "an array")));
}

fn numbers(cases: &mut Vec<Case>) {
    let class = "numbers";
    for number in [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1E+2",
        "1e-7",
        "0e99",
        "9007199254740993",
        "18446744073709551616",
        "123456789012345678901234567890.123456789",
        "1e308",
        "1e400",
        "-1e400",
        "1e131071",
        "1e-16383",
        "5e-324",
    ] {
        cases.push(Case::one(
            class,
            with("data", &format!("{{\"n\":{number}}}")),
            Expect::Stored(json!({})),
        ));
    }
    for number in
        ["1e131073", "-1e200000", "1e999999", "1e2147483648", "1e99999999999999999999", "1e-20000"]
    {
        cases.push(Case::one(
            class,
            with("data", &format!("{{\"n\":{number}}}")),
            Expect::SetAside,
        ));
        cases.push(Case::one(class, with("n", number), Expect::SetAside));
    }
    let large = vec!["1e131071"; 1000].join(",");
    cases.push(Case::one(class, with("data", &format!("{{\"n\":[{large}]}}")), Expect::SetAside));
    let mantissa = "9".repeat(20_000);
    cases.push(Case::one(
        class,
        with("data", &format!("{{\"n\":{mantissa}}}")),
        Expect::Stored(json!({})),
    ));
    cases.push(Case::one(
        class,
        with("data", &format!("{{\"n\":0.{mantissa}}}")),
        Expect::SetAside,
    ));
    for (number, duration) in
        [("1.50", json!(1.5)), ("-1", json!(-1)), ("1e3", json!(1000)), ("\"1\"", Value::Null)]
    {
        let event = with("data", &format!("{{\"duration_ms\":{number}}}"));
        let jsonl = if number == "1e3" { json!(1000.0) } else { duration.clone() };
        cases.push(Case::one(
            class,
            event,
            kept(&json!({ "duration_ms": jsonl }), &json!({ "duration_ms": duration })),
        ));
    }
    let event = with("data", "{\"duration_ms\":1e400}");
    cases.push(Case::one(class, event, Expect::Stored(json!({ "duration_ms": null }))));
}

fn timestamps(cases: &mut Vec<Case>) {
    let class = "timestamps";
    for bad in [
        "\"yesterday\"",
        "\"\"",
        "\" \"",
        "\"now\"",
        "\"2026\"",
        "\"2026-11\"",
        "\"2026-13-01\"",
        "\"2026-00-10\"",
        "\"2026-02-30\"",
        "\"2025-02-29T00:00:00Z\"",
        "\"2026-11-23T25:00:00Z\"",
        "\"2026-11-23T09:60:00Z\"",
        "\"2026-11-23T09:00:61Z\"",
        "\"10000-01-01T00:00:00Z\"",
        "\"+275760-09-13T00:00:00Z\"",
        "\"-000001-01-01T00:00:00Z\"",
        "\"0000-12-31T23:59:59Z\"",
        "\"0001-01-01T00:00:00+01:00\"",
        "\"9999-12-31T23:59:59.999999-00:01\"",
        "\"2026-11-23T09:00:00+25:00\"",
        "\"2026-11-23T09:00:00[Europe/Berlin]\"",
        "\"09:00:00\"",
        "\"2026-W48-1\"",
        "\"2026-327\"",
        "\"Nov 23 2026\"",
        "\"Mon, 23 Nov 2026 09:00:00 GMT\"",
        "\"23/11/2026\"",
        "\"11/23/2026\"",
        "\"1795424400\"",
        "\"null\"",
        "\"NaN\"",
        "\"2026-11-23T09:00:00Zjunk\"",
        "\"2026-11-23T09:00:00Z 2026-11-23\"",
        "\"2026-11-23T09:00:00\\u0000Z\"",
        "\"２０２６-11-23\"",
        "true",
        "false",
        "[]",
        "{}",
        "[1795424400]",
        "1e30",
        "-1e30",
        "1e400",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "253402300800000",
        "-62135596800001",
    ] {
        cases.push(Case::one(class, with("timestamp", bad), refused(&[422], "timestamp must be")));
    }
    for (raw, utc) in [
        ("\"2026-11-23T09:00:00.123456Z\"", "2026-11-23T09:00:00.123456Z"),
        ("\"2026-11-23t09:00:00z\"", "2026-11-23T09:00:00.000000Z"),
        ("\"2026-11-23 09:00:00\"", "2026-11-23T09:00:00.000000Z"),
        ("\" 2026-11-23T09:00:00Z\\n\"", "2026-11-23T09:00:00.000000Z"),
        ("\"20261123T090000Z\"", "2026-11-23T09:00:00.000000Z"),
        ("\"2026-11-23T09:00:00,5Z\"", "2026-11-23T09:00:00.500000Z"),
        ("\"2026-11-23T09:00:00.1234569999999999999Z\"", "2026-11-23T09:00:00.123456Z"),
        ("\"2016-12-31T23:59:60Z\"", "2016-12-31T23:59:59.000000Z"),
        ("\"2026-11-23T10:30:00+01:30\"", "2026-11-23T09:00:00.000000Z"),
        ("\"0001-01-01\"", "0001-01-01T00:00:00.000000Z"),
        ("\"9999-12-31T23:59:59.999999Z\"", "9999-12-31T23:59:59.999999Z"),
        ("\"2026\\u002d11-23\"", "2026-11-23T00:00:00.000000Z"),
        ("0", "1970-01-01T00:00:00.000000Z"),
        ("-1", "1969-12-31T23:59:59.000000Z"),
        ("1e9", "2001-09-09T01:46:40.000000Z"),
        ("1795424400.000001", "2026-11-23T09:00:00.000001Z"),
        ("1795424400123", "2026-11-23T09:00:00.123000Z"),
        ("-62135596800000", "0001-01-01T00:00:00.000000Z"),
    ] {
        cases.push(Case::one(
            class,
            with("timestamp", raw),
            Expect::Stored(json!({ "timestamp": utc })),
        ));
    }
}

fn names(cases: &mut Vec<Case>) {
    let class = "names of members";
    let plain = with("", "");
    for (event, expect) in [
        (
            plain.replace("event_type", "event\\u005ftype"),
            Expect::Stored(json!({ "event_type": "tested" })),
        ),
        (
            plain.replace("session_id", "\\u0073ession_id"),
            Expect::Stored(json!({ "session_id": "session-1" })),
        ),
        (plain.replace("event_type", "EVENT_TYPE"), refused(&[422], "event_type is required")),
        (plain.replace("session_id", "sessionId"), refused(&[422], "session_id is required")),
        (plain.replace("session_id", " session_id"), refused(&[422], "session_id is required")),
        (
            plain.replace("session_id", "session_id\\u0000"),
            refused(&[422], "session_id is required"),
        ),
        (
            plain.replace("session_id", "session_id\\ud800"),
            refused(&[422], "session_id is required"),
        ),
        (plain.replace("event_type", "type"), refused(&[422], "event_type is required")),
    ] {
        cases.push(Case::one(class, event, expect));
    }
}

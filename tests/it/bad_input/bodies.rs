//! Bodies: syntax, encoding, shape, lines, sizes.

use serde_json::json;

use super::{BATCH_EVENTS_MAX, BODY_BYTES_MAX, Case, Expect, good, refused, with};

/// Texts that are not JSON.
const BROKEN: [&str; 46] = [
    "{",
    "}",
    "[",
    "]",
    "{]",
    "[}",
    "nul",
    "tru",
    "falsee",
    "{a:1}",
    "{'a':1}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1}}",
    "{\"a\" 1}",
    "{1:2}",
    "{null:1}",
    "{\"a\":01}",
    "{\"a\":+1}",
    "{\"a\":.5}",
    "{\"a\":1.}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":--1}",
    "{\"a\":-}",
    "{\"a\":0x10}",
    "{\"a\":1_000}",
    "{\"a\":NaN}",
    "{\"a\":-Infinity}",
    "{\"a\":undefined}",
    "{\"a\":True}",
    "{\"a\":\"\\x41\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\\"}",
    "{\"a\":\"line\nfeed\"}",
    "{\"a\":\"tab\t\"}",
    "{\"a\":\"\u{1}\"}",
    "{\"a\":\"open}",
    "// comment\n{}",
    "/* comment */ {}",
    "\u{a0}{}",
    "{}\0",
];

/// Bytes that are not UTF-8, for use in a string.
const NOT_UTF8: [&[u8]; 12] = [
    b"\xff",
    b"\xfe",
    b"\x80",
    b"\xc0\xaf",
    b"\xc1\x81",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xe2\x82",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"caf\xe9",
];

pub(super) fn add(cases: &mut Vec<Case>) {
    syntax(cases);
    encoding(cases);
    shape(cases);
    lines(cases);
    sizes(cases);
}

fn syntax(cases: &mut Vec<Case>) {
    let class = "syntax: one event";
    for broken in ["", " ", "\n", "\0"].iter().chain(&BROKEN) {
        cases.push(Case::one(class, broken, refused(&[400], "line ")));
    }
    cases.push(Case::one(class, format!("{} {}", good(), good()), refused(&[400], "trailing")));
    let class = "syntax: in a batch, whose good events are not stored either";
    for broken in BROKEN {
        let body = format!("[{},{broken}]", good());
        cases.push(Case::batch(class, body, refused(&[400], "line ")));
    }
    for broken in ["", "[", "[,]", &format!("[{},]", good()), &format!("[{}", good())] {
        cases.push(Case::batch(class, broken, refused(&[400], "line ")));
    }
}

fn encoding(cases: &mut Vec<Case>) {
    let class = "character encoding";
    for bad in NOT_UTF8 {
        let at = |body: &str| super::replace(body.as_bytes(), b"@BAD", bad);
        let event = with("data", "{\"a\":\"@BAD\"}");
        cases.push(Case::one(class, at(&event), refused(&[400], "not UTF-8")));
        cases.push(Case::batch(class, at(&format!("[{event}]")), refused(&[400], "not UTF-8")));
        cases.push(Case::lines(class, at(&event), refused(&[400], "not UTF-8")));
    }
    let utf16 = |mark: bool, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = if mark { format!("\u{feff}{}", good()) } else { good() };
        text.encode_utf16().flat_map(order).collect()
    };
    cases.push(Case::one(class, utf16(true, u16::to_le_bytes), refused(&[400], "UTF-8")));
    cases.push(Case::one(class, utf16(true, u16::to_be_bytes), refused(&[400], "UTF-8")));
    cases.push(Case::one(class, utf16(false, u16::to_le_bytes), refused(&[400], "line 1")));
    cases.push(Case::one(class, utf16(false, u16::to_be_bytes), refused(&[400], "line 1")));
    cases.push(Case::one(class, format!("\u{feff}{}", good()), Expect::Stored(json!({}))));
    cases.push(Case::batch(class, format!("\u{feff}[{}]", good()), Expect::Stored(json!({}))));
    cases.push(Case::one(class, format!("\u{feff}\u{feff}{}", good()), Expect::Stored(json!({}))));
    cases.push(Case::one(class, b"\x1f\x8b\x08\0\0\0\0\0", refused(&[400], "UTF-8")));
}

fn shape(cases: &mut Vec<Case>) {
    let class = "another kind of JSON";
    for value in ["null", "true", "1", "-1.5e3", "\"text\"", "[]", "[[]]"] {
        cases.push(Case::one(class, value, refused(&[400], "an event: a JSON object")));
    }
    cases.push(Case::one(class, format!("[{}]", good()), refused(&[400], "/events/batch")));
    cases.push(Case::one(class, "{}", refused(&[422], "event_type is required")));
    for value in ["null", "true", "1", "\"text\""] {
        cases.push(Case::batch(class, value, refused(&[400], "an array of events")));
    }
    for value in ["{}", "{\"events\":[]}", &good()] {
        cases.push(Case::batch(class, value, refused(&[400], "expected a JSON array")));
    }
    for spaced in ["[]", " [ ] ", "\r\n[\n]\n"] {
        cases.push(Case::batch(class, spaced, Expect::Nothing));
    }
    for (value, kind) in [
        ("null", "null"),
        ("true", "a boolean"),
        ("1", "a number"),
        ("\"x\"", "a string"),
        ("[]", "an array"),
    ] {
        cases.push(Case::batch(class, format!("[{value}]"), refused(&[422], kind)));
        let body = format!("[{value},{},{value}]", good());
        cases.push(Case::batch(class, body, Expect::Partly(vec![0, 2])));
    }
    cases.push(Case::batch(class, "[{},{}]", refused(&[422], "none of the 2 events is valid")));
}

fn lines(cases: &mut Vec<Case>) {
    let class = "lines";
    let good = good();
    for body in [
        format!("{good}\n"),
        good.clone(),
        format!("{good}\r\n"),
        format!("\n\n{good}\n\n \t\n"),
        format!("\u{feff}{good}\n"),
        format!("  {good}  \n"),
    ] {
        cases.push(Case::lines(class, body, Expect::Stored(json!({}))));
    }
    for body in ["", "\n", "\r\n\r\n", "   ", "\u{feff}"] {
        cases.push(Case::lines(class, body, Expect::Nothing));
    }
    for bad in BROKEN.iter().filter(|broken| !broken.contains('\n')).take(20) {
        cases.push(Case::lines(class, format!("{bad}\n{good}\n{bad}"), Expect::Partly(vec![0, 2])));
    }
    for bad in ["null", "[]", "1", "\"x\"", "{}", &format!("[{good}]"), "{\"event_type\":\"t\",\n"]
    {
        let bad = bad.trim_end();
        cases.push(Case::lines(class, format!("{good}\n\n{bad}\n"), Expect::Partly(vec![1])));
    }
    // Two events on one line, an event on several lines, other line ends.
    cases.push(Case::lines(class, format!("{good}{good}"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, format!("{good},\n"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, good.replace(',', ",\n"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, format!("{good}\u{2028}{good}"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, format!("{good}\u{c}"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, format!("{good}\0\n"), refused(&[400], "line 1")));
    cases.push(Case::lines(class, "{}\n{}\n", refused(&[422], "none of the 2 events")));
    // A carriage return is white space.
    let text = with("data", "{\"a\":\"\u{2028}\u{85}\"}");
    let kept = Expect::Stored(json!({ "data": { "a": "\u{2028}\u{85}" } }));
    cases.push(Case::lines(class, text.replace(',', ",\r"), kept));
}

fn sizes(cases: &mut Vec<Case>) {
    let class = "size";
    let event = |bytes: usize| {
        let empty = with("data", "{\"a\":\"\"}").len();
        // The ID is longer than its placeholder.
        with("data", &format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - empty - 8)))
    };
    cases.push(Case::one(class, event(BODY_BYTES_MAX), Expect::Stored(json!({}))));
    for over in [10, 1000, 1_000_000] {
        cases.push(Case::one(
            class,
            event(BODY_BYTES_MAX + over),
            refused(&[413], "MAX_BODY_BYTES"),
        ));
        let body = format!("[{}]", event(BODY_BYTES_MAX + over));
        cases.push(Case::batch(class, body, refused(&[413], "MAX_BODY_BYTES")));
    }
    let many = |count: usize| {
        let mut events = vec!["{}".to_owned(); count - 1];
        events.push(good());
        events
    };
    let rejected = Expect::Partly((0..BATCH_EVENTS_MAX - 1).collect());
    cases.push(Case::batch(class, format!("[{}]", many(BATCH_EVENTS_MAX).join(",")), rejected));
    for count in [BATCH_EVENTS_MAX + 1, 10 * BATCH_EVENTS_MAX] {
        let said = || refused(&[413], "MAX_BATCH_EVENTS");
        cases.push(Case::batch(class, format!("[{}]", many(count).join(",")), said()));
        cases.push(Case::lines(class, many(count).join("\n"), said()));
    }
}

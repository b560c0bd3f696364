//! Property tests of decoding, against `serde_json` as the reference.

use agentic_hooks_backend::decode::{Context, Decoded, Encoding, Format, decode, decompress};
use agentic_hooks_backend::event::line::line_key;
use agentic_hooks_backend::event::{ColumnKind, Event, PromotedColumn, Timestamp};
use agentic_hooks_backend::journal::Framing;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

fn context() -> Context<'static> {
    Context {
        received_at: Timestamp::now(),
        framing: Framing::Plain,
        batch_events_max: 100,
        depth_max: 120,
        key_name: None,
        redactor: None,
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Fractions that every JSON parser reads exactly.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 64.0)),
        ".{0,12}".prop_map(Value::from),
        "[ \\t\\n\"\\\\{}\\[\\],:]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            object(inner).prop_map(Value::from),
        ]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![
        ".{0,8}".prop_map(String::from),
        proptest::sample::select(&PromotedColumn::ALL[..]).prop_map(|column| column.name().into()),
    ];
    proptest::collection::vec((key, value), 0..6).prop_map(|members| members.into_iter().collect())
}

/// Appends a value with white space wherever JSON allows it.
fn spaced(value: &Value, spaces: &mut impl Iterator<Item = &'static str>, out: &mut String) {
    let mut space = |out: &mut String| out.push_str(spaces.next().unwrap_or_default());
    space(out);
    match value {
        Value::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spaced(element, spaces, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spaced(&Value::from(key.as_str()), spaces, out);
                out.push(':');
                spaced(member, spaces, out);
            }
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
    out.push_str(spaces.next().unwrap_or_default());
}

fn lines(decoded: &Decoded) -> Vec<&[u8]> {
    decoded.batch.records().map(|(_, line)| line.trim_ascii_end()).collect()
}

/// The expected value of a column, from the members of `data`.
fn promoted(data: &Map<String, Value>, column: PromotedColumn) -> Option<String> {
    let value = data.get(column.name()).filter(|_| column != PromotedColumn::KeyName)?;
    let number = value.is_number().then(|| value.to_string());
    match column.kind() {
        ColumnKind::Text => {
            let text = value.as_str().map(str::to_owned).or(number);
            text.filter(|text| (1..=255).contains(&text.len()))
        }
        ColumnKind::Count => {
            let fraction = || value.as_f64().map(|number| number as i64);
            value.as_i64().or_else(fraction).map(|count| count.to_string())
        }
        ColumnKind::Measure => number,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn data_and_extra_members_round_trip(
        data in object(value()),
        extra in object(value()),
        session_id in ".{1,40}",
        spaces in proptest::collection::vec(
            prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("\r\n  ")], 1..20),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut event: Map<String, Value> = extra.clone();
        event.insert("event_id".into(), "the id".into());
        event.insert("event_type".into(), "tested".into());
        event.insert("session_id".into(), session_id.clone().into());
        event.insert("data".into(), data.clone().into());
        let event = Value::from(event);
        let mut body = String::new();
        spaced(&event, &mut spaces.iter().copied().cycle(), &mut body);

        let context = context();
        let decoded = decode(Format::Object, body.as_bytes(), &context).unwrap();
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let lines = lines(&decoded);
        prop_assert_eq!(lines.len(), 1);
        // A body without white space takes the fast path.
        let compact = decode(Format::Object, event.to_string().as_bytes(), &context).unwrap();
        prop_assert_eq!(compact.batch.bytes(), decoded.batch.bytes());
        prop_assert!(!lines[0].contains(&b'\n'));
        let stored: Value = serde_json::from_slice(lines[0]).unwrap();
        prop_assert_eq!(&stored["session_id"], &Value::from(session_id));
        prop_assert_eq!(&stored["data"], &Value::from(data.clone()));
        let kept = stored.get("extra").cloned().unwrap_or_else(|| Map::new().into());
        prop_assert_eq!(kept, Value::from(extra));

        let read = Event::from_line(lines[0]).unwrap();
        let compact = Value::from(data.clone()).to_string();
        prop_assert_eq!(&*read.data, compact);
        for (column, value) in read.promoted.iter() {
            prop_assert_eq!(value.map(str::to_owned), promoted(&data, column));
        }

        let mut again = Vec::new();
        read.write_line(&mut again);
        prop_assert_eq!(again, lines[0]);

        prop_assert_eq!(line_key(lines[0]), Some(read.key()));
        let torn = &lines[0][..cut.index(lines[0].len())];
        prop_assert_eq!(line_key(torn), None);
        // The line of another program can follow the rest of a torn line.
        prop_assert_eq!(line_key(&[torn, lines[0]].concat()).is_some(), torn.is_empty());
    }

    /// Text that is almost JSON: the fast path must not accept invalid JSON, and the general parser must not
    /// reject valid JSON.
    #[test]
    fn accepts_exactly_valid_json(
        value in object(value()),
        spaces in proptest::collection::vec(prop_oneof![Just(""), Just(" "), Just("\r\n")], 1..9),
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), "[\\[\\]{}:,\"\\\\0-9eE.+u\u{1}tn -]{0,2}", 0..3_usize), 0..3),
    ) {
        let mut text = String::new();
        spaced(&value.into(), &mut spaces.iter().copied().cycle(), &mut text);
        let mut text: Vec<char> = text.chars().collect();
        for (place, new, remove) in changes {
            let at = place.index(text.len().max(1)).min(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        let valid = serde_json::from_str::<&RawValue>(&text).is_ok();
        let is_object = valid && text.trim_start().starts_with('{');
        let taken = decode(Format::Object, text.as_bytes(), &context()).is_ok();
        prop_assert_eq!(taken, is_object, "{}", text);
        let taken = decode(Format::Array, format!("[{text}]").as_bytes(), &context()).is_ok();
        let array = format!("[{text}]");
        let valid = serde_json::from_str::<&RawValue>(&array).is_ok();
        prop_assert_eq!(taken, valid, "{}", array);
    }

    #[test]
    fn batch_accepts_and_rejects_events_individually(
        events in proptest::collection::vec(prop_oneof![
            value().prop_map(|value| (false, value)),
            (".{1,9}", object(value())).prop_map(|(id, data)| {
                let event = serde_json::json!(
                    {"event_type": "tested", "session_id": "s", "event_id": id, "data": data});
                (true, event)
            }),
        ], 0..12),
    ) {
        let body = Value::from(events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>());
        let decoded = decode(Format::Array, body.to_string().as_bytes(), &context()).unwrap();
        let places = |good: bool| -> Vec<usize> {
            let of_kind = events.iter().enumerate().filter(|(_, event)| event.0 == good);
            of_kind.map(|(at, _)| at).collect()
        };
        prop_assert_eq!(decoded.batch.len(), places(true).len());
        let rejected: Vec<usize> = decoded.rejected.iter().map(|event| event.index).collect();
        prop_assert_eq!(rejected, places(false));
        for rejected in &decoded.rejected {
            let original: Value = serde_json::from_str(&rejected.original).unwrap();
            prop_assert_eq!(&original, &events[rejected.index].1);
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_rejected(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[\\[{\"a-z:,\\\\u0-9dD}\\] \\n.+-]{0,200}".prop_map(String::into_bytes),
        ],
    ) {
        for format in [
            Format::Object, Format::Array, Format::Ndjson, Format::CloudEvent, Format::CloudEvents,
        ] {
            if let Ok(decoded) = decode(format, &bytes, &context()) {
                for line in lines(&decoded) {
                    prop_assert!(Event::from_line(line).is_ok());
                }
            }
        }
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
            let mut total = 0;
            for part in decompress(encoding, &bytes, 10_000).into_iter().flatten() {
                match part {
                    Ok(part) => total += part.len(),
                    Err(_) => break,
                }
            }
            prop_assert!(total <= 10_000);
        }
    }
}

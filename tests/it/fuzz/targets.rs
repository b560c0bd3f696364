//! The fuzz targets: what is fuzzed, and the properties that hold for every input.

use std::path::Path;
use std::time::Duration;

use agentic_hooks_backend::decode::{
    Context, Decoded, Encoding, Format, decode, decompress, from_headers,
};
use agentic_hooks_backend::event::line::line_key;
use agentic_hooks_backend::event::timestamp::{parse_number, parse_text};
use agentic_hooks_backend::event::{Event, Timestamp};
use agentic_hooks_backend::journal::{self, Framing, SyncObserver};
use agentic_hooks_backend::json::text;
use agentic_hooks_backend::postgres::deliver::CopyRows;
use agentic_hooks_backend::redact::{Redact, Redactions, Redactor};
use serde_json::value::RawValue;

use super::fuzz;

const JSON_TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\\"",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\ud83e\\udd80",
    "\\/",
    "\\n",
    "\n",
    "\r\n",
    " ",
    "null",
    "true",
    "0",
    "-",
    "1e131071",
    "1E+2",
    ".5",
    "\"data\":{",
    "\"event_id\":",
    "\"event_type\":\"t\"",
    "\"session_id\":\"s\"",
    "\"timestamp\":",
    "\"extra\":{",
    "\"received_at\":\"",
    "\"specversion\":\"1.0\"",
    "\"id\":\"",
    "\"agent\":\"",
    "\"duration_ms\":",
    "\u{feff}",
    "\u{e9}",
    "{\"event_type\":\"t\",\"session_id\":\"s\"}",
    "\0",
];

/// Returns the contents of the files in a directory of the corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let entries = std::fs::read_dir(directory).expect("the corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

fn context(redactor: Option<&Redactor>) -> Context<'_> {
    let received_at = Timestamp::from_micros(1_795_424_400_123_456).expect("a time");
    let framing = Framing::Plain;
    Context { received_at, framing, batch_events_max: 100, depth_max: 20, key_name: None, redactor }
}

fn standard() -> Redactor {
    Redactor::new(&Redact::Standard).expect("the rules are good").expect("it is on")
}

fn lines(decoded: &Decoded) -> Vec<&[u8]> {
    decoded.batch.records().map(|(_, line)| line.strip_suffix(b"\n").expect("a line")).collect()
}

/// Each accepted event is one line that round-trips, also through an import.
fn check_accepted_lines(decoded: &Decoded, context: &Context<'_>) {
    for line in lines(decoded) {
        assert!(!line.contains(&b'\n'));
        let event = Event::from_line(line).expect("a line that was accepted reads back");
        assert_eq!(line_key(line), Some(event.key()));
        let mut again = Vec::new();
        event.write_line(&mut again);
        assert_eq!(again.escape_ascii().to_string(), line.escape_ascii().to_string());
        let imported = decode(Format::Stored, line, context).expect("a line is an event");
        assert!(imported.rejected.is_empty(), "{:?}", imported.rejected);
        let imported = self::lines(&imported)[0].escape_ascii().to_string();
        assert_eq!(imported, line.escape_ascii().to_string());
    }
}

fn decodes(format: Format) {
    let redactor = standard();
    fuzz(&format!("decode {format:?}"), 1500, corpus("bodies"), &JSON_TOKENS, |body| {
        let plain = context(None);
        let redacting = context(Some(&redactor));
        let Ok(decoded) = decode(format, body, &plain) else {
            assert!(decode(format, body, &redacting).is_err());
            return false;
        };
        check_accepted_lines(&decoded, &plain);
        let redacted = decode(format, body, &redacting).expect("redaction rejects no body");
        assert_eq!(redacted.batch.len(), decoded.batch.len());
        assert_eq!(redacted.rejected.len(), decoded.rejected.len());
        !decoded.batch.is_empty()
    });
}

#[test]
fn decode_object() {
    decodes(Format::Object);
}

#[test]
fn decode_array() {
    decodes(Format::Array);
}

#[test]
fn decode_ndjson() {
    decodes(Format::Ndjson);
}

#[test]
fn decode_stored() {
    decodes(Format::Stored);
}

#[test]
fn decode_cloudevent() {
    decodes(Format::CloudEvent);
}

#[test]
fn decode_cloudevents() {
    decodes(Format::CloudEvents);
}

/// The first line of an input is the value of a header, the rest is the body.
#[test]
fn decode_cloudevent_headers() {
    let inputs = ["s%C3%A4%\n{\"a\":1}", "\u{e9}%ff%00\n", "2026-11-23T09:00:00Z\n[1]"];
    let inputs = inputs.map(|input| input.as_bytes().to_vec()).to_vec();
    let tokens = [&JSON_TOKENS[..], &["%", "%00", "%C3%A4", "%zz"]].concat();
    fuzz("decode headers", 1500, inputs, &tokens, |input| {
        let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (value, body) = input.split_at(at);
        let value = String::from_utf8_lossy(value);
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-type", &*value),
            ("ce-subject", &*value),
            ("ce-time", "2026-11-23"),
            ("ce-more", &*value),
        ];
        let context = context(None);
        from_headers(headers.into_iter(), body, &context).is_ok_and(|decoded| {
            check_accepted_lines(&decoded, &context);
            !decoded.batch.is_empty()
        })
    });
}

#[test]
fn decompression() {
    const BYTES_MAX: usize = 100_000;
    use std::io::Read;
    let level = flate2::Compression::default();
    let mut inputs = Vec::new();
    for body in corpus("bodies") {
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(&body[..], level).read_to_end(&mut out).expect("in memory");
        inputs.push(std::mem::take(&mut out));
        flate2::read::ZlibEncoder::new(&body[..], level).read_to_end(&mut out).expect("in memory");
        inputs.push(std::mem::take(&mut out));
        flate2::read::DeflateEncoder::new(&body[..], level)
            .read_to_end(&mut out)
            .expect("in memory");
        inputs.push(std::mem::take(&mut out));
        inputs.push(zstd::encode_all(&body[..], 3).expect("in memory"));
        inputs.push(zstd::encode_all(&vec![b' '; 1 << 20][..], 3).expect("in memory"));
    }
    fuzz("decompression", 1500, inputs, &["\x1f\u{8b}", "\0\0"], |input| {
        let mut through = false;
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
            let mut bytes = 0;
            let parts = decompress(encoding, input, BYTES_MAX);
            let whole = parts.is_ok_and(|mut parts| {
                parts.all(|part| {
                    part.is_ok_and(|part| {
                        bytes += part.len();
                        true
                    })
                })
            });
            assert!(bytes <= BYTES_MAX);
            through |= whole && bytes > 0;
        }
        through
    });
}

#[test]
fn timestamps() {
    let inputs: Vec<Vec<u8>> = corpus("timestamps")
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    let tokens = [
        "Z", "z", "T", "-", ":", ".", ",", "+", "[", "]", "00", "24", "60", "99", "1e", "e-",
        "\u{2212}",
    ];
    fuzz("timestamps", 1500, inputs, &tokens, |input| {
        let text = String::from_utf8_lossy(input);
        let is_number = serde_json::from_str::<&RawValue>(&text)
            .is_ok_and(|raw| text::kind(raw.get()) == "a number" && raw.get().len() == text.len());
        let parsed = [Some(parse_text(&text)), is_number.then(|| parse_number(&text))];
        let mut through = false;
        for timestamp in parsed.into_iter().flatten().flatten() {
            assert!((Timestamp::MIN..=Timestamp::MAX).contains(&timestamp));
            assert_eq!(parse_text(&timestamp.to_string()), Ok(timestamp));
            through = true;
        }
        through
    });
}

/// Redacted JSON is valid JSON, redaction is idempotent, and escapes do not hide secrets.
#[test]
fn redactor() {
    let redactor = standard();
    let mut inputs = corpus("bodies");
    let secrets = crate::redaction::secrets();
    for (_, text, _) in &secrets {
        let json = serde_json::json!({ "a": [text], (text): 1 }).to_string();
        inputs.push(json.replace('/', "\\/").replace('A', "\\u0041").into_bytes());
        inputs.push(json.into_bytes());
    }
    let tokens: Vec<&str> = secrets
        .iter()
        .map(|(_, _, secret)| secret.as_str())
        .chain([
            "\\u0067hp_",
            "[redacted:",
            "[redacted:jwt]",
            "\\\\",
            "\\ud83e\\udd80",
            "://a:b@",
            "eyJ",
            "\\n",
        ])
        .chain(JSON_TOKENS)
        .collect();
    fuzz("redactor", 1500, inputs, &tokens, |input| {
        let sent = String::from_utf8_lossy(input);
        let mut found = Redactions::default();
        let kept = redactor.original(&sent, &mut found);
        let mut again = Redactions::default();
        if serde_json::from_str::<&RawValue>(&sent).is_err() {
            // Redacted as text. Without the secret, it may be valid JSON.
            assert_eq!(redactor.plain(&kept, &mut again), kept);
            return false;
        }
        assert_eq!(redactor.json(&kept, &mut again), kept);
        assert_eq!(again, Redactions::default());
        serde_json::from_str::<&RawValue>(&kept).expect("JSON stays JSON");
        if found == Redactions::default() {
            assert_eq!(kept, sent);
        }
        let bytes = kept.as_bytes();
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
            let end = text::string_end(bytes, at + quote);
            let shown = text::unescape(&kept[at + quote..end]);
            assert_eq!(redactor.plain(&shown, &mut again), shown);
            at = end;
        }
        found != Redactions::default()
    });
}

/// A segment that was changed on disk: the journal opens, every valid record is one that was written, and
/// every record becomes a row or is set aside.
#[test]
fn journal_segment() {
    let events: Vec<String> = (0..5)
        .map(|n| format!(r#"{{"event_type":"t","session_id":"s","event_id":"{n}","data":{{"n":[{n},1e131071]}}}}"#))
        .collect();
    let context = Context { framing: Framing::Checksummed, ..context(None) };
    let batch =
        decode(Format::Ndjson, events.join("\n").as_bytes(), &context).expect("events").batch;
    let records: Vec<Vec<u8>> =
        batch.records().map(|(_, record)| record[..record.len() - 10].to_vec()).collect();
    let tokens = ["\n", "\t", "\tffffffff\n", "{}\t", "\0\0\0\0"];
    fuzz("journal segment", 60, vec![batch.bytes().to_vec()], &tokens, |segment| {
        let directory = crate::harness::reaper::directory();
        std::fs::write(directory.path().join(format!("{:020}.seg", 0)), segment).expect("a file");
        let opened =
            journal::open_segments(directory.path(), 1 << 20, Duration::ZERO).expect("it opens");
        let reader = opened.reader().expect("a journal of segments");
        let (journal, ended) =
            opened.start(line_key, SyncObserver(Box::new(|_, _| {}))).expect("a thread");
        drop(journal);
        ended.blocking_recv().expect("the writer does not panic").expect("it can read");
        let (mut position, mut through) = (0, false);
        loop {
            let chunk = reader.read(position, 1 << 20).expect("it can be read");
            if chunk.is_empty() {
                break;
            }
            assert!(chunk.next > position);
            position = chunk.next;
            let mut count = 0;
            for record in chunk.records() {
                count += 1;
                if let Ok(line) = record {
                    assert!(records.iter().any(|known| known == line), "{}", line.escape_ascii());
                    through = true;
                }
            }
            let rows = CopyRows::encode(chunk, 1);
            assert_eq!(rows.len() + rows.faulty_len(), count);
            assert_eq!(rows.faulty().count(), rows.faulty_len());
        }
        through
    });
}

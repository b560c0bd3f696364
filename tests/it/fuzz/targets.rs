//! The fuzz targets: what is fuzzed, and the properties that hold for every input.

use std::path::Path;
use std::time::Duration;

use agentic_hooks_backend::decode::{
    Context, Decoded, Encoding, Firings, Format, Hook, OtlpEncoding, Signal, agent_names, decode,
    decode_export, decode_hook, decompress, from_headers,
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

/// The recorded payloads of agents.
fn payloads() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/recorded");
    let agents = std::fs::read_dir(directory).expect("the payloads").map(|agent| {
        let files = std::fs::read_dir(agent.expect("an agent").path()).expect("payloads");
        files.map(|file| file.expect("a payload").path()).collect::<Vec<_>>()
    });
    let mut paths: Vec<_> = agents.flatten().collect();
    paths.retain(|path| !path.to_string_lossy().ends_with(".expected.json"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

#[test]
fn hooks() {
    let redactor = standard();
    let agents: Vec<&str> = agent_names().collect();
    fuzz("hooks", 1500, payloads(), &JSON_TOKENS, |payload| {
        let mut through = false;
        for agent in &agents {
            let hook = Hook {
                agent: (*agent).into(),
                event: Some("PreToolUse".into()),
                fired_at: Timestamp::from_micros(1_795_424_400_123_456).expect("a time"),
                workflow_id: None,
                phase_id: None,
                milestone_id: None,
                event_id: None,
            };
            let context = context(Some(&redactor));
            if let Ok(decoded) = decode_hook(&hook, payload, &Firings::default(), &context) {
                check_accepted_lines(&decoded, &self::context(None));
                through |= !decoded.batch.is_empty();
            }
        }
        through
    });
}

fn exports(encoding: OtlpEncoding, inputs: Vec<Vec<u8>>, tokens: &[&str]) {
    let redactor = standard();
    fuzz(&format!("OTLP {encoding:?}"), 1500, inputs, tokens, |body| {
        let mut through = false;
        for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
            let context = context(Some(&redactor));
            if let Ok(decoded) = decode_export(signal, encoding, body, &context) {
                check_accepted_lines(&decoded, &self::context(None));
                through |= !decoded.batch.is_empty();
            }
        }
        through
    });
}

#[test]
fn otlp_json() {
    let inputs: Vec<_> = ["otlp-claude-code.json", "otlp-others.json"]
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(name))
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a file");
            let cases: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            requests(&cases)
        })
        .collect();
    assert!(!inputs.is_empty());
    let tokens =
        [&JSON_TOKENS[..], &["\"attributes\":[", "\"value\":{", "\"kvlistValue\":{"]].concat();
    exports(OtlpEncoding::Json, inputs, &tokens);
}

/// The objects with records of a signal, wherever they are in a file of test cases.
fn requests(value: &serde_json::Value) -> Vec<Vec<u8>> {
    let members = ["resourceLogs", "resourceSpans", "resourceMetrics"];
    match value {
        serde_json::Value::Object(object) => {
            if members.iter().any(|member| object.contains_key(*member)) {
                return vec![value.to_string().into_bytes()];
            }
            object.values().flat_map(requests).collect()
        }
        serde_json::Value::Array(array) => array.iter().flat_map(requests).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn otlp_protobuf() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/otlp-claude-code.hex");
    let text = std::fs::read_to_string(path).expect("a file");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks_exact(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let input = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a byte")).collect();
    let tokens = ["\n\0", "\n\u{2}\n\0", "\u{12}", "\u{1a}", "\u{22}\u{7f}", "\0"];
    exports(OtlpEncoding::Protobuf, vec![input], &tokens);
}

/// Eight times as much of the same takes at most 24 times as long, with redaction, and reading it back too.
#[test]
fn decode_time() {
    const SMALL_BYTES: usize = 4 << 10;
    let redactor = standard();
    let secrets = crate::redaction::secrets();
    let inputs: Vec<Vec<u8>> =
        secrets.iter().map(|(_, text, _)| text.as_bytes().to_vec()).collect();
    let tokens: Vec<&str> = ["x://u:p@h/", "-----BEGIN PRIVATE KEY-----", "eyJ", "ghp_", "\\\""]
        .into_iter()
        .chain(JSON_TOKENS)
        .collect();
    let body = |part: &str, form: usize, bytes: usize| {
        let count = bytes / (part.len() + 4) + 1;
        let value = match form {
            0 => format!("\"{}\"", part.repeat(count)),
            1 => serde_json::Value::from(part.repeat(count)).to_string(),
            2 => format!("[{}]", vec![part; count].join(",")),
            _ => format!("{{{}}}", vec![format!("\"a\":{part}"); count].join(",")),
        };
        format!("{{\"event_type\":\"t\",\"session_id\":\"s\",\"data\":{{\"a\":{value}}}}}")
    };
    let context = context(Some(&redactor));
    let read = |body: &str| {
        let begun = thread_time();
        let through = decode(Format::Object, body.as_bytes(), &context).is_ok_and(|decoded| {
            for line in lines(&decoded) {
                let mut line = line.to_vec();
                text::replace_lone_surrogates(&mut line);
                let _ = Event::from_line(&line);
            }
            !decoded.batch.is_empty()
        });
        (thread_time().saturating_sub(begun), through)
    };
    fuzz("decode time", 100, inputs, &tokens, |part| {
        let part = String::from_utf8_lossy(&part[..part.len().min(200)]);
        let mut through = false;
        for form in 0..4 {
            let (small, large) =
                (body(&part, form, SMALL_BYTES), body(&part, form, 8 * SMALL_BYTES));
            // The smallest of several times is nearest to the work itself.
            let least = |body: &str| (0..3).map(|_| read(body)).min_by_key(|(time, _)| *time);
            let ((short, read), (long, _)) =
                (least(&small).expect("one"), least(&large).expect("one"));
            through |= read;
            let limit = 24 * short + Duration::from_millis(5);
            assert!(long < limit, "form {form} of {part:?}: {short:?} and {long:?}");
        }
        through
    });
}

/// The CPU time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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

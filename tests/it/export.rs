//! `GET /events/export`: all events that match a filter, in the requested format.

use std::fmt::Write;
use std::io::Read;

use agentic_hooks_backend::event::{MEMBERS, Timestamp};
use bytes::Bytes;
use parquet::basic::{LogicalType, Repetition, TimeUnit};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

use crate::harness::{Server, Storage, Workspace, assert_exactly, ids};

both!(
    ndjson_has_every_event_sorted_by_timestamp,
    csv_follows_rfc_4180,
    exports_are_compressed_on_request,
    parquet_equals_ndjson,
    parquet_has_the_requested_columns,
    parquet_without_events_has_no_rows,
    parquet_holds_large_events_and_a_truncated_file_is_invalid,
);

fn with(storage: Storage, events: &[Value]) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    for batch in events.chunks(5000) {
        server.client.batch(batch).expect(202);
    }
    let last = events.last().expect("an event")["event_id"].as_str().expect("an id");
    crate::harness::eventually("the last event is shown", || {
        let response = server.client.get(&format!("/events?session_id=s-1&event_id={last}"), &[]);
        if response.text.contains("\"event_type\"") { Ok(()) } else { Err(response.text) }
    });
    (workspace, server)
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            json!({
                "event_id": format!("{number:05}"), "event_type": if number % 2 == 0 { "even" } else { "odd" },
                "session_id": "s-1", "timestamp": 1_795_000_000 + number / 3,
            })
        })
        .collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Returns the head and the body of a response; the body may be binary.
#[track_caller]
fn download(server: &Server, path: &str, accepted: &str) -> (String, Vec<u8>) {
    let mut connection = server.client.connect();
    connection.write(format!(
        "GET {path} HTTP/1.0\r\n{}accept-encoding: {accepted}\r\n\r\n",
        server.client.read_header()
    ));
    let head = connection.read_until("\r\n\r\n");
    let mut body = Vec::new();
    connection.into_inner().read_to_end(&mut body).expect("a body");
    (head, body)
}

/// Returns a Parquet export, opened with the parquet crate.
#[track_caller]
fn parquet(server: &Server, query: &str) -> SerializedFileReader<Bytes> {
    let path = format!("/events/export?format=parquet{query}");
    let (head, body) = download(server, &path, "gzip, zstd");
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(head.contains("content-type: application/vnd.apache.parquet\r\n"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    SerializedFileReader::new(Bytes::from(body)).expect("a file")
}

/// Returns the rows as NDJSON events.
fn rows(file: &SerializedFileReader<Bytes>) -> Vec<Value> {
    const ALWAYS: [&str; 3] = ["workflow_id", "phase_id", "milestone_id"];
    let event = |row: parquet::record::Row| {
        let members = row.into_columns().into_iter().filter_map(|(name, field)| {
            let value = match field {
                // Always present in NDJSON.
                Field::Null if ALWAYS.contains(&&*name) => Value::Null,
                Field::Null => return None,
                Field::Str(text) if ["data", "extra"].contains(&&*name) => {
                    serde_json::from_str(&text).expect("JSON")
                }
                Field::Str(text) => Value::from(text),
                Field::Long(number) => Value::from(number),
                Field::Double(number) => Value::from(number),
                Field::TimestampMicros(micros) => {
                    Value::from(Timestamp::from_micros(micros).expect("a time").to_string())
                }
                other => panic!("{name} is {other:?}"),
            };
            Some((name, value))
        });
        Value::Object(members.collect())
    };
    let rows = file.get_row_iter(None).expect("rows");
    rows.map(|row| event(row.expect("a row"))).collect()
}

fn parquet_equals_ndjson(storage: Storage) {
    let mut events = numbered(12_000);
    events[7] = json!({
        "event_id": "é\"\n7", "event_type": "tool_execution_completed", "session_id": "s-1",
        "workflow_id": "w", "phase_id": "p", "milestone_id": "m", "cwd": "/tmp",
        "timestamp": "1969-07-20T20:17:40.000001Z",
        "data": {
            "agent": "a", "tool_name": "Bash", "tool_use_id": "u", "duration_ms": 12.5,
            "input_tokens": 9_007_199_254_740_993_i64, "output_tokens": 2, "cost_usd": 0.25,
            "text": "a\\b\u{1f980}",
        },
    });
    let (_workspace, server) = with(storage, &events);
    let file = parquet(&server, "");
    assert_eq!(file.metadata().file_metadata().num_rows(), 12_000);
    let rows = rows(&file);
    assert_eq!(rows, lines(&server.client.get("/events/export", &[]).expect(200).text));
    assert_eq!(rows[0]["event_id"], "é\"\n7");
    assert_eq!(rows[0]["input_tokens"], 9_007_199_254_740_993_i64);
    assert_eq!(rows[0]["extra"], json!({"cwd": "/tmp"}));
}

fn parquet_has_the_requested_columns(storage: Storage) {
    let (_workspace, server) = with(storage, &numbered(10));
    let columns = |query: &str| -> Vec<_> {
        let file = parquet(&server, query);
        let columns = file.metadata().file_metadata().schema_descr().columns().to_vec();
        let column = |column: &std::sync::Arc<parquet::schema::types::ColumnDescriptor>| {
            let is_optional =
                column.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
            (column.name().to_owned(), column.logical_type_ref().cloned(), is_optional)
        };
        columns.iter().map(column).collect()
    };
    let time = LogicalType::timestamp(true, TimeUnit::MICROS);
    assert_eq!(
        columns("&fields=timestamp,event_id,data,extra,tool_name,cost_usd,timestamp"),
        [
            ("timestamp".to_owned(), Some(time), false),
            ("event_id".to_owned(), Some(LogicalType::String), false),
            ("data".to_owned(), Some(LogicalType::String), false),
            ("extra".to_owned(), Some(LogicalType::String), true),
            ("tool_name".to_owned(), Some(LogicalType::String), true),
            ("cost_usd".to_owned(), None, true),
        ]
    );
    let names: Vec<_> = columns("&data=false").into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), MEMBERS.len() - 2, "{names:?}");
    assert!(!names.iter().any(|name| ["data", "extra"].contains(&&**name)), "{names:?}");
    let path = "/events/export?format=parquet&fields=data&data=false";
    assert_eq!(server.client.get(path, &[]).expect(422).json()["parameter"], "fields");
}

fn parquet_without_events_has_no_rows(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    crate::harness::eventually("events can be read", || {
        crate::harness::eventually::when(server.client.get("/events", &[]), |response| {
            response.status == 200
        })
    });
    let file = parquet(&server, "");
    let metadata = file.metadata();
    assert_eq!((metadata.file_metadata().num_rows(), metadata.num_row_groups()), (0, 0));
    assert_eq!(metadata.file_metadata().schema_descr().num_columns(), MEMBERS.len());
}

/// Returns text that compresses to no less than half its size.
fn noise(seed: usize, bytes: usize) -> String {
    let word = |at: usize| xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed as u64);
    let mut text = String::with_capacity(bytes);
    for at in 0..bytes / 16 {
        write!(text, "{:016x}", word(at)).expect("memory");
    }
    text
}

fn parquet_holds_large_events_and_a_truncated_file_is_invalid(storage: Storage) {
    let event = |number: usize| {
        json!({
            "event_id": number.to_string(), "event_type": "t", "session_id": "s-1",
            "timestamp": 1_795_000_000 + number, "data": {"text": noise(number, 3 << 20)},
        })
    };
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().ready().start();
    for number in 0..12 {
        server.client.event(&event(number)).expect(202);
    }
    crate::reading::shown(&server.client, 12);
    let file = parquet(&server, "");
    assert!(file.metadata().num_row_groups() > 3, "a row group is bounded by bytes");
    assert_eq!(rows(&file), lines(&server.client.get("/events/export", &[]).expect(200).text));

    let begun = || {
        let mut connection = server.client.connect();
        let read_header = server.client.read_header();
        let request = format!("GET /events/export?format=parquet HTTP/1.0\r\n{read_header}\r\n");
        connection.write(request);
        let head = connection.read_until("\r\n\r\n");
        (head.starts_with("HTTP/1.0 200"), head, connection)
    };
    // One client can have four Parquet exports at once.
    let (all_begun, mut begun_exports): (Vec<_>, Vec<_>) =
        (0..4).map(|_| begun()).map(|(is_begun, _, connection)| (is_begun, connection)).unzip();
    assert_eq!(all_begun, [true; 4]);
    let (is_begun, head, _) = begun();
    assert!(!is_begun && head.contains("retry-after: 5"), "{head}");
    begun_exports.truncate(1);
    crate::harness::eventually("there is room again", || match begun() {
        (true, ..) => Ok(()),
        (_, head, _) => Err(head),
    });
    let connection = begun_exports.remove(0);
    let mut connection = connection.into_inner();
    let mut body = vec![0; 1 << 20];
    connection.read_exact(&mut body).expect("the beginning");
    assert!(body.starts_with(b"PAR1"));
    // The rest exceeds the socket buffers. The connection may end with an error, or like a complete
    // response.
    server.kill9();
    let _ = connection.read_to_end(&mut body);
    assert!(SerializedFileReader::new(Bytes::from(body)).is_err(), "a part is no file");
}

fn ndjson_has_every_event_sorted_by_timestamp(storage: Storage) {
    // More events than one query returns.
    let events = numbered(21_000);
    let (_workspace, server) = with(storage, &events);
    let response = server.client.get("/events/export", &[]).expect(200);
    assert_eq!(response.header("content-type"), "application/x-ndjson");
    assert_eq!(ids(&lines(&response.text)), ids(&events));
    let odd = server.client.get("/events/export?event_type=odd&order=desc&fields=event_id", &[]);
    let odd = lines(&odd.expect(200).text);
    assert_eq!(odd.len(), 10_500);
    assert_eq!(odd[0], json!({"event_id": "20999"}));
    assert_eq!(server.client.get("/events/export?session_id=none", &[]).expect(200).text, "");
    let problem = server.client.get("/events/export?format=xml", &[]).expect(422).json();
    assert_eq!(problem["parameter"], "format");
}

fn csv_follows_rfc_4180(storage: Storage) {
    let (_workspace, server) = with(
        storage,
        &[
            json!({
                "event_id": "a,\"b\"", "event_type": "t\nu", "session_id": "s-1", "phase_id": "p",
                "timestamp": "2026-11-20T10:00:00Z", "data": {"duration_ms": 1.5, "text": "x"},
            }),
            json!({
                "event_id": "z", "event_type": "t", "session_id": "s-1", "timestamp": "2026-11-20T10:00:01Z",
            }),
        ],
    );
    let fields = "event_id,event_type,phase_id,data,duration_ms";
    let response = server.client.get(&format!("/events/export?format=csv&fields={fields}"), &[]);
    let response = response.expect(200);
    assert_eq!(response.header("content-type"), "text/csv; charset=utf-8");
    let data = match storage {
        Storage::Jsonl => r#""{""duration_ms"":1.5,""text"":""x""}""#,
        Storage::Postgres => r#""{""text"":""x"",""duration_ms"":1.5}""#,
    };
    let expected = format!("{fields}\r\n\"a,\"\"b\"\"\",\"t\nu\",p,{data},1.5\r\nz,t,,{{}},\r\n");
    assert_eq!(response.text, expected);
    let header = server.client.get("/events/export?format=csv&data=false", &[]).expect(200).text;
    assert!(header.starts_with(
        "event_id,event_type,session_id,workflow_id,phase_id,milestone_id,timestamp,"
    ));
}

fn exports_are_compressed_on_request(storage: Storage) {
    let events = numbered(3000);
    let (_workspace, server) = with(storage, &events);
    for (accepted, coding) in
        [("gzip", "gzip"), ("zstd", "zstd"), ("br, GZIP;q=0.5, zstd;q=0", "gzip"), ("identity", "")]
    {
        let (head, body) = download(&server, "/events/export", accepted);
        if !coding.is_empty() {
            assert!(head.contains(&format!("content-encoding: {coding}\r\n")), "{head}");
        }
        let mut text = String::new();
        let read = match coding {
            "gzip" => flate2::read::GzDecoder::new(&*body).read_to_string(&mut text),
            "zstd" => {
                zstd::stream::read::Decoder::new(&*body).expect("zstd").read_to_string(&mut text)
            }
            _ => (&*body).read_to_string(&mut text),
        };
        read.expect("a whole body");
        assert_exactly(&lines(&text), ids(&events));
    }
}

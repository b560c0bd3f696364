//! `GET /events/export`: everything that a filter lets through, in the form that is asked for.

use std::io::Read;

use serde_json::{Value, json};

use crate::harness::{Place, Server, Storage, assert_exactly, ids};

both!(
    ndjson_has_every_event_in_the_order_of_time,
    csv_is_as_rfc_4180_has_it,
    exports_are_compressed_on_request,
);

fn with(storage: Storage, events: &[Value]) -> (Place, Server) {
    let place = Place::new(storage);
    let server = place.server().ready().start();
    for batch in events.chunks(5000) {
        server.client.batch(batch).expect(202);
    }
    let last = events.last().expect("an event")["event_id"].as_str().expect("an id");
    crate::harness::eventually("the last event is shown", || {
        let answer = server.client.get(&format!("/events?session_id=s-1&event_id={last}"), &[]);
        if answer.text.contains("\"event_type\"") { Ok(()) } else { Err(answer.text) }
    });
    (place, server)
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

fn ndjson_has_every_event_in_the_order_of_time(storage: Storage) {
    // More than one question's worth.
    let events = numbered(21_000);
    let (_place, server) = with(storage, &events);
    let answer = server.client.get("/events/export", &[]).expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(ids(&lines(&answer.text)), ids(&events));
    let odd = server.client.get("/events/export?event_type=odd&order=desc&fields=event_id", &[]);
    let odd = lines(&odd.expect(200).text);
    assert_eq!(odd.len(), 10_500);
    assert_eq!(odd[0], json!({"event_id": "20999"}));
    assert_eq!(server.client.get("/events/export?session_id=none", &[]).expect(200).text, "");
    let problem = server.client.get("/events/export?format=xml", &[]).expect(422).json();
    assert_eq!(problem["parameter"], "format");
}

fn csv_is_as_rfc_4180_has_it(storage: Storage) {
    let (_place, server) = with(
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
    let answer = server.client.get(&format!("/events/export?format=csv&fields={fields}"), &[]);
    let answer = answer.expect(200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let data = match storage {
        Storage::Jsonl => r#""{""duration_ms"":1.5,""text"":""x""}""#,
        Storage::Postgres => r#""{""text"":""x"",""duration_ms"":1.5}""#,
    };
    let expected = format!("{fields}\r\n\"a,\"\"b\"\"\",\"t\nu\",p,{data},1.5\r\nz,t,,{{}},\r\n");
    assert_eq!(answer.text, expected);
    let header = server.client.get("/events/export?format=csv&data=false", &[]).expect(200).text;
    assert!(header.starts_with(
        "event_id,event_type,session_id,workflow_id,phase_id,milestone_id,timestamp,"
    ));
}

fn exports_are_compressed_on_request(storage: Storage) {
    let events = numbered(3000);
    let (_place, server) = with(storage, &events);
    for (accepted, coding) in
        [("gzip", "gzip"), ("zstd", "zstd"), ("br, GZIP;q=0.5, zstd;q=0", "gzip"), ("identity", "")]
    {
        let mut connection = server.client.connect();
        connection.write(format!(
            "GET /events/export HTTP/1.0\r\nhost: localhost\r\naccept-encoding: {accepted}\r\n\r\n"
        ));
        let head = connection.read_until("\r\n\r\n");
        let mut body = Vec::new();
        connection.into_inner().read_to_end(&mut body).expect("a body");
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

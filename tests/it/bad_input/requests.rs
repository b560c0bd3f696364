//! Requests: media types, content encodings, parameters, CloudEvents, routes, HTTP itself.

use std::io::Read;

use serde_json::json;

use super::{BODY_BYTES_MAX, Case, Expect, ID, good, refused};

pub(super) fn add(cases: &mut Vec<Case>) {
    media_types(cases);
    encodings(cases);
    parameters(cases);
    cloud_events(cases);
    routes(cases);
    http(cases);
}

fn media_types(cases: &mut Vec<Case>) {
    let class = "media types";
    for wrong in [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/json+x",
        "application",
        "/",
        "*/*",
        "application/*",
        "json",
        "\"application/json\"",
        "application/xml",
        "application/octet-stream",
        "application/x-ndjson",
        "application/cloudevents-batch+json",
        "application/problem+json",
        "application/json, text/plain",
        "",
    ] {
        let head = format!("POST /events\ncontent-type: {wrong}");
        cases.push(Case::new(class, &head, good(), refused(&[415], "application/json")));
    }
    for wrong in
        ["text/plain", "application/cloudevents+json", "application/ndjson", "text/x-ndjson"]
    {
        let head = format!("POST /events/batch\ncontent-type: {wrong}");
        cases.push(Case::new(class, &head, good(), refused(&[415], "application/x-ndjson")));
    }
    for path in ["/events", "/events/batch"] {
        let head = format!("POST {path}\naccept: */*");
        cases.push(Case::new(class, &head, good(), refused(&[415], "missing")));
    }
    cases.push(Case::new(
        class,
        "POST /events\ncontent-type: application/json\u{e4}",
        good(),
        refused(&[415], ""),
    ));
    for fine in [
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=utf-8",
        " application/json ; x=\"y\" ",
    ] {
        let head = format!("POST /events\ncontent-type: {fine}");
        cases.push(Case::new(class, &head, good(), Expect::Stored(json!({}))));
    }
    for fine in ["application/x-ndjson", "application/jsonl", "Application/X-NDJSON; charset=utf-8"]
    {
        let head = format!("POST /events/batch\ncontent-type: {fine}");
        cases.push(Case::new(class, &head, good(), Expect::Stored(json!({}))));
    }
}

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut out = Vec::new();
    let mut read = |mut encoder: Box<dyn Read + '_>| encoder.read_to_end(&mut out).map(drop);
    match encoding {
        "gzip" => read(Box::new(flate2::read::GzEncoder::new(body, level))),
        "deflate" => read(Box::new(flate2::read::ZlibEncoder::new(body, level))),
        _ => zstd::encode_all(body, 3).map(|bytes| out = bytes),
    }
    .expect("in memory");
    out
}

fn encodings(cases: &mut Vec<Case>) {
    let class = "content encodings";
    let head = |encoding: &str| {
        format!("POST /events\ncontent-type: application/json\ncontent-encoding: {encoding}")
    };
    for unknown in
        ["br", "compress", "gzip, gzip", "identity, zstd", "gzip;q=1", "utf-8", "*", "lz4"]
    {
        cases.push(Case::new(
            class,
            &head(unknown),
            good(),
            refused(&[415], "gzip, zstd, deflate"),
        ));
    }
    for encoding in ["gzip", "deflate", "zstd"] {
        // The event IDs are fixed, because the compressed body cannot have placeholders.
        let whole = compressed(encoding, b"{\"event_type\":\"t\"}");
        let bad = |body: &[u8]| Case::new(class, &head(encoding), body, refused(&[400], ""));
        cases.push(bad(b""));
        cases.push(bad(good().as_bytes()));
        cases.push(bad(&whole[..whole.len() - 3]));
        cases.push(bad(&whole[..whole.len() / 2]));
        cases.push(bad(&whole[..3]));
        cases.push(bad(&[b"\0", &whole[..]].concat()));
        cases.push(bad(&compressed(encoding, &whole)));
        cases.push(bad(&compressed(encoding, b"")));
        cases.push(bad(&compressed(encoding, b"no json")));
        cases.push(bad(&compressed(encoding, b"\"\xff\"")));
        cases.push(Case::new(class, &head(encoding), &whole, refused(&[422], "session_id")));
        let bomb = compressed(encoding, &vec![b' '; 4 << 20]);
        cases.push(Case::new(class, &head(encoding), bomb, refused(&[413], "MAX_BODY_BYTES")));
        let wrong = compressed(if encoding == "zstd" { "gzip" } else { "zstd" }, good().as_bytes());
        cases.push(bad(&wrong));
    }
    for fine in ["identity", "IDENTITY", ""] {
        cases.push(Case::new(class, &head(fine), good(), Expect::Stored(json!({}))));
    }
}

fn parameters(cases: &mut Vec<Case>) {
    let class = "parameters";
    for wrong in [
        "",
        "Journal",
        "STORED",
        "both",
        "journal,stored",
        "1",
        "%6aournal",
        "journal%00",
        "stored+",
    ] {
        let head = format!("POST /events?ack={wrong}\ncontent-type: application/json");
        cases.push(Case::new(class, &head, good(), refused(&[400], "allowed: journal, stored")));
    }
    for fine in
        ["", "x=1", "ack=journal", "ack=stored", "&&&", "x=%zz", "ack=journal&ack=both", "ACK=both"]
    {
        let head = format!("POST /events?{fine}\ncontent-type: application/json");
        cases.push(Case::new(class, &head, good(), Expect::Stored(json!({}))));
    }
}

fn cloud_events(cases: &mut Vec<Case>) {
    let class = "CloudEvents";
    let head = "POST /events\ncontent-type: application/cloudevents+json";
    let event = |change: &str, to: &str| {
        format!(r#"{{"specversion":"1.0","id":"{ID}","type":"t","source":"/x","subject":"s"}}"#)
            .replace(change, to)
    };
    for (body, said) in [
        (event("\"1.0\"", "\"0.3\""), "specversion must be"),
        (event("\"1.0\"", "1.0"), "specversion must be"),
        (event("\"1.0\"", "null"), "specversion must be"),
        (event("\"specversion\":\"1.0\",", ""), "specversion must be"),
        (event("\"id\"", "\"no\""), "id is required"),
        (event(&format!("\"{ID}\""), "null"), "id is required"),
        (event(&format!("\"{ID}\""), "\"\""), "event_id must be"),
        (event(&format!("\"{ID}\""), "1"), "event_id must be"),
        (event("\"type\"", "\"no\""), "event_type is required"),
        (event("\"t\"", "[]"), "event_type must be"),
        (event("\"subject\"", "\"no\""), "session_id is required"),
        (event("\"s\"", "\"\""), "session_id must be"),
        (event("\"s\"", "\"s\",\"time\":\"late\""), "timestamp must be"),
        (event("\"s\"", "\"s\",\"sessionid\":1"), "session_id must be"),
    ] {
        cases.push(Case::new(class, head, body, Expect::Refused(&[422], said.to_owned())));
    }
    for (body, fields) in [
        (event("", ""), json!({ "session_id": "s", "event_type": "t" })),
        (event("\"s\"", "\"s\",\"data\":null"), json!({ "data": {} })),
        (
            event("\"s\"", "\"s\",\"data\":[1]"),
            json!({ "data": {}, "extra": { "specversion": "1.0", "source": "/x", "data": [1] } }),
        ),
        (event("\"s\"", "\"s\",\"data\":\"x\""), json!({ "data": {} })),
        (event("\"s\"", "\"s\",\"data_base64\":\"AA==\""), json!({ "data": {} })),
        (event("\"s\"", "\"s\",\"sessionid\":\"z\""), json!({ "session_id": "z" })),
        (event("\"s\"", "\"s\",\"sessionid\":null"), json!({ "session_id": "s" })),
    ] {
        cases.push(Case::new(class, head, body, Expect::Stored(fields)));
    }
    for body in ["", "null", "[]", "{"] {
        cases.push(Case::new(class, head, body, refused(&[400], "line 1")));
    }
    let batch = "POST /events/batch\ncontent-type: application/cloudevents-batch+json";
    cases.push(Case::new(class, batch, "[]", Expect::Nothing));
    cases.push(Case::new(
        class,
        batch,
        format!("[{{}},{},1]", event("", "")),
        Expect::Partly(vec![0, 2]),
    ));
    cases.push(Case::new(class, batch, event("", ""), refused(&[400], "array")));

    let binary = |more: &str| {
        format!(
            "POST /events\ncontent-type: application/json\nce-specversion: 1.0\nce-id: {ID}\nce-type: t\n\
             ce-source: /x\nce-subject: s{more}"
        )
    };
    let stored = |fields| Expect::Stored(fields);
    cases.push(Case::new(class, &binary(""), "", stored(json!({ "data": {} }))));
    cases.push(Case::new(class, &binary(""), "{\"a\":1}", stored(json!({ "data": { "a": 1 } }))));
    cases.push(Case::new(class, &binary("%C3%A4%"), "", stored(json!({ "session_id": "sä%" }))));
    cases.push(Case::new(class, &binary("%ff"), "", stored(json!({ "session_id": "s%ff" }))));
    cases.push(Case::new(class, &binary("\nce-data: x"), "{}", stored(json!({ "data": {} }))));
    cases.push(Case::new(
        class,
        &binary("\nce-time: soon"),
        "",
        refused(&[422], "timestamp must be"),
    ));
    cases.push(Case::new(class, &binary(""), "{", refused(&[400], "line 1")));
    cases.push(Case::new(class, &binary(""), b"\xff", refused(&[400], "UTF-8")));
    cases.push(Case::new(class, &binary(""), "{},\"event_id\":\"x\"", refused(&[400], "trailing")));
    cases.push(Case::new(
        class,
        &binary("").replace("1.0", "2.0"),
        "",
        refused(&[422], "specversion"),
    ));
}

fn routes(cases: &mut Vec<Case>) {
    let class = "routes and methods";
    for path in [
        "/event",
        "/events/",
        "//events",
        "/events/batch/",
        "/events/batch/1",
        "/EVENTS",
        "/events%2fbatch",
        "/./events",
        "/healthz",
    ] {
        let head = format!("POST {path}\ncontent-type: application/json");
        cases.push(Case::new(class, &head, good(), refused(&[404, 405], "")));
    }
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "post"] {
        for path in ["/events", "/events/batch"] {
            let head = format!("{method} {path}\ncontent-type: application/json");
            cases.push(Case::new(class, &head, good(), refused(&[405], "'allow'")));
        }
        cases.push(Case::new(class, &format!("{method} /health"), "", refused(&[405], "'allow'")));
    }
}

fn http(cases: &mut Vec<Case>) {
    let class = "HTTP itself";
    let head = "host: x\r\ncontent-type: application/json\r\n";
    for raw in [
        "GARBAGE\r\n\r\nHTTP/".to_owned(),
        "POST /events HTTP/9.9\r\n\r\n".to_owned(),
        "POST /events HTTP/1.1 extra\r\n\r\n".to_owned(),
        "POST  /events HTTP/1.1\r\n\r\n".to_owned(),
        "POST /ev\0ents HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("POST /events HTTP/1.1\r\n{head}no colon\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}: empty\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}na me: x\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}x: a\0b\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}content-length: -1\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}content-length: many\r\n\r\n"),
        format!(
            "POST /events HTTP/1.1\r\n{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"
        ),
        format!("POST /events HTTP/1.1\r\n{head}content-length: 99999999999999999999\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n5\r\n{{}}\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}transfer-encoding: gzip\r\n\r\n"),
        format!("POST /events HTTP/1.1\r\n{head}content-length: 500\r\n\r\n{}", good()),
        format!("POST /{} HTTP/1.1\r\n{head}\r\n", "x".repeat(100_000)),
        format!("POST /events HTTP/1.1\r\n{head}{}\r\n", "x-h: y\r\n".repeat(500)),
        format!("POST /events HTTP/1.1\r\n{head}x: {}\r\n\r\n", "y".repeat(1_000_000)),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1} a TLS hello, HTTP/".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(),
    ] {
        cases.push(Case::new(class, &raw, "", Expect::Closed));
    }
    let length = BODY_BYTES_MAX + 1;
    let announced = format!(
        "POST /events HTTP/1.1\r\n{head}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    cases.push(Case::new(class, &announced, "", refused(&[413], "MAX_BODY_BYTES")));
}

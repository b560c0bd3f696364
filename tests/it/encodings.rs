//! Compressed request bodies.

use std::io::{Read, Write};

use flate2::Compression;
use serde_json::Value;

use crate::harness::client::JSON;
use crate::harness::{Workspace, assert_exactly, event};

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    let mut out = Vec::new();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
            encoder.write_all(body).expect("in memory");
        }
        "zlib" => {
            let mut encoder = flate2::read::ZlibEncoder::new(body, level);
            encoder.read_to_end(&mut out).expect("in memory");
        }
        "raw deflate" => {
            let mut encoder = flate2::read::DeflateEncoder::new(body, level);
            encoder.read_to_end(&mut out).expect("in memory");
        }
        _ => out = zstd::encode_all(body, 3).expect("in memory"),
    }
    out
}

/// The compression of the body, and the value of the header.
const ENCODINGS: [(&str, &str); 5] = [
    ("gzip", "gzip"),
    ("gzip", "X-GZIP"),
    ("zstd", "zstd"),
    ("zlib", "deflate"),
    ("raw deflate", "deflate"),
];

#[test]
fn every_encoding_is_accepted_on_both_endpoints() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut expected = Vec::new();
    for (number, (encoding, header)) in ENCODINGS.iter().enumerate() {
        let headers = [("content-encoding", *header)];
        let ids = [format!("{number}-a"), format!("{number}-b"), format!("{number}-c")];
        let body = compressed(encoding, event(&ids[0]).to_string().as_bytes());
        server.client.post("/events", JSON, &headers, body).expect(202);
        let batch = Value::from(vec![event(&ids[1]), event(&ids[2])]).to_string();
        let body = compressed(encoding, batch.as_bytes());
        server.client.post("/events/batch", JSON, &headers, body).expect(202);
        expected.extend(ids);
    }
    assert_exactly(&workspace.events(), expected);
}

#[test]
fn multi_member_gzip_is_one_body() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let body = event("1").to_string();
    let (first, second) = body.as_bytes().split_at(20);
    let members = [compressed("gzip", first), compressed("gzip", second)].concat();
    server.client.post("/events", JSON, &[("content-encoding", "gzip")], members).expect(202);
    assert_exactly(&workspace.events(), ["1"]);
}

#[test]
fn corrupt_bodies_are_rejected_and_not_stored() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    for (encoding, header) in ENCODINGS {
        let headers = [("content-encoding", header)];
        let whole = compressed(encoding, event("1").to_string().as_bytes());
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0xff;
        let cut = whole[..whole.len() - 6].to_vec();
        let plain = event("1").to_string().into_bytes();
        for (how, body) in [("cut", cut), ("not compressed", plain), ("empty", Vec::new())] {
            let response = server.client.post("/events", JSON, &headers, body);
            assert_eq!(response.status, 400, "{encoding} {how}: {response:?}");
            assert_eq!(response.header("content-type"), "application/problem+json");
        }
        if encoding != "raw deflate" && encoding != "zstd" {
            let response = server.client.post("/events", JSON, &headers, flipped);
            assert_eq!(response.status, 400, "{encoding} flipped: {response:?}");
        }
    }
    assert_exactly(&workspace.events(), [""; 0]);
    server.client.event(&event("1")).expect(202);
}

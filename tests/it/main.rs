//! Integration tests of the event store at its interfaces: HTTP, files, SQL and the process.
//!
//! All tests are one binary: one module per subject. `harness` starts servers and databases.

mod harness;

/// Generates a test for each storage from functions that take a [`harness::Storage`].
macro_rules! both {
    ($($test:ident),+ $(,)?) => {
        mod jsonl {
            $(#[test] fn $test() { super::$test($crate::harness::Storage::Jsonl); })+
        }
        mod postgres {
            $(#[test] fn $test() { super::$test($crate::harness::Storage::Postgres); })+
        }
    };
}

// Ingest: accepted formats, senders and responses.
mod cloudevents;
mod encodings;
mod hooks;
mod ids;
mod ingest;
mod otlp;
mod timestamps;
mod usage;

// Rejected input: bad requests, invalid events, random input.
mod bad_input;
mod corpus;
mod decode_properties;
mod errors;
mod fuzz;
mod invalid_events;

// Protection: access, transport security, limits, secrets.
mod access;
mod file_modes;
mod https;
mod limits;
mod linear;
mod middleware;
mod rates;
mod redaction;

// Durability: crashes, full disks, duplicates, injected faults.
mod crashes;
mod duplicates;
mod faults;
mod full_disk;
mod journals;
mod jsonl_file;
mod locks;
mod retention;
mod rolling_restarts;
mod saved_keys;
mod shutdown;

// PostgreSQL: delivery, outages, partitions, TLS.
mod database_away;
mod database_tls;
mod operators;
mod partitions;
mod poolers;
mod postgres_rows;

// Reading: queries, streams, exports and the index behind them.
mod export;
mod index;
mod openapi;
mod reading;
mod recorded;
mod sequences;
mod sessions;
mod sharing;
mod streaming;

// Commands and configuration.
mod commands;
mod configuration;
mod deployment;
mod emit;
mod health_and_metrics;
mod import;
mod install;
mod people;
mod prometheus;
mod proxies;
mod systemd;
mod terminal;

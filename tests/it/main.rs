//! The promises of the event store, tested at its edges: HTTP, files, SQL and the process.

mod harness;

/// Makes a test for each storage of functions that take one.
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

mod access;
mod bad_input;
mod cloudevents;
mod configuration;
mod crashes;
mod database_away;
mod database_tls;
mod decode_properties;
mod duplicates;
mod emit;
mod encodings;
mod errors;
mod export;
mod faults;
mod full_disk;
mod fuzz;
mod guard;
mod health_and_metrics;
mod hooks;
mod https;
mod ids;
mod import;
mod index;
mod ingest;
mod install;
mod invalid_events;
mod journals;
mod jsonl_file;
mod limits;
mod locks;
mod openapi;
mod operators;
mod otlp;
mod partitions;
mod people;
mod postgres_rows;
mod rates;
mod reading;
mod redaction;
mod retention;
mod saved_keys;
mod sessions;
mod shutdown;
mod streaming;
mod terminal;
mod timestamps;

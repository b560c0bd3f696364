//! Baselines: the best this machine can do. Each runs in its own process, which is this program with
//! a hidden argument.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentic_hooks_backend::decode::{self, Context, Format};
use agentic_hooks_backend::event::Timestamp;
use agentic_hooks_backend::http::{ConnectionLimits, Drain, Server};
use agentic_hooks_backend::journal::Framing;
use agentic_hooks_backend::metrics::Metrics;
use anyhow::{Context as _, ensure};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;

/// A response of the same length as the server's.
fn accepted() -> Response {
    const BODY: &str = r#"{"accepted":1,"message":"Events accepted"}"#;
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], BODY).into_response()
}

/// Decodes the body with the server's decoder and discards the batch.
fn parsed(format: Format, body: &Bytes) -> Response {
    let context = Context {
        received_at: Timestamp::now(),
        framing: Framing::Plain,
        batch_events_max: 10_000,
        depth_max: 120,
        key_name: None,
        redactor: None,
    };
    match decode::decode(format, body, &context) {
        Ok(decoded) if decoded.rejected.is_empty() => accepted(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Runs an HTTP baseline with the HTTP stack and accept loop of the server: `http` only reads the
/// body, `parse` also decodes it.
pub(crate) fn http(name: &str) -> anyhow::Result<()> {
    let router = if name == "parse" {
        Router::new()
            .route("/events", post(|body: Bytes| async move { parsed(Format::Object, &body) }))
            .route("/events/batch", post(|body: Bytes| async move { parsed(Format::Array, &body) }))
    } else {
        Router::new()
            .route("/events", post(|_: Bytes| async { accepted() }))
            .route("/events/batch", post(|_: Bytes| async { accepted() }))
    };
    let router = router.route("/health/ready", get(|| async {})).layer(DefaultBodyLimit::disable());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        eprintln!("listening on http://{}", listener.local_addr()?);
        let metrics = Arc::new(Metrics::new("none")?);
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            () = Server::new(listener, None, limits(), Drain::default(), metrics).run(router) => {}
            _ = terminated.recv() => {}
        }
        anyhow::Ok(())
    })
}

/// The defaults of the server.
fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections_max: 10_000,
        header_bytes_max: 16 << 10,
        headers_max: 64,
        header_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_mins(10),
    }
}

/// Appends groups of `group_bytes` with an fsync after each; prints the bytes per second.
pub(crate) fn disk(dir: &Path, group_bytes: usize, duration: Duration) -> anyhow::Result<()> {
    let path = dir.join("baseline");
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    let group = vec![b'x'; group_bytes];
    let begun = Instant::now();
    let mut groups = 0;
    while begun.elapsed() < duration {
        file.write_all(&group)?;
        file.sync_data()?;
        groups += 1;
    }
    println!("{}", (groups * group_bytes) as f64 / begun.elapsed().as_secs_f64());
    std::fs::remove_file(path)?;
    Ok(())
}

/// Runs a baseline that measures itself, and returns the result.
pub(crate) fn measured(arguments: &[String]) -> anyhow::Result<f64> {
    let output =
        Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{arguments:?} failed");
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("{arguments:?}: {text:?}"))
}

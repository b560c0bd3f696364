//! Queries against a long history, in both storages.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Bench;
use crate::client::{get, post, read_header};
use crate::history::{self, Moment};
use crate::process::{Process, Storage};
use crate::table::{Row, Samples, Target};

/// Each query runs this number of times with different parameters, or until the time limit.
const RUNS: usize = 200;
const RUNS_COLD: usize = 20;
const RUN_TIME_MAX: Duration = Duration::from_secs(10);

/// Rate and number of events for the stream latency.
const STREAMED_PER_SECOND: u32 = 1000;
const STREAMED: u32 = 5000;
const STREAMED_ROUNDS: usize = 3;

type Query = fn(Moment) -> Option<String>;

/// Name, target of p99 in milliseconds, and path of each query.
const QUERIES: [(&str, f64, Query); 14] = [
    ("the 500 events of a session", 10.0, |moment| {
        Some(format!("/events?limit=1000&session_id={}", moment.session_id()))
    }),
    ("newest 100 of a session", 10.0, |moment| {
        Some(format!("/events?limit=100&session_id={}", moment.session_id()))
    }),
    ("session by id", 100.0, |moment| Some(format!("/sessions/{}", moment.session_id()))),
    ("newest 100", 20.0, |_| Some("/events?limit=100".to_owned())),
    ("newest 100 by event_type", 20.0, |moment| {
        Some(format!("/events?limit=100&event_type={}", moment.event_type()))
    }),
    ("newest 100 by tool_name", 20.0, |moment| {
        Some(format!("/events?limit=100&tool_name={}", moment.tool_name()?))
    }),
    ("newest 100 by workflow_id", 20.0, |moment| {
        Some(format!("/events?limit=100&workflow_id={}", moment.workflow_id()?))
    }),
    ("newest 100 by agent", 20.0, |moment| {
        Some(format!("/events?limit=100&agent={}", moment.agent()))
    }),
    ("newest 100 by phase_id", 20.0, |moment| {
        Some(format!("/events?limit=100&phase_id={}", moment.phase_id()?))
    }),
    ("newest 100 by milestone_id", 20.0, |moment| {
        Some(format!("/events?limit=100&milestone_id={}", moment.milestone_id()?))
    }),
    ("by tool_use_id", 20.0, |moment| {
        Some(format!("/events?limit=100&tool_use_id={}", moment.tool_use_id()?))
    }),
    ("by event_id", 20.0, |moment| {
        Some(format!("/events?limit=100&event_id={}", moment.event_id()))
    }),
    ("100 sessions of the last day", 100.0, |_| Some("/sessions?limit=100&since=24h".to_owned())),
    ("stats of the last hour", 200.0, |_| Some("/stats?since=1h".to_owned())),
];

/// Measures both storages with the same history.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let events = bench.events();
    let dir = bench.fresh("reading")?;
    let sample = history::write(&dir.0.join("events.jsonl"), events)?;
    let millions = format!("{:.1} million events", events as f64 / 1e6);

    let mut rows = build_index(&dir.0, events)?;
    let server = Process::server(&dir.0, &Storage::Jsonl)?;
    rows.extend(queries(&format!("JSON Lines, {millions}"), &server, &sample)?);
    rows.push(export(&format!("JSON Lines, {millions}"), &server)?);
    rows.push(streamed("JSON Lines", &server)?);
    drop(server);

    let url = bench.cluster()?.database(bench.dir(), "reading")?;
    let journal = bench.fresh("journal")?;
    let server = Process::server(&journal.0, &Storage::Postgres(url))?;
    let begun = Instant::now();
    import(&dir.0.join("events.jsonl"), &server)?;
    let stored = |server: &Process| server.metric("hooks_events_stored_total");
    while stored(&server)? < events as f64 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    rows.push(Row {
        what: format!("PostgreSQL, {millions}, by import"),
        target: Target::None,
        value: Samples(vec![rate / 1e3]),
        unit: "k events/s",
        details: "to the last commit".to_owned(),
    });
    // Autovacuum would do this later.
    let mut client = bench.cluster()?.client("reading")?;
    client.batch_execute("VACUUM (ANALYZE) hook_events")?;
    client.batch_execute("CHECKPOINT")?;
    rows.extend(queries(&format!("PostgreSQL, {millions}"), &server, &sample)?);
    rows.push(export(&format!("PostgreSQL, {millions}"), &server)?);
    rows.push(streamed("PostgreSQL", &server)?);
    Ok(rows)
}

/// Throughput of building the index, and ingest latency meanwhile.
fn build_index(dir: &Path, events: usize) -> anyhow::Result<Vec<Row>> {
    let server = Process::server(dir, &Storage::Jsonl)?;
    let begun = Instant::now();
    let mut latencies = Samples::default();
    while !get(server.address, "/health", "")?.contains("\"ready\":true") {
        ensure!(begun.elapsed() < Duration::from_mins(30), "the index is not built");
        let sent = Instant::now();
        post(&mut connect(server.address)?, "/events", &event("building", latencies.0.len()))?;
        latencies.push(sent.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(20));
    }
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    let build = Row {
        what: "JSON Lines, full index build".to_owned(),
        target: Target::AtLeast(200.0),
        value: Samples(vec![rate / 1e3]),
        unit: "k lines/s",
        details: format!("{events} lines, {:.1} s", begun.elapsed().as_secs_f64()),
    };
    let latency = Row {
        what: "JSON Lines, ingest latency during the index build, p99".to_owned(),
        target: Target::None,
        value: Samples(vec![latencies.quantile(0.99)]),
        unit: "ms",
        details: format!("p50 {:.2} ms, of {}", latencies.median(), latencies.0.len()),
    };
    Ok(vec![build, latency])
}

fn import(file: &Path, server: &Process) -> anyhow::Result<()> {
    let imported = Command::new(env!("CARGO_BIN_EXE_hooks-backend"))
        .args(["import", "--url", &format!("http://{}", server.address)])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(imported.success(), "the import failed");
    Ok(())
}

fn queries(storage: &str, server: &Process, sample: &[Moment]) -> anyhow::Result<Vec<Row>> {
    let read_header = read_header(server.address)?;
    let run = |path: &str| -> anyhow::Result<f64> {
        let begun = Instant::now();
        let Ok(body) = get(server.address, path, &read_header) else {
            // The query exceeded its timeout.
            return Ok(f64::INFINITY);
        };
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(body.len() > 100, "{path} found nothing: {body}");
        Ok(milliseconds)
    };
    let mut rows = Vec::new();
    for (what, most, path) in QUERIES {
        let mut paths: Vec<String> = sample.iter().filter_map(|moment| path(*moment)).collect();
        // Shuffled, to cover the whole history.
        paths.sort_by_key(|path| xxhash_rust::xxh3::xxh3_64(path.as_bytes()));
        let paths = || paths.iter().cycle();
        let mut cold = Samples::default();
        let begun = Instant::now();
        for path in paths().take(RUNS_COLD).take_while(|_| begun.elapsed() < RUN_TIME_MAX) {
            if drop_caches() {
                cold.push(run(path)?);
            }
        }
        let (mut first, mut warm, begun) = (Samples::default(), Samples::default(), Instant::now());
        for path in
            paths().skip(RUNS_COLD).take(RUNS).take_while(|_| begun.elapsed() < RUN_TIME_MAX)
        {
            first.push(run(path)?);
        }
        for path in paths().skip(RUNS_COLD).take(first.0.len()) {
            warm.push(run(path)?);
        }
        rows.push(Row {
            what: format!("{storage}: {what}, p99"),
            target: Target::AtMost(most),
            value: Samples(vec![warm.quantile(0.99)]),
            unit: "ms",
            details: format!(
                "p50 {:.1} ms; first run p50 {:.1}, p99 {:.1} ms; with the page cache dropped \
                 p50 {:.1}, p99 {:.1} ms",
                warm.median(),
                first.median(),
                first.quantile(0.99),
                cold.median(),
                cold.quantile(0.99)
            ),
        });
    }
    Ok(rows)
}

/// Drops the page cache; false without permission.
fn drop_caches() -> bool {
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Exports three days, a tenth of all events.
fn export(storage: &str, server: &Process) -> anyhow::Result<Row> {
    let read_header = read_header(server.address)?;
    let mut stream = connect(server.address)?;
    let path = "/events/export?format=ndjson&since=72h";
    let head = "HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n";
    write!(stream, "GET {path} {head}{read_header}\r\n")?;
    let (mut buffer, mut lines, begun) = (vec![0; 1 << 16], 0, Instant::now());
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            break;
        }
        lines += memchr::memmem::find_iter(&buffer[..bytes], b"}\n").count();
    }
    let rate = lines as f64 / begun.elapsed().as_secs_f64();
    Ok(Row {
        what: format!("{storage}: export as NDJSON"),
        target: Target::AtLeast(100.0),
        value: Samples(vec![rate / 1e3]),
        unit: "k events/s",
        details: format!("{lines} events"),
    })
}

/// Delay from the response to the sender until the event arrives on the stream.
fn streamed(storage: &str, server: &Process) -> anyhow::Result<Row> {
    let (mut p50, mut p99) = (Samples::default(), Samples::default());
    for round in 0..STREAMED_ROUNDS {
        // A new session id, because both storages have the same history.
        let delays = delays(server, &format!("streamed-{}-{round}", server.pid()))?;
        p50.push(delays.median());
        p99.push(delays.quantile(0.99));
    }
    Ok(Row {
        what: format!(
            "{storage}: delay from response to stream at {STREAMED_PER_SECOND} events/s, p99"
        ),
        target: Target::AtMost(50.0),
        value: p99,
        unit: "ms",
        details: format!("p50 {} ms, {STREAMED} events", p50.show(|value| format!("{value:.1}"))),
    })
}

/// Sends events and returns the delay of each in milliseconds.
fn delays(server: &Process, session: &str) -> anyhow::Result<Samples> {
    let mut stream = connect(server.address)?;
    let path = format!("/events/stream?session_id={session}");
    let read_header = read_header(server.address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{read_header}\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    lines
        .find(|line| line.as_ref().is_ok_and(|line| line == "event: begin"))
        .context("begin")??;
    let follower = std::thread::spawn(move || {
        let mut arrived = Vec::new();
        for line in
            lines.map_while(Result::ok).filter(|line| line.starts_with("data: {\"event_id\""))
        {
            let number = line.split('"').nth(3).and_then(|id| id.parse::<usize>().ok());
            arrived.push((number, Instant::now()));
            if arrived.len() == STREAMED as usize {
                break;
            }
        }
        arrived
    });
    let (mut sender, mut responded) = (connect(server.address)?, Vec::new());
    let begun = Instant::now();
    for number in 0..STREAMED {
        let due = begun + Duration::from_secs(1) * number / STREAMED_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        post(&mut sender, "/events", &event(session, number as usize))?;
        responded.push(Instant::now());
    }
    let arrived =
        follower.join().map_err(|_| anyhow::anyhow!("the reader of the stream panicked"))?;
    ensure!(arrived.len() == responded.len(), "the stream ended early");
    let mut delays = Samples::default();
    for (number, at) in arrived {
        let responded = responded[number.context("an event of another session")?];
        delays.push(at.saturating_duration_since(responded).as_secs_f64() * 1e3);
    }
    Ok(delays)
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn event(session: &str, number: usize) -> String {
    format!(r#"{{"event_type":"sent","session_id":"{session}","event_id":"{number}","data":{{}}}}"#)
}

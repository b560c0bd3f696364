//! Measures the server's memory under abuse: slow connections, many large bodies at the same time,
//! decompression bombs, an unreachable database, exports. docs/limits.md has the figures.
//!
//! ```sh
//! cargo bench --bench limits              # everything: a few minutes, 3 GB of disk
//! cargo bench --bench limits -- bombs     # only cases with this in their name
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use flate2::Compression;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const CONNECTIONS: usize = 10_000;
const LARGE_BODIES: usize = 1_000;
const LARGE_BYTES: usize = 16 << 20;
const BOMBS: usize = 100;
const BOMB_BYTES: usize = 1 << 30;
const JOURNAL_MAX_BYTES: &str = "1GiB";
const STORED_EVENTS: usize = 32_000;

/// Number of responses of each kind.
type Responses = BTreeMap<String, usize>;

type Abuse = fn(&Server) -> anyhow::Result<Responses>;

fn main() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let only: Vec<String> =
        std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let all: [(&str, Abuse); 15] = [
        ("nothing", |_| Ok(Responses::new())),
        ("10,000 slow headers of 200 bytes", |server| slow(server, &head(200))),
        ("10,000 slow headers of 15 KiB", |server| slow(server, &head(15 << 10))),
        ("10,000 slow bodies of 16 MiB, 1 KiB sent", |server| slow(server, &partial_body())),
        ("1,000 bodies of 16 MiB at the same time", large_bodies),
        ("300 decompression bombs of 1 GiB at the same time, 100 of each encoding", bombs),
        (
            "PostgreSQL unreachable, full load until JOURNAL_MAX_BYTES=1GiB and 10 s longer",
            unreachable,
        ),
        ("1,000 exports (jsonl), NDJSON", |server| exports(server, 1000, "ndjson", "identity")),
        ("1,000 exports (jsonl), NDJSON, gzip", |server| exports(server, 1000, "ndjson", "gzip")),
        ("1,000 exports (jsonl), NDJSON, zstd", |server| exports(server, 1000, "ndjson", "zstd")),
        ("1,000 exports (jsonl), CSV", |server| exports(server, 1000, "csv", "identity")),
        ("1,000 exports (jsonl), CSV, gzip", |server| exports(server, 1000, "csv", "gzip")),
        ("1,000 exports (jsonl), CSV, zstd", |server| exports(server, 1000, "csv", "zstd")),
        ("1,000 exports (jsonl), Parquet", |server| exports(server, 1000, "parquet", "identity")),
        ("9,000 exports (jsonl), NDJSON, zstd", |server| exports(server, 9000, "ndjson", "zstd")),
    ];
    println!("| abuse | responses | valid event afterwards | peak memory | memory afterwards |");
    println!("|---|---|---|---|---|");
    for (name, abuse) in all {
        if !only.is_empty() && !only.iter().any(|only| name.contains(only.as_str())) {
            continue;
        }
        let mut server = Server::start(name.contains("slow"), name.contains("jsonl"))?;
        let responses = abuse(&server)?;
        let peak_mib = server.memory_mib("VmHWM")?;
        let good = server.send(&event("good", 0))?;
        // Connections that were closed are noticed meanwhile.
        std::thread::sleep(Duration::from_secs(2));
        let left_mib = server.memory_mib("VmRSS")?;
        server.stop()?;
        let responses: Vec<_> = responses.iter().map(|(kind, n)| format!("{n} x {kind}")).collect();
        println!(
            "| {name} | {} | {good} | {peak_mib:.0} MiB | {left_mib:.0} MiB |",
            responses.join(", ")
        );
    }
    Ok(())
}

/// The program in a scratch directory, with default settings except those named in the table.
struct Server {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Server {
    /// Starts the server. `patient`: timeouts of an hour, so that slow clients are not disconnected.
    /// `jsonl`: JSON Lines storage instead of an unreachable PostgreSQL.
    fn start(patient: bool, jsonl: bool) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("hooks-limits-{}", std::process::id()));
        // Left over from the previous case.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_hooks-backend"))
            .env_clear()
            .current_dir(&dir)
            .env("PORT", "0")
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:9/away")
            .env("JOURNAL_MAX_BYTES", JOURNAL_MAX_BYTES)
            // More than the clients use, so that health checks get through.
            .env("MAX_CONNECTIONS", "11000")
            .env("HEADER_TIMEOUT", if patient { "1h" } else { "30s" })
            .env("BODY_TIMEOUT", if patient { "1h" } else { "30s" })
            .env("SHUTDOWN_DELAY", "0s")
            .env("SHUTDOWN_TIMEOUT", "0s")
            .env("STORAGE_TYPE", if jsonl { "jsonl" } else { "postgres" })
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().context("stderr")?;
        let (sender, receiver) = mpsc::sync_channel(1);
        // Drains the log, so that the pipe never fills.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on http://") {
                    let address = rest.split(',').next().unwrap_or_default();
                    let _ = sender.try_send(address.parse::<SocketAddr>());
                }
            }
        });
        let address = receiver
            .recv_timeout(Duration::from_mins(1))
            .context("the server does not listen")??;
        Ok(Self { child, address, dir })
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_mins(2)))?;
        Ok(stream)
    }

    /// Sends a request; returns the status, or the reason why there is none.
    fn send(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = self.connect()?;
        if let Err(error) = stream.write_all(request) {
            return Ok(format!("disconnected while sending ({})", error.kind()));
        }
        Ok(status(&mut stream))
    }

    /// The header that permits reading in jsonl storage.
    fn read_token(&self) -> std::io::Result<String> {
        let file = self.dir.join(".agentic/analytics/events.jsonl.token");
        Ok(std::fs::read_to_string(file)?.trim_end().to_owned())
    }

    /// Returns the whole response.
    fn get(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let (mut stream, token) = (self.connect()?, self.read_token()?);
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n{token}\r\n\r\n")?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        Ok(response)
    }

    /// A figure of `/proc/PID/status`: `VmHWM` is the peak of resident memory, `VmRSS` its size now.
    fn memory_mib(&self, name: &'static str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(name)).context(name)?;
        let kib: f64 = line.split_whitespace().nth(1).context(name)?.parse()?;
        Ok(kib / 1024.0)
    }

    fn open_files(&self) -> std::io::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server exited with {status}");
        std::fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an error; otherwise the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn status(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => "closed".to_owned(),
        Ok(_) => line.split(' ').nth(1).unwrap_or("?").to_owned(),
        Err(error) => format!("no response ({})", error.kind()),
    }
}

fn request(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn one(id: &str, text: &str) -> String {
    format!(
        r#"{{"event_type":"measured","session_id":"s","event_id":"{id}","data":{{"text":"{text}"}}}}"#
    )
}

fn event(id: &str, text_bytes: usize) -> Vec<u8> {
    request("/events", "", one(id, &"x".repeat(text_bytes)).as_bytes())
}

/// The start of a request, cut off in its headers.
fn head(bytes: usize) -> Vec<u8> {
    let mut head = b"POST /events HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec();
    head.resize(bytes, b'x');
    head
}

/// A request with the first KiB of its body.
fn partial_body() -> Vec<u8> {
    let mut begun = event("slow", LARGE_BYTES - 200);
    begun.truncate(1 << 10);
    begun
}

/// Sends the start of a request on every connection, and waits until the server has read it.
fn slow(server: &Server, partial_request: &[u8]) -> anyhow::Result<Responses> {
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = server.connect()?;
        stream.write_all(partial_request)?;
        open.push(stream);
    }
    let begun = Instant::now();
    while server.open_files()? < CONNECTIONS {
        ensure!(begun.elapsed() < Duration::from_mins(1), "not all connections were accepted");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(2));
    let meanwhile = server.send(&event("meanwhile", 0))?;
    Ok(Responses::from([(format!("{meanwhile} to a valid event meanwhile"), 1)]))
}

/// Sends all requests at the same time, each from its own thread.
fn in_parallel(
    server: &Server,
    requests: impl Iterator<Item = (&'static str, Arc<Vec<u8>>)>,
) -> anyhow::Result<Responses> {
    let mut responses = Responses::new();
    std::thread::scope(|scope| {
        let senders: Vec<_> = requests
            .map(|(name, request)| {
                std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, move || {
                    Ok::<_, std::io::Error>(format!("{}{name}", server.send(&request)?))
                })
            })
            .collect();
        for sender in senders {
            let response = sender?.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
            *responses.entry(response).or_default() += 1;
        }
        Ok(responses)
    })
}

fn large_bodies(server: &Server) -> anyhow::Result<Responses> {
    let large = Arc::new(event("large", LARGE_BYTES - 200));
    in_parallel(server, (0..LARGE_BODIES).map(|_| ("", large.clone())))
}

fn bombs(server: &Server) -> anyhow::Result<Responses> {
    let spaces = || std::io::repeat(b' ').take(BOMB_BYTES as u64);
    let encode = |name: &'static str, encoding: &str, body: std::io::Result<Vec<u8>>| {
        let headers = format!("content-encoding: {encoding}\r\n");
        body.map(|body| (name, Arc::new(request("/events", &headers, &body))))
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut spaces(), &mut gzip)?;
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut spaces(), &mut deflate)?;
    let bombs = [
        encode(" (gzip)", "gzip", gzip.finish())?,
        encode(" (deflate)", "deflate", deflate.finish())?,
        encode(" (zstd)", "zstd", zstd::encode_all(spaces(), 3))?,
    ];
    in_parallel(server, bombs.iter().flat_map(|bomb| std::iter::repeat_n(bomb.clone(), BOMBS)))
}

/// Sends batches on 50 connections until the journal is full and ten seconds longer.
fn unreachable(server: &Server) -> anyhow::Result<Responses> {
    let text = "x".repeat(200);
    let batch = |sender: usize, number: usize| {
        let events: Vec<_> =
            (0..500).map(|event| one(&format!("{sender}-{number}-{event}"), &text)).collect();
        request("/events/batch", "", format!("[{}]", events.join(",")).as_bytes())
    };
    let mut responses = Responses::new();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|sender| {
                scope.spawn(move || {
                    let mut responses = Responses::new();
                    let mut full = None;
                    for number in 0.. {
                        let response = server.send(&batch(sender, number))?;
                        if response == "503" {
                            full.get_or_insert_with(Instant::now);
                        }
                        *responses.entry(response).or_default() += 1;
                        if full.is_some_and(|at: Instant| at.elapsed() > Duration::from_secs(10)) {
                            break;
                        }
                    }
                    Ok::<_, std::io::Error>(responses)
                })
            })
            .collect();
        for sender in senders {
            for (kind, n) in sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?? {
                *responses.entry(kind).or_default() += n;
            }
        }
        anyhow::Ok(())
    })?;
    let bytes = size(&server.dir)? >> 20;
    responses.insert(format!("journal of {bytes} MiB"), 1);
    Ok(responses)
}

/// Stores events of 1 KiB that do not compress well, and waits until they can be read.
fn store(server: &Server) -> anyhow::Result<()> {
    for batch in 0..STORED_EVENTS / 1000 {
        let event = |number: usize| {
            let word =
                |at: u64| format!("{:016x}", xxh3_64_with_seed(&at.to_le_bytes(), number as u64));
            one(&number.to_string(), &(0..64).map(word).collect::<String>())
        };
        let events: Vec<_> = (batch * 1000..(batch + 1) * 1000).map(event).collect();
        let batch = request("/events/batch", "", format!("[{}]", events.join(",")).as_bytes());
        ensure!(server.send(&batch)? == "202", "a batch was not accepted");
    }
    while !String::from_utf8_lossy(&server.get("/health")?).contains("\"lag_bytes\":0") {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Begins this number of exports, reads the heads of all responses, and then their bodies.
fn exports(
    server: &Server,
    count: usize,
    format: &str,
    encoding: &str,
) -> anyhow::Result<Responses> {
    store(server)?;
    let token = server.read_token()?;
    let mut responses = Responses::new();
    let mut begun = Vec::new();
    for _ in 0..count {
        let mut stream = server.connect()?;
        write!(
            stream,
            "GET /events/export?format={format} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             accept-encoding: {encoding}\r\n{token}\r\n\r\n"
        )?;
        begun.push(stream);
    }
    let mut accepted = Vec::new();
    for mut stream in begun {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"HTTP/1.1 200 ") {
            accepted.push(stream);
        } else {
            let status = String::from_utf8_lossy(&head[9..12]).into_owned();
            *responses.entry(status).or_default() += 1;
        }
    }
    // The server has made what it can without the clients.
    std::thread::sleep(Duration::from_secs(2));
    std::thread::scope(|scope| {
        let read = |mut stream: TcpStream| {
            let mut body = Vec::new();
            stream.read_to_end(&mut body)?;
            // The last chunk shows that the body is whole.
            Ok::<_, std::io::Error>(body.ends_with(b"\r\n0\r\n\r\n"))
        };
        let readers: Vec<_> =
            accepted.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
        for reader in readers {
            let is_whole = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            let kind = if is_whole { "200, whole" } else { "200, cut" };
            *responses.entry(kind.to_owned()).or_default() += 1;
        }
        anyhow::Ok(())
    })?;
    Ok(responses)
}

fn size(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        bytes += if metadata.is_dir() { size(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}

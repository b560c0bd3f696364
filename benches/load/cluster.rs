//! A PostgreSQL cluster for the benchmark, with the defaults of `initdb` and fsync on.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use postgres::{Client, NoTls};
use rustix::process::Signal;

use crate::client::post;
use crate::process::{Process, Scratch, Storage, stop};

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    postmaster: Child,
    port: u16,
    _dir: Scratch,
}

impl Cluster {
    /// Creates a cluster in the directory and starts it.
    pub(crate) fn start(parent: &Path) -> anyhow::Result<Self> {
        let dir = Scratch::new(parent, "postgres")?;
        let bin = programs().context("PostgreSQL is not installed")?;
        let user = unprivileged()?;
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&dir.0, Some(uid), Some(gid))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(&dir.0).stdin(Stdio::null()).stdout(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = dir.0.join("data");
        let made = command("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "-D"])
            .arg(&data)
            .status()?;
        ensure!(made.success(), "initdb failed");
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = std::fs::File::create(dir.0.join("log"))?;
        let postmaster = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k", "", "-c", "listen_addresses=127.0.0.1"])
            .stderr(log)
            .spawn()?;
        let cluster = Self { postmaster, port, _dir: dir };
        let begun = Instant::now();
        while cluster.client("postgres").is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(cluster)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.postmaster.id()
    }

    pub(crate) fn client(&self, database: &str) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url(database), NoTls)?)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database with the server's tables and a partition for today; returns the URL.
    pub(crate) fn database(&self, scratch: &Path, name: &str) -> anyhow::Result<String> {
        let mut admin = self.client("postgres")?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        admin.batch_execute(&format!("CREATE DATABASE {name}"))?;
        let url = self.url(name);
        let dir = Scratch::new(scratch, "schema")?;
        let server = Process::server(&dir.0, &Storage::Postgres(url.clone()))?;
        let mut stream = TcpStream::connect(server.address)?;
        post(&mut stream, "/events?ack=stored", r#"{"event_type":"a","session_id":"a"}"#)?;
        drop(server);
        self.client(name)?.batch_execute("TRUNCATE hook_events, hook_positions; CHECKPOINT")?;
        Ok(url)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Fast shutdown: PostgreSQL closes connections and writes its data.
        stop(&mut self.postmaster, Signal::INT);
    }
}

/// Directory of the newest installed PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.pop().or_else(|| std::env::split_paths(&path).find(|bin| bin.join("initdb").exists()))
}

/// The user and group to run PostgreSQL as if we are root, which PostgreSQL refuses.
fn unprivileged() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = user.context("there is no user postgres")?.split(':').skip(1);
    let mut id = || fields.next().and_then(|id| id.parse().ok()).context("/etc/passwd");
    Ok(Some((id()?, id()?)))
}

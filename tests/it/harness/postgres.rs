//! PostgreSQL clusters: one that most tests share, and separate ones for tests that stop, kill or
//! start PostgreSQL.
//!
//! A cluster listens on a Unix socket in its own directory, so clusters never compete for a port.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal};

use super::eventually::eventually;
use super::reaper::{self, Process};

/// Members of this role must log in with a password; all other roles are trusted.
pub(crate) const PASSWORD_ROLE: &str = "password_required";

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    settings: Vec<String>,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    /// The running cluster that tests share, with `fsync=off` for speed.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let cluster = Self::copied(&["fsync=off", "full_page_writes=off"].map(str::to_owned));
            cluster.start();
            Arc::new(cluster)
        });
        shared.clone()
    }

    /// A separate cluster, not yet started.
    pub(crate) fn stopped() -> Arc<Self> {
        Arc::new(Self::copied(&[]))
    }

    /// A separate cluster, not yet started, with the given settings and files in its data directory.
    pub(crate) fn configured(settings: &[String], files: &[(&str, &str)]) -> Arc<Self> {
        let cluster = Self::copied(settings);
        let (user, group) = owner();
        for (name, text) in files {
            let path = cluster.path("data").join(name);
            std::fs::write(&path, text).expect("a file");
            chown(&path, Some(user), Some(group)).expect("PostgreSQL's user is known");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).expect("permissions");
        }
        Arc::new(cluster)
    }

    fn copied(settings: &[String]) -> Self {
        let directory = reaper::directory();
        let (user, group) = owner();
        chown(directory.path(), Some(user), Some(group)).expect("PostgreSQL's user is known");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(template()).arg(directory.path().join("data"));
        run(&mut copy);
        Self { directory, settings: settings.to_vec(), process: Mutex::new(None) }
    }

    /// Starts PostgreSQL and waits until it accepts connections.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.start_with(&[]);
    }

    /// Like [`Cluster::start`], with additional settings for this run.
    #[track_caller]
    pub(crate) fn start_with(&self, settings: &[&str]) {
        let log = self.path("log");
        let log_file = std::fs::File::options().append(true).create(true).open(&log);
        let log_file = log_file.expect("a log file");
        let mut process = Process::spawn(&program("postgres"), Signal::QUIT, |command| {
            let (user, group) = owner();
            command
                .arg("-D")
                .arg(self.path("data"))
                .arg("-k")
                .arg(self.directory.path())
                .args(["-c", "listen_addresses=", "-c", "max_connections=300"])
                .args(self.settings.iter().flat_map(|setting| ["-c", setting.as_str()]))
                .args(settings.iter().flat_map(|setting| ["-c", setting]))
                .current_dir("/")
                .stdout(Stdio::null())
                .stderr(log_file)
                .uid(user)
                .gid(group);
        });
        eventually("PostgreSQL accepts connections", || {
            if process.try_wait().is_some() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("PostgreSQL ended: {log}");
            }
            self.try_connect("postgres").map(drop)
        });
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    pub(crate) fn runs(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_mut().is_some_and(|process| process.try_wait().is_none())
    }

    /// Stops PostgreSQL without a checkpoint, as a crash does ("immediate" shutdown).
    pub(crate) fn stop(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.expect("PostgreSQL is running").end();
    }

    /// Copies the data directory of the stopped cluster: a cold backup.
    pub(crate) fn back_up(&self) {
        let mut copy = Command::new("cp");
        run(copy.arg("-a").arg(self.path("data")).arg(self.path("backup")));
    }

    /// Replaces the data directory of the stopped cluster by the backup.
    pub(crate) fn restore(&self) {
        std::fs::remove_dir_all(self.path("data")).expect("PostgreSQL is stopped");
        std::fs::rename(self.path("backup"), self.path("data")).expect("a backup exists");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The port, which is also part of the socket's name.
    fn port(&self) -> u16 {
        let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port="));
        port.map_or(5432, |port| port.parse().expect("a port"))
    }

    /// Stops PostgreSQL with a "fast" shutdown: sessions end, their transactions are rolled back.
    pub(crate) fn stop_fast(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut process = process.expect("PostgreSQL is running");
        process.signal(Signal::INT);
        process.wait();
    }

    /// Kills the postmaster and waits until its orphaned backends have exited.
    pub(crate) fn kill9(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut process = process.expect("PostgreSQL is running");
        process.signal(Signal::KILL);
        process.wait();
        eventually("PostgreSQL's processes have ended", || {
            let left = self.processes();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    /// Sends a signal to every process of the cluster.
    pub(crate) fn signal_all(&self, signal: Signal) {
        for process in self.processes() {
            // Fails only if the process has already ended.
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// All processes of the cluster, identified by their working directory: the data directory.
    fn processes(&self) -> Vec<Pid> {
        let data = self.path("data");
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|d| d == data))
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .collect()
    }

    /// The Unix socket of the cluster.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    /// A new empty database.
    #[track_caller]
    pub(crate) fn database(self: &Arc<Self>) -> Database {
        let database = self.future_database();
        database.create();
        database
    }

    /// A database that does not exist yet, with a unique name.
    pub(crate) fn future_database(self: &Arc<Self>) -> Database {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Database { cluster: self.clone(), name }
    }

    pub(crate) fn try_connect(&self, database: &str) -> Result<Client, postgres::Error> {
        postgres::Config::new()
            .host_path(self.directory.path())
            .port(self.port())
            .user("postgres")
            .dbname(database)
            .connect(NoTls)
    }
}

/// A database of one test.
pub(crate) struct Database {
    cluster: Arc<Cluster>,
    pub(crate) name: String,
}

impl Database {
    /// The Unix socket of the cluster.
    pub(crate) fn socket(&self) -> PathBuf {
        self.cluster.socket()
    }

    /// The connection string of the superuser.
    pub(crate) fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// The connection string of a user, given as `name` or `name:password`.
    pub(crate) fn url_as(&self, user: &str) -> String {
        let host = self.cluster.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{host}/{}", self.name)
    }

    #[track_caller]
    pub(crate) fn create(&self) {
        self.create_with("");
    }

    /// Like [`Database::create`], with options such as `OWNER someone`.
    #[track_caller]
    pub(crate) fn create_with(&self, options: &str) {
        let mut client = self.cluster.try_connect("postgres").expect("PostgreSQL is running");
        let create = format!("CREATE DATABASE {} {options}", self.name);
        client.batch_execute(&create).unwrap_or_else(|e| panic!("{e:?}: {create}"));
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        self.cluster.try_connect(&self.name).expect("PostgreSQL is running")
    }

    /// Runs statements.
    #[track_caller]
    pub(crate) fn execute(&self, statements: &str) {
        self.connect().batch_execute(statements).unwrap_or_else(|e| panic!("{e:?}: {statements}"));
    }

    /// The first column of all rows, as text.
    #[track_caller]
    pub(crate) fn query(&self, statement: &str) -> Vec<String> {
        let rows = self.connect().query(statement, &[]);
        let rows = rows.unwrap_or_else(|e| panic!("{e:?}: {statement}"));
        rows.iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A database that cannot be dropped is deleted with its cluster.
        if let Ok(mut client) = self.cluster.try_connect("postgres") {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let _ = client.batch_execute(&drop);
        }
    }
}

/// A data directory to copy from: copying is faster than running `initdb` again.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let (user, group) = owner();
        let parent = reaper::scratch().join("postgres");
        std::fs::create_dir(&parent).expect("a directory");
        chown(&parent, Some(user), Some(group)).expect("PostgreSQL's user is known");
        let data = parent.join("template");
        let mut initdb = Command::new(program("initdb"));
        initdb
            .args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .arg(&data)
            .current_dir("/")
            .uid(user)
            .gid(group);
        run(&mut initdb);
        let access = format!("local all +{PASSWORD_ROLE} scram-sha-256\nlocal all all trust\n");
        std::fs::write(data.join("pg_hba.conf"), access).expect("pg_hba.conf");
        data
    })
}

/// The user and group that PostgreSQL runs as; it refuses to run as root.
pub(crate) fn owner() -> (u32, u32) {
    static OWNER: OnceLock<(u32, u32)> = OnceLock::new();
    let id = |option: &str| -> u32 {
        let output = Command::new("id").args([option, "postgres"]).output().expect("id runs");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().expect("root needs a user postgres to run PostgreSQL as")
    };
    *OWNER.get_or_init(|| {
        let user = rustix::process::getuid();
        if user.is_root() {
            (id("-u"), id("-g"))
        } else {
            (user.as_raw(), rustix::process::getgid().as_raw())
        }
    })
}

/// The path of a PostgreSQL program: from PATH, `pg_config --bindir`, or Debian's newest version.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        directories.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    directories.extend(versions.into_iter().rev());
    // Both programs must come from one directory, so that their versions match.
    let complete = |directory: &&PathBuf| {
        directory.join("initdb").exists() && directory.join("postgres").exists()
    };
    let found = directories.iter().find(complete).expect("PostgreSQL (initdb, postgres)");
    found.join(name)
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

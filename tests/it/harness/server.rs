//! The real program as a child process: settings, log, signals, end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;

use super::client::Client;
use super::eventually::{eventually, when};
use super::reaper::Process;

/// How a server is started. Its environment has nothing but what is set here.
#[derive(Clone)]
pub(crate) struct Builder {
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: PathBuf,
    ready: bool,
    wrapper: Vec<OsString>,
}

impl Builder {
    /// Runs the program by another one, which must become it (`exec`) or trace it from aside, so
    /// that signals reach the server.
    pub(crate) fn wrapped(
        mut self,
        wrapper: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn set(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(variable.into(), value.as_ref().to_owned());
        self
    }

    /// The working directory, where relative paths lead.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Makes [`Builder::start`] wait until `/health/ready` says so.
    pub(crate) fn ready(mut self) -> Self {
        self.ready = true;
        self
    }

    /// Starts a server and waits until it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let (mut process, log) = self.spawn(Stdio::null());
        let address = eventually("the server listens", || match log.address() {
            Some(address) => Ok(address),
            None if process.try_wait().is_some() => panic!("the server ended: {}", log.complete()),
            None => Err("no address in its log"),
        });
        let client = Client::new(address);
        if self.ready {
            eventually("the server is ready", || {
                when(client.get("/health/ready", &[]), |answer| answer.status == 200)
            });
        }
        Server { builder: self, process, log, client }
    }

    /// Starts a server and waits for nothing. Its address must have been set (`HOST`, `PORT`).
    #[track_caller]
    pub(crate) fn launch(self) -> Server {
        let (process, log) = self.spawn(Stdio::null());
        let variable = |name: &str| self.environment.get(OsStr::new(name)).and_then(|v| v.to_str());
        let address = format!(
            "{}:{}",
            variable("HOST").expect("HOST is set"),
            variable("PORT").expect("PORT is set")
        );
        let client = Client::new(address.parse().expect("an address"));
        Server { builder: self, process, log, client }
    }

    /// Runs the program to its end, for commands that are no server and servers that do not start.
    #[track_caller]
    pub(crate) fn run(self) -> Ended {
        let (mut process, log) = self.spawn(Stdio::piped());
        let output = Log::follow(process.take_stdout().expect("stdout is piped"));
        let status = process.wait();
        Ended { status, output: output.complete(), log: log.complete() }
    }

    fn spawn(&self, stdout: Stdio) -> (Process, Log) {
        let mut line = self.wrapper.clone();
        line.push(program());
        let mut process = Process::spawn(Path::new(&line[0]), Signal::KILL, |command| {
            command
                .args(&line[1..])
                .args(&self.arguments)
                .env_clear()
                .envs(&self.environment)
                .current_dir(&self.directory)
                .stdout(stdout)
                .stderr(Stdio::piped());
        });
        let log = Log::follow(process.take_stderr().expect("stderr is piped"));
        (process, log)
    }
}

/// The program under test: the one built with the tests, or another build of it.
fn program() -> OsString {
    std::env::var_os("HOOKS_BACKEND").unwrap_or_else(|| env!("CARGO_BIN_EXE_hooks-backend").into())
}

/// A program that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// All that it wrote to standard output.
    pub(crate) output: String,
    /// All that it wrote to standard error.
    pub(crate) log: String,
}

pub(crate) struct Server {
    builder: Builder,
    process: Process,
    log: Log,
    pub(crate) client: Client,
}

impl Server {
    /// A server on any free port, in the scratch directory unless told otherwise.
    pub(crate) fn builder() -> Builder {
        Builder {
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: super::reaper::scratch().to_owned(),
            ready: false,
            wrapper: Vec::new(),
        }
        .set("PORT", "0")
    }

    /// All that it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of the log.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        eventually("a line is logged", || {
            if self.log.text().contains(text) { Ok(()) } else { Err((text, self.log.text())) }
        });
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait()
    }

    /// How it ended; after that its log is complete.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.process.wait();
        self.log.complete();
        status
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill9(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Ends it in the orderly way, which must succeed.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log.text());
    }

    /// Starts it again, at another address, after it has ended.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.process.try_wait().is_some(), "it runs");
        *self = self.builder.clone().start();
    }
}

/// What a process writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(String, bool)>>);

impl Log {
    fn follow(output: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                writer.lock(|(text, _)| text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            writer.lock(|(_, complete)| *complete = true);
        });
        log
    }

    fn lock<T>(&self, work: impl FnOnce(&mut (String, bool)) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn text(&self) -> String {
        self.lock(|(text, _)| text.clone())
    }

    /// The text, once the process has closed its end.
    fn complete(&self) -> String {
        eventually("the log ends", || {
            self.lock(|(text, complete)| if *complete { Ok(text.clone()) } else { Err("open") })
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        let text = self.text();
        let (_, rest) = text.split_once("listening on http")?;
        let (_, rest) = rest.split_once("://")?;
        let (address, _) = rest.split_once(',')?;
        Some(address.parse().expect("the log names an address"))
    }
}

//! The server program as a child process: settings, log, signals, exit status.

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

/// Command line and environment of a server. The environment has only the variables set here.
#[derive(Clone)]
pub(crate) struct Builder {
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: PathBuf,
    ready: bool,
    wrapper: Vec<OsString>,
}

impl Builder {
    /// Prefixes the command with a wrapper, which must `exec` the server or trace it as another
    /// process (`strace -D`), so that signals reach the server.
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

    /// Sets the working directory, the base of relative paths.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Makes [`Builder::start`] wait until `/health/ready` responds with 200.
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
                when(client.get("/health/ready", &[]), |response| response.status == 200)
            });
        }
        Server { builder: self, process, log, client }
    }

    /// Starts a server without waiting. The address must be set (`HOST`, `PORT`).
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

    /// Runs the program until it exits: for client commands, and servers that fail to start.
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

/// The program under test: the build of this test run, or the one in `HOOKS_BACKEND`.
fn program() -> OsString {
    std::env::var_os("HOOKS_BACKEND").unwrap_or_else(|| env!("CARGO_BIN_EXE_hooks-backend").into())
}

/// The result of a program that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Everything written to standard output.
    pub(crate) output: String,
    /// Everything written to standard error.
    pub(crate) log: String,
}

pub(crate) struct Server {
    builder: Builder,
    process: Process,
    log: Log,
    pub(crate) client: Client,
}

impl Server {
    /// A server on a free port, by default in the scratch directory.
    pub(crate) fn builder() -> Builder {
        Builder {
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: super::reaper::scratch().to_owned(),
            ready: false,
            wrapper: Vec::new(),
        }
        .set("PORT", "0")
        .set("SHUTDOWN_DELAY", "0s")
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        eventually("a line is logged", || {
            if self.log.text().contains(text) { Ok(()) } else { Err((text, self.log.text())) }
        });
    }

    /// CPU time so far in milliseconds, to within 10 ms.
    pub(crate) fn cpu_ms(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let text = text.expect("the server runs");
        // proc(5): the fields 14 and 15, in hundredths of a second. The name before can have spaces.
        let (_, fields) = text.rsplit_once(") ").expect("a name in parentheses");
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        ticks.map(|ticks| ticks.expect("a number")).sum::<f64>() * 10.0
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The exit status, if the server has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait()
    }

    /// Waits for the server to exit; afterwards its log is complete.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.process.wait();
        self.log.complete();
        status
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill9(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Stops the server with SIGTERM and asserts that it exits successfully.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log.text());
    }

    /// Starts the server again, at another address, after it has ended.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.process.try_wait().is_some(), "the server is running");
        *self = self.builder.clone().start();
    }

    /// Stops the server and starts it again at the same address.
    #[track_caller]
    pub(crate) fn restart_in_place(&mut self) {
        self.stop();
        let port = self.client.address.port().to_string();
        *self = self.builder.clone().set("PORT", port).start();
    }
}

/// The collected output of a process, and whether it is complete.
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

    /// The text, once the process has closed the pipe.
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

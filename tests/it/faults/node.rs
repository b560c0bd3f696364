//! One server of the system under test, running or not.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::server::{Builder, Server};
use crate::harness::{Client, eventually};

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// The data directory of the server.
    pub(crate) data: PathBuf,
    builder: Mutex<Builder>,
    server: Mutex<Option<Server>>,
    retired: AtomicBool,
    log: Mutex<String>,
}

impl Node {
    pub(crate) fn new(builder: Builder, data: PathBuf, address: SocketAddr) -> Self {
        Self {
            address,
            data,
            builder: Mutex::new(builder),
            server: Mutex::default(),
            retired: AtomicBool::new(false),
            log: Mutex::default(),
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command that starts the server.
    pub(crate) fn builder(&self) -> Builder {
        self.builder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the command for later starts.
    pub(crate) fn change(&self, change: impl FnOnce(Builder) -> Builder) {
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        *builder = change(builder.clone());
    }

    /// Sets the wrapper command for later starts; empty for none.
    pub(crate) fn change_wrapper(&self, wrapper: Vec<String>) {
        self.change(|builder| builder.wrapped(wrapper));
    }

    /// Starts the server without waiting.
    pub(crate) fn launch(&self) {
        let mut server = self.server();
        if let Some(before) = server.take() {
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&before.log());
        }
        *server = Some(self.builder().launch());
    }

    /// Starts the server and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.launch();
        self.ready();
    }

    /// Waits until the server is ready.
    #[track_caller]
    pub(crate) fn ready(&self) {
        eventually("the server is ready", || {
            assert!(self.ended().is_none(), "the server ended: {}", self.log_tail());
            if self.is_ready() { Ok(()) } else { Err("not ready") }
        });
    }

    /// Acts as a supervisor: restarts the server whenever it has ended, until it is ready.
    #[track_caller]
    pub(crate) fn supervise(&self) {
        eventually("the server is ready", || {
            if !self.is_started() {
                self.launch();
            }
            if self.is_ready() { Ok(()) } else { Err(self.log_tail()) }
        });
    }

    pub(crate) fn is_ready(&self) -> bool {
        let client = Client::with_timeout(self.address, Duration::from_secs(5));
        let response = client.send("GET", "/health/ready", &[], b"");
        response.is_ok_and(|response| response.status == 200)
    }

    /// The body of `GET /health`, if the server responds.
    pub(crate) fn health(&self) -> Option<Value> {
        let client = Client::with_timeout(self.address, Duration::from_secs(5));
        Some(client.send("GET", "/health", &[], b"").ok()?.json())
    }

    /// True if the server was started and has not ended.
    pub(crate) fn is_started(&self) -> bool {
        self.server().as_mut().is_some_and(|server| server.ended().is_none())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(server) = &mut *self.server() {
            server.signal(signal);
        }
    }

    /// The exit status, if the server has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.server().as_mut().and_then(Server::ended)
    }

    #[track_caller]
    pub(crate) fn wait(&self) -> ExitStatus {
        eventually("the server ends", || self.ended().ok_or("running"))
    }

    /// Stops the server with SIGTERM; an error if the exit status is not success.
    #[track_caller]
    pub(crate) fn stop(&self) -> Result<(), ExitStatus> {
        self.signal(Signal::TERM);
        let status = self.wait();
        if status.success() { Ok(()) } else { Err(status) }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        look(self.server().as_ref().expect("the server was started"))
    }

    /// Marks the server as down; the final check does not wait for it.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn unretire(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// The logs of all runs of the server.
    pub(crate) fn log(&self) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(server) = &*self.server() {
            log.push_str(&server.log());
        }
        log
    }

    /// The last lines of the current log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.server().as_ref().map(Server::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(4)..].join("\n")
    }
}

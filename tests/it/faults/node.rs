//! One server of a world, which may be down.

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
    /// Where it writes.
    pub(crate) data: PathBuf,
    how: Mutex<Builder>,
    server: Mutex<Option<Server>>,
    retired: AtomicBool,
    log: Mutex<String>,
}

impl Node {
    pub(crate) fn new(how: Builder, data: PathBuf, address: SocketAddr) -> Self {
        Self {
            address,
            data,
            how: Mutex::new(how),
            server: Mutex::default(),
            retired: AtomicBool::new(false),
            log: Mutex::default(),
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is started.
    pub(crate) fn how(&self) -> Builder {
        self.how.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it is started from now on.
    pub(crate) fn change(&self, change: impl FnOnce(Builder) -> Builder) {
        let mut how = self.how.lock().unwrap_or_else(PoisonError::into_inner);
        *how = change(how.clone());
    }

    /// The command that runs the server from now on; none if it is empty.
    pub(crate) fn change_wrapper(&self, wrapper: Vec<String>) {
        self.change(|how| how.wrapped(wrapper));
    }

    /// Starts it without waiting for anything.
    pub(crate) fn launch(&self) {
        let mut server = self.server();
        if let Some(before) = server.take() {
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&before.log());
        }
        *server = Some(self.how().launch());
    }

    /// Starts it and waits until it takes events.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.launch();
        self.ready();
    }

    /// Waits until it takes events.
    #[track_caller]
    pub(crate) fn ready(&self) {
        eventually("the server is ready", || {
            assert!(self.ended().is_none(), "the server ended: {}", self.log_tail());
            if self.is_ready() { Ok(()) } else { Err("not ready") }
        });
    }

    /// Does what looks after servers: starts it again whenever it has ended, until it takes events.
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
        let answer = client.send("GET", "/health/ready", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// What it says of itself, if it answers.
    pub(crate) fn health(&self) -> Option<Value> {
        let client = Client::with_timeout(self.address, Duration::from_secs(5));
        Some(client.send("GET", "/health", &[], b"").ok()?.json())
    }

    /// Whether it was started and has not ended.
    pub(crate) fn is_started(&self) -> bool {
        self.server().as_mut().is_some_and(|server| server.ended().is_none())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(server) = &mut *self.server() {
            server.signal(signal);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.server().as_mut().and_then(Server::ended)
    }

    #[track_caller]
    pub(crate) fn wait(&self) -> ExitStatus {
        eventually("the server ends", || self.ended().ok_or("it runs"))
    }

    /// Ends it in the orderly way; an error if its status was none of success.
    #[track_caller]
    pub(crate) fn stop(&self) -> Result<(), ExitStatus> {
        self.signal(Signal::TERM);
        let status = self.wait();
        if status.success() { Ok(()) } else { Err(status) }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        look(self.server().as_ref().expect("it was started"))
    }

    /// It is not going to come back; the check does not wait for it.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    pub(crate) fn unretire(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// All that its processes have logged.
    pub(crate) fn log(&self) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(server) = &*self.server() {
            log.push_str(&server.log());
        }
        log
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.server().as_ref().map(Server::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(4)..].join("\n")
    }
}

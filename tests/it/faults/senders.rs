//! Senders that behave like real clients: a timeout of five seconds and four attempts with the
//! same ids, then they drop the events.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::events::{self, Habits};
use super::ledger::Ledger;
use super::rng::Rng;
use crate::harness::Client;

const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: u32 = 4;
/// Maximum pause before the first retry, in milliseconds; doubles with each retry.
const BACKOFF: u64 = 150;

/// Addresses of the servers. Each sender starts with another one.
pub(crate) type Targets = Arc<RwLock<Vec<SocketAddr>>>;

pub(crate) struct Senders {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    pub(crate) fn start(
        names: &[String],
        habits: Habits,
        ledger: &Arc<Ledger>,
        targets: &Targets,
        rng: &mut Rng,
    ) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let threads = names.iter().enumerate().map(|(at, name)| {
            let mut sender = Sender::new(name, at, habits, ledger, targets, Rng::new(rng.next()));
            let stopping = stopping.clone();
            std::thread::spawn(move || {
                while !stopping.load(Ordering::SeqCst) {
                    sender.send_some();
                }
            })
        });
        let threads = threads.collect();
        Self { stopping, threads }
    }

    /// Stops all senders once their current request and its retries are complete.
    pub(crate) fn stop(mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender does not fail");
        }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

/// One sender; also used alone, to send events at chosen moments.
pub(crate) struct Sender {
    name: String,
    target: usize,
    habits: Habits,
    ledger: Arc<Ledger>,
    targets: Targets,
    rng: Rng,
    made: usize,
    clients: Vec<Client>,
}

impl Sender {
    pub(crate) fn new(
        name: &str,
        target: usize,
        habits: Habits,
        ledger: &Arc<Ledger>,
        targets: &Targets,
        rng: Rng,
    ) -> Self {
        let (name, ledger, targets) = (name.to_owned(), ledger.clone(), targets.clone());
        let (made, clients) = (0, Vec::new());
        Self { name, target, habits, ledger, targets, rng, made, clients }
    }

    /// Sends one request with its retries, then pauses.
    fn send_some(&mut self) {
        let batch = self.rng.percent(50);
        let count = if batch { self.rng.within(1..self.habits.batch + 1) } else { 1 };
        self.send(count, batch);
        self.rng.pause(0..self.habits.pause + 1);
    }

    /// Sends new events with retries; true if they were accepted.
    pub(crate) fn send(&mut self, count: u64, batch: bool) -> bool {
        self.send_within(TRIES, count, batch)
    }

    /// Sends a batch of new events without retries; true if it was accepted.
    pub(crate) fn send_once(&mut self, count: u64) -> bool {
        self.send_within(1, count, true)
    }

    fn send_within(&mut self, tries: u32, count: u64, batch: bool) -> bool {
        let made = (0..count).map(|_| {
            self.made += 1;
            events::make(&self.habits, &mut self.rng, &self.name, self.made)
        });
        let events: Vec<Value> = made.collect();
        self.ledger.sending(&events);
        let (path, body) = if batch {
            ("/events/batch", Value::from(events.as_slice()).to_string())
        } else {
            ("/events", events[0].to_string())
        };
        for attempt in 0..tries {
            if attempt > 0 {
                self.rng.pause(10..BACKOFF << attempt);
            }
            match self.attempt(path, &body, events.len()) {
                Some(true) => {
                    self.ledger.accepted(&events);
                    return true;
                }
                Some(false) => return false,
                None => self.target += 1,
            }
        }
        false
    }

    /// True if the events were accepted, false if refused; `None` to retry, on the next server.
    fn attempt(&mut self, path: &str, body: &str, events: usize) -> Option<bool> {
        let address = {
            let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
            targets[self.target % targets.len()]
        };
        let client = self.clients.iter().find(|client| client.address == address).cloned();
        let client = client.unwrap_or_else(|| {
            let client = Client::with_timeout(address, TIMEOUT);
            self.clients.push(client.clone());
            client
        });
        let headers = [("content-type", "application/json")];
        let response = client.send("POST", path, &headers, body.as_bytes()).ok()?;
        match response.status {
            202 => {
                if response.json()["accepted"] != events {
                    self.ledger
                        .violation(format!("{events} events sent, response {}", response.text));
                }
                Some(true)
            }
            429 | 500..=599 => None,
            _ => {
                self.ledger.violation(format!("{} {}", response.status, response.text));
                Some(false)
            }
        }
    }
}

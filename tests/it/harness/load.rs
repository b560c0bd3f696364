//! Concurrent senders, and a ledger of the responses that they received.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;

use super::client::{Client, JSON};
use super::event;

/// Senders that retry a batch until it is answered 202, as a careful client does, across rounds in
/// which the server may be killed. Their events have ids and no timestamps, so only the id
/// identifies a retry.
pub(crate) struct Load {
    senders: Vec<Sender>,
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Ledger {
    sent: Mutex<BTreeSet<String>>,
    acknowledged: AtomicUsize,
    stopping: AtomicBool,
}

struct Sender {
    name: usize,
    batch_events: usize,
    /// Number of batches created.
    batches: usize,
    pending: Option<Vec<Value>>,
    /// The batch most recently accepted.
    last: Option<Vec<Value>>,
}

/// A round of sending that lasts until it is stopped or the server is unreachable.
pub(crate) struct Round<'l> {
    load: &'l mut Load,
    threads: Vec<JoinHandle<Sender>>,
}

impl Load {
    pub(crate) fn new(senders: usize, batch_events: usize) -> Self {
        let senders = (0..senders).map(|name| Sender {
            name,
            batch_events,
            batches: 0,
            pending: None,
            last: None,
        });
        Self { senders: senders.collect(), ledger: Arc::default() }
    }

    /// Starts a round.
    pub(crate) fn start(&mut self, client: &Client) -> Round<'_> {
        self.ledger.stopping.store(false, Ordering::SeqCst);
        let threads = self.senders.drain(..).map(|mut sender| {
            let client = Client::keep_alive(client.address);
            let ledger = self.ledger.clone();
            std::thread::spawn(move || {
                while !ledger.stopping.load(Ordering::SeqCst) {
                    sender.prepare(&ledger);
                    if !sender.send(&client, &ledger) {
                        break;
                    }
                }
                sender
            })
        });
        let threads = threads.collect();
        Round { load: self, threads }
    }

    /// Sends each pending batch, or repeats the last accepted one, and asserts that it is accepted.
    /// Returns once everything is stored.
    #[track_caller]
    pub(crate) fn finish(&mut self, client: &Client) {
        for sender in &mut self.senders {
            let Some(last) = sender.pending.as_ref().or(sender.last.as_ref()) else { continue };
            let body = Value::from(last.as_slice()).to_string();
            client.post("/events/batch?ack=stored", JSON, &[], body).expect(202);
        }
    }

    /// Number of events answered 202.
    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.acknowledged.load(Ordering::SeqCst)
    }

    /// The ids of all events sent so far.
    pub(crate) fn sent(&self) -> BTreeSet<String> {
        self.ledger.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Round<'_> {
    /// Number of events answered 202, in all rounds.
    pub(crate) fn acknowledged(&self) -> usize {
        self.load.acknowledged()
    }

    /// Ends the round once every sender has a response or finds the server unreachable.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.load.ledger.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads {
            self.load.senders.push(thread.join().expect("a sender does not fail"));
        }
    }
}

impl Sender {
    fn prepare(&mut self, ledger: &Ledger) {
        if self.pending.is_some() {
            return;
        }
        let (name, batch) = (self.name, self.batches);
        let ids = (0..self.batch_events).map(|number| format!("{name}-{batch}-{number}"));
        let ids: Vec<String> = ids.collect();
        self.pending = Some(ids.iter().map(|id| event(id)).collect());
        self.batches += 1;
        ledger.sent.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    /// Sends the pending batch; false if no response arrived.
    fn send(&mut self, client: &Client, ledger: &Ledger) -> bool {
        let Some(batch) = &self.pending else { return true };
        let body = Value::from(batch.as_slice()).to_string();
        let headers = [("content-type", JSON)];
        let Ok(response) = client.send("POST", "/events/batch", &headers, body.as_bytes()) else {
            return false;
        };
        match response.status {
            202 => {
                assert_eq!(response.json()["accepted"], batch.len(), "{response:?}");
                ledger.acknowledged.fetch_add(batch.len(), Ordering::SeqCst);
                self.last = self.pending.take();
            }
            // Nothing was accepted; the sender retries.
            503 => assert!(!response.header("retry-after").is_empty(), "{response:?}"),
            _ => panic!("{response:?}"),
        }
        true
    }
}

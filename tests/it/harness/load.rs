//! Senders under load, and the ledger of what they were told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;

use super::client::{Client, JSON};
use super::event;

/// Senders that keep their batch until it is answered 202, as a careful client does, across rounds
/// in which the server may die. Their events have ids and no timestamps, so that only the ids tell
/// a retry.
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
    /// Batches made so far.
    batches: usize,
    pending: Option<Vec<Value>>,
    /// The batch that was accepted last.
    last: Option<Vec<Value>>,
}

/// A round of sending that goes on until it is stopped or the server is gone.
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

    /// Sends what is still pending, or else the last batch again, all of which must be accepted; returns
    /// when everything is in the store.
    #[track_caller]
    pub(crate) fn finish(&mut self, client: &Client) {
        for sender in &mut self.senders {
            let Some(last) = sender.pending.as_ref().or(sender.last.as_ref()) else { continue };
            let body = Value::from(last.as_slice()).to_string();
            client.post("/events/batch?ack=stored", JSON, &[], body).expect(202);
        }
    }

    /// How many events were answered 202.
    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.acknowledged.load(Ordering::SeqCst)
    }

    /// The ids of all events that ever were sent.
    pub(crate) fn sent(&self) -> BTreeSet<String> {
        self.ledger.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Round<'_> {
    /// How many events were answered 202, in all rounds.
    pub(crate) fn acknowledged(&self) -> usize {
        self.load.acknowledged()
    }

    /// Ends the round once every sender has had its answer, or found the server gone.
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

    /// Sends the pending batch; false if no answer came.
    fn send(&mut self, client: &Client, ledger: &Ledger) -> bool {
        let Some(batch) = &self.pending else { return true };
        let body = Value::from(batch.as_slice()).to_string();
        let headers = [("content-type", JSON)];
        let Ok(answer) = client.send("POST", "/events/batch", &headers, body.as_bytes()) else {
            return false;
        };
        match answer.status {
            202 => {
                assert_eq!(answer.json()["accepted"], batch.len(), "{answer:?}");
                ledger.acknowledged.fetch_add(batch.len(), Ordering::SeqCst);
                self.last = self.pending.take();
            }
            // The server says that it took nothing, and to try again.
            503 => assert!(!answer.header("retry-after").is_empty(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
        true
    }
}

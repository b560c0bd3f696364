//! Admission of reading requests: clients share the memory for responses (`MAX_READ_BYTES`) and the queries
//! that run at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::client_id::ClientId;
use crate::http::problem::Problem;
use crate::metrics::Limit;
use crate::query::ReadError;

/// Memory of a response: a chunk that is being made, one that waits, and one that is being sent.
pub(super) const RESPONSE_BYTES: u64 = 1 << 20;

/// Memory of a response that is compressed.
pub(super) const COMPRESSED_BYTES: u64 = 2 << 20;

/// Memory of a Parquet file in the making: that of a response, and a row group with its compressed form.
pub(super) const PARQUET_BYTES: u64 = 32 << 20;

/// Maximum number of queries of one client that run at once: half of what a store allows.
const CLIENT_QUERIES_MAX: usize = 2;

/// Maximum time that a query waits for others of its client.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Admits requests while their client holds no more memory than it leaves to all others. So one client
/// can have half of it, two a third each, and there is always some for another (dynamic thresholds:
/// Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
#[derive(Debug)]
pub(super) struct Admission {
    bytes_max: u64,
    shares: Mutex<Shares>,
}

#[derive(Debug)]
struct Shares {
    free_bytes: u64,
    clients: HashMap<ClientId, Share>,
}

/// The share of a client with requests in progress.
#[derive(Debug)]
struct Share {
    requests: usize,
    bytes: u64,
    queries: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(bytes_max: u64) -> Self {
        let shares = Mutex::new(Shares { free_bytes: bytes_max, clients: HashMap::new() });
        Self { bytes_max, shares }
    }

    /// Admits a request that needs this memory.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: ClientId,
        bytes: u64,
    ) -> Result<Admitted, Problem> {
        let queries = self.with(|shares| {
            let share = shares.clients.entry(client.clone()).or_insert_with(|| Share {
                requests: 0,
                bytes: 0,
                queries: Arc::new(Semaphore::new(CLIENT_QUERIES_MAX)),
            });
            share.requests += 1;
            share.queries.clone()
        });
        let mut admitted = Admitted { admission: self.clone(), client, bytes: 0, queries };
        if admitted.hold(bytes) {
            return Ok(admitted);
        }
        let detail = "the responses in progress use all the memory that this client may have \
                      (MAX_READ_BYTES is shared by all clients); try again in a moment";
        Err(Problem::unavailable(detail, 5).of(Limit::ReadBytes))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares) -> T) -> T {
        change(&mut self.shares.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in progress, with the memory that it holds.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    client: ClientId,
    bytes: u64,
    queries: Arc<Semaphore>,
}

impl Admitted {
    /// Changes the memory that the request holds. Returns false, and changes nothing, if its client
    /// would have more than its share. A request counts as a quarter of all memory at most, so that the
    /// largest events can be read, too.
    pub(super) fn hold(&mut self, bytes: u64) -> bool {
        let (held, bytes) = (self.bytes, bytes.min(self.admission.bytes_max / 4));
        let is_allowed = self.admission.with(|shares| {
            let Some(share) = shares.clients.get_mut(&self.client) else { return false };
            let of_client = share.bytes - held + bytes;
            let available = shares.free_bytes + held;
            if bytes > held && available.checked_sub(bytes).is_none_or(|free| free < of_client) {
                return false;
            }
            share.bytes = of_client;
            shares.free_bytes = available - bytes;
            true
        });
        if is_allowed {
            self.bytes = bytes;
        }
        is_allowed
    }

    /// Waits until the client may run a further query.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        match tokio::time::timeout(WAIT_TIMEOUT, self.queries.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(ReadError::Unavailable(format!(
                "{CLIENT_QUERIES_MAX} queries of this client are running; try again in a moment"
            ))),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let (client, bytes) = (self.client.clone(), self.bytes);
        self.admission.with(|shares| {
            shares.free_bytes += bytes;
            if let Entry::Occupied(mut share) = shares.clients.entry(client) {
                share.get_mut().requests -= 1;
                share.get_mut().bytes -= bytes;
                if share.get().requests == 0 {
                    share.remove();
                }
            }
        });
    }
}

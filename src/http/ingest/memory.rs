//! `MAX_INFLIGHT_BYTES`: the memory budget of all requests in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::problem::Problem;
use crate::metrics::Limit;

/// Granularity of reservations: a semaphore has too few permits to count bytes.
const UNIT_BYTES: usize = 1024;

/// Memory of a request besides its body: headers, task and buffers.
const REQUEST_BYTES: usize = 8 << 10;

/// Memory available to all requests in flight.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    units: Arc<Semaphore>,
}

impl MemoryBudget {
    pub(super) fn new(bytes_max: u64) -> Self {
        let units = usize::try_from(bytes_max).unwrap_or(usize::MAX) / UNIT_BYTES;
        Self { units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    /// Reserves memory for a request whose body has not arrived yet.
    pub(super) fn reserve(&self) -> Result<Reservation, Problem> {
        let mut reservation = Reservation { budget: self.units.clone(), permit: None };
        reservation.grow_to(0)?;
        Ok(reservation)
    }
}

/// The part of the budget that one request holds until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Grows the reservation to cover `bytes` of body and of copies made of it.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = (REQUEST_BYTES + bytes).div_ceil(UNIT_BYTES).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let units = u32::try_from(missing).unwrap_or(u32::MAX);
        let permit = self.budget.clone().try_acquire_many_owned(units).map_err(|_| {
            let detail = "the requests in flight use all the memory they may (MAX_INFLIGHT_BYTES); \
                          retry in a moment";
            Problem::unavailable(detail, 1).of(Limit::InflightBytes)
        })?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            empty => *empty = Some(permit),
        }
        Ok(())
    }
}

//! Polling for a condition: the only way in which tests wait.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Far longer than any condition takes, even on a loaded machine: only a failing test reaches it.
const DEADLINE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(10);

/// Retries until `attempt` succeeds, and returns its value. On timeout, panics with the last error.
#[track_caller]
pub(crate) fn eventually<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > DEADLINE => {
                panic!("{what}: not within {} s; last seen: {seen:?}", DEADLINE.as_secs())
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// For [`eventually`]: the value if it satisfies the condition.
pub(crate) fn when<T>(value: T, wished: impl FnOnce(&T) -> bool) -> Result<T, Box<T>> {
    if wished(&value) { Ok(value) } else { Err(Box::new(value)) }
}

//! Fuzz tests of the code that reads external bytes: no panics, and properties that hold for every input. Each
//! test is a target. It is a short, deterministic run, or one of `FUZZ_MINUTES` minutes (`scripts/fuzz`).

mod mutator;
mod targets;

use std::time::{Duration, Instant};

use mutator::Mutator;

/// Maximum number of accepted inputs kept for further mutation.
const POOL_MAX: usize = 2000;

/// Prints the input if its check panics.
struct Shown<'i>(&'i [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// Runs a target; a short run has this number of executions. `check` panics if a property does not hold, and
/// returns whether the input was accepted and should be mutated further.
fn fuzz(
    target: &str,
    short: u64,
    corpus: Vec<Vec<u8>>,
    dictionary: &[&str],
    check: impl Fn(&[u8]) -> bool,
) {
    let minutes: Option<f64> = std::env::var("FUZZ_MINUTES")
        .ok()
        .map(|minutes| minutes.parse().expect("FUZZ_MINUTES is a number"));
    let seed = match minutes {
        None => 1,
        Some(_) => std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros() as u64,
    };
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let begun = Instant::now();
    let mut mutator = Mutator::new(seed, dictionary);
    for input in &corpus {
        let _shown = Shown(input);
        check(input);
    }
    let (first, mut pool) = (corpus.len(), corpus);
    let mut executions = 0;
    let mut through = 0;
    while end.map_or(executions < short, |end| Instant::now() < end) {
        let input = mutator.change(&pool);
        let _shown = Shown(&input);
        if check(&input) {
            through += 1;
            if pool.len() < POOL_MAX {
                pool.push(input.clone());
            } else {
                // The corpus is always kept.
                let place = first + mutator.below(POOL_MAX - first);
                pool[place].clone_from(&input);
            }
        }
        executions += 1;
    }
    if minutes.is_some() {
        let per_second = executions as f64 / begun.elapsed().as_secs_f64();
        eprintln!(
            "{target}: seed {seed}, {executions} executions ({per_second:.0}/s), {through} got through, \
             nothing found"
        );
    }
}

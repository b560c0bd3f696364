//! The sequence of rounds, with their seeds.

use std::path::PathBuf;

use super::rng::Rng;
use super::table::{FAULTS, Fault, Group};
use crate::harness::Storage;

/// The seed of the short run.
const SEED: u64 = 20_261_123;

/// Settings from the environment (see `scripts/faults`); by default each fault runs once.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// `None`: the short run.
    pub(crate) minutes: Option<f64>,
    pub(crate) only: Option<String>,
    pub(crate) storage: Option<String>,
    /// Runs only the round with this seed.
    pub(crate) round: Option<u64>,
    pub(crate) jobs: usize,
    /// Directory for the files of failed rounds.
    pub(crate) keep: PathBuf,
}

impl Settings {
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str| {
            text(name).map(|text| text.parse::<f64>().unwrap_or_else(|e| panic!("{name}: {e}")))
        };
        let seed = |name: &str| {
            text(name).map(|text| text.parse::<u64>().unwrap_or_else(|e| panic!("{name}: {e}")))
        };
        Self {
            seed: seed("FAULTS_SEED").unwrap_or(SEED),
            minutes: number("FAULTS_MINUTES"),
            only: text("FAULTS_ONLY"),
            storage: text("FAULTS_STORAGE"),
            round: seed("FAULTS_ROUND"),
            jobs: number("FAULTS_JOBS").map_or(4, |jobs| jobs as usize),
            keep: text("FAULTS_KEEP").map_or_else(
                || std::env::temp_dir().join(format!("hooks-faults-{}", std::process::id())),
                PathBuf::from,
            ),
        }
    }

    fn wants(&self, fault: &Fault, storage: Storage) -> bool {
        let name = format!("{storage:?}").to_lowercase();
        self.only.as_ref().is_none_or(|only| only.split('+').any(|one| one == fault.name))
            && self.storage.as_ref().is_none_or(|wanted| *wanted == name)
    }
}

/// One round.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<&'static Fault>,
    pub(crate) storage: Storage,
    pub(crate) ack_stored: bool,
    pub(crate) seed: u64,
    pub(crate) brief: bool,
}

impl Plan {
    pub(crate) fn name(&self) -> String {
        self.faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join("+")
    }

    /// The options that repeat exactly this round.
    pub(crate) fn describe(&self) -> String {
        format!(
            "--only {} --storage {} --round {} (ack={})",
            self.name(),
            format!("{:?}", self.storage).to_lowercase(),
            self.seed,
            if self.ack_stored { "stored" } else { "journal" }
        )
    }
}

/// The rounds in order; endless in a long run.
pub(crate) fn plans(settings: &Settings) -> Box<dyn Iterator<Item = Plan> + Send> {
    let mut all = Vec::new();
    for fault in FAULTS {
        for &storage in fault.storages {
            for &ack_stored in fault.ack_stored {
                if settings.wants(fault, storage) {
                    let faults = vec![fault];
                    all.push(Plan { faults, storage, ack_stored, seed: 0, brief: false });
                }
            }
        }
    }
    assert!(!all.is_empty(), "no fault has that name and storage");
    let pair = settings.only.clone().filter(|only| only.contains('+'));
    if let Some(seed) = settings.round {
        let mut plan = all[0].clone();
        if pair.is_some() {
            plan.faults = all.iter().map(|plan| plan.faults[0]).collect();
            plan.faults.dedup_by_key(|fault| fault.name);
        }
        // The lowest bit of the seed selects `ACK`.
        return Box::new(std::iter::once(Plan { seed, ack_stored: seed & 1 == 1, ..plan }));
    }
    let seed = settings.seed;
    if settings.minutes.is_none() {
        // Each fault once; storages and `ACK` values alternate.
        let once = FAULTS.iter().enumerate().filter_map(move |(at, fault)| {
            let of_fault: Vec<&Plan> =
                all.iter().filter(|plan| plan.faults[0].name == fault.name).collect();
            let plan = of_fault.get(at * 3 % of_fault.len().max(1))?;
            Some(Plan { brief: true, ..seeded((*plan).clone(), seed, 0) })
        });
        return Box::new(once.collect::<Vec<_>>().into_iter());
    }
    let alone = settings.only.is_some() && pair.is_none();
    Box::new((0..).flat_map(move |cycle: u64| {
        let mut rng = Rng::new(Rng::derive(seed, cycle));
        let mut plans: Vec<Plan> = if pair.is_some() { Vec::new() } else { all.clone() };
        // Crash points get more rounds: there are some hundreds of them.
        let crashes = all.iter().filter(|plan| plan.faults[0].group == Group::CrashPoint);
        if pair.is_none() {
            plans.extend(crashes.flat_map(|plan| std::iter::repeat_n(plan, 20)).cloned());
        }
        let pairs = if alone { 0 } else { 120 };
        plans.extend((0..pairs).filter_map(|_| {
            let (one, two) = (rng.pick(&all), rng.pick(&all));
            let (a, b) = (one.faults[0], two.faults[0]);
            let fits = a.group != b.group
                && a.pairs
                && b.pairs
                && a.needs.fit(&b.needs)
                && one.storage == two.storage;
            fits.then(|| Plan { faults: vec![a, b], ..one.clone() })
        }));
        rng.shuffle(&mut plans);
        plans
            .into_iter()
            .enumerate()
            .map(move |(at, plan)| seeded(plan, seed, cycle << 16 | at as u64))
    }))
}

fn seeded(plan: Plan, seed: u64, number: u64) -> Plan {
    let derived = Rng::derive(seed, (plan.name(), number));
    Plan { seed: derived & !1 | u64::from(plan.ack_stored), ..plan }
}

//! Rounds of faults until the time is used, several side by side.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::Findings;
use super::report::{Outcome, Report};
use super::rng::Rng;
use super::table::{FAULTS, Fault, Group};
use super::world::{ROLE, Skipped, World};
use crate::harness::{Cluster, Storage};

/// The seed of the short run.
const SEED: u64 = 20_261_123;

/// What the environment asks for (see `scripts/faults`); without it, each fault once.
struct Settings {
    seed: u64,
    /// `None`: the short run.
    minutes: Option<f64>,
    only: Option<String>,
    storage: Option<String>,
    /// Runs one round, that of this seed.
    round: Option<u64>,
    jobs: usize,
    /// Where the directories of failed rounds go.
    keep: PathBuf,
}

impl Settings {
    fn read() -> Self {
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

/// What one round is.
#[derive(Clone)]
struct Plan {
    faults: Vec<&'static Fault>,
    storage: Storage,
    ack_stored: bool,
    seed: u64,
    brief: bool,
}

impl Plan {
    fn name(&self) -> String {
        self.faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join("+")
    }

    /// How to run exactly this round again.
    fn describe(&self) -> String {
        format!(
            "--only {} --storage {} --round {} (ack={})",
            self.name(),
            format!("{:?}", self.storage).to_lowercase(),
            self.seed,
            if self.ack_stored { "stored" } else { "journal" }
        )
    }
}

/// Runs the campaign that the environment asks for, and fails if anything was found.
pub(crate) fn run() {
    let settings = Settings::read();
    let begun = Instant::now();
    let deadline = settings.minutes.map(|minutes| begun + Duration::from_secs_f64(minutes * 60.0));
    let plans = Mutex::new(plans(&settings));
    let report = Mutex::new(Report::new(FAULTS.iter().map(|fault| fault.name.to_owned())));
    eprintln!("faults: seed {}", settings.seed);
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs {
            scope.spawn(|| {
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let plan = plans.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(plan) = plan else { break };
                    let outcome = round(&plan, &settings.keep);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    let found = outcome.findings.describe();
                    if !found.is_empty() {
                        eprintln!("faults: FAILED {}: {found}", plan.describe());
                        report.failures.push(format!("{}: {found}", plan.describe()));
                    }
                    report.add(outcome);
                }
            });
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    eprintln!(
        "\n{}\nseed {}, {:.1} minutes, {} kills",
        report.table(),
        settings.seed,
        begun.elapsed().as_secs_f64() / 60.0,
        report.kills()
    );
    assert!(
        report.failures.is_empty(),
        "seed {}; kept in {}:\n{}",
        settings.seed,
        settings.keep.display(),
        report.failures.join("\n")
    );
}

/// The rounds in their order: without end in the long run.
fn plans(settings: &Settings) -> Box<dyn Iterator<Item = Plan> + Send> {
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
        // The seed's lowest bit is the acknowledgement.
        return Box::new(std::iter::once(Plan { seed, ack_stored: seed & 1 == 1, ..plan }));
    }
    let seed = settings.seed;
    if settings.minutes.is_none() {
        // Each fault once, with every storage and acknowledgement somewhere.
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
        // There are some hundreds of crash points to go through.
        let crashes = all.iter().filter(|plan| plan.faults[0].group == Group::CrashPoint);
        if pair.is_none() {
            plans.extend(crashes.flat_map(|plan| std::iter::repeat_n(plan, 20)).cloned());
        }
        let pairs = if alone { 0 } else { 120 };
        plans.extend((0..pairs).filter_map(|_| {
            let (one, two) = (rng.pick(&all), rng.pick(&all));
            let (a, b) = (one.faults[0], two.faults[0]);
            let fits = a.group != b.group && a.pairs && b.pairs && one.storage == two.storage;
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

/// Runs a round; whatever goes wrong in it is in its outcome.
fn round(plan: &Plan, keep: &Path) -> Outcome {
    let mut outcome = Outcome {
        fault: plan.name(),
        skipped: None,
        kills: 0,
        sent: 0,
        accepted: 0,
        findings: Findings::default(),
        recoveries: Vec::new(),
    };
    let cluster = (plan.storage == Storage::Postgres).then(Clusters::take);
    let mut needs = plan.faults[0].needs;
    for fault in &plan.faults[1..] {
        needs = needs.and(&fault.needs);
    }
    let world = World::new(plan.storage, plan.ack_stored, &needs, cluster.clone());
    let mut world = match world {
        Ok(world) => world,
        Err(Skipped(why)) => {
            outcome.skipped = Some(why);
            return outcome;
        }
    };
    world.brief = plan.brief;
    world.alone = plan.faults.len() == 1;
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| strike(plan, &world, needs.senders)));
    match ran {
        Ok(Ok(findings)) => outcome.findings = findings,
        Ok(Err(Skipped(why))) => outcome.skipped = Some(why),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            outcome.findings.other.push(text.unwrap_or_else(|| "a panic".to_owned()));
        }
    }
    outcome.kills = world.kills();
    outcome.sent = world.ledger.sent_count();
    outcome.accepted = world.ledger.accepted_count();
    outcome.recoveries = world.recoveries();
    if outcome.findings.is_clean() {
        drop(world);
        cluster.into_iter().for_each(Clusters::put_back);
    } else {
        kept(plan, &world, &outcome.findings, keep);
    }
    outcome
}

fn strike(plan: &Plan, world: &World, senders: usize) -> Result<Findings, Skipped> {
    let mut rng = Rng::new(plan.seed);
    world.start_senders(senders, &mut rng);
    let strikes = plan.faults.iter().map(|fault| fault.strikes).min().unwrap_or(1);
    if !plan.faults.iter().any(|fault| fault.needs.cold) {
        world.normal(&mut rng);
    }
    let strikes = if plan.brief { 1 } else { rng.within(1..strikes + 1) };
    for _ in 0..strikes {
        if world.nodes[0].is_started() && senders > 0 {
            world.progress(50);
        }
        let mut rngs: Vec<Rng> = plan.faults.iter().map(|_| Rng::new(rng.next())).collect();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = plan
                .faults
                .iter()
                .zip(&mut rngs)
                .map(|(fault, rng)| scope.spawn(|| (fault.strike)(world, rng)))
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for result in results {
            result?;
        }
        world.recovered(&mut rng);
    }
    Ok(world.check())
}

/// Keeps what a failed round has left.
fn kept(plan: &Plan, world: &World, findings: &Findings, keep: &Path) {
    world.stop_senders();
    let to = keep.join(format!("{}-{:?}-{}", plan.name(), plan.storage, plan.seed));
    let _ = std::fs::create_dir_all(&to);
    let _ =
        Command::new("cp").arg("-a").arg(world.place.directory()).arg(to.join("files")).status();
    let _ = std::fs::write(to.join("ledger.jsonl"), world.ledger.dump(world.begun));
    let text = format!("{}\n{}\n{findings:#?}\n", plan.describe(), findings.describe());
    let _ = std::fs::write(to.join("findings.txt"), text);
    for (number, node) in world.nodes.iter().enumerate() {
        let _ = std::fs::write(to.join(format!("server-{number}.log")), node.log());
    }
    if world.cluster.as_ref().is_some_and(|cluster| cluster.runs()) {
        let stored = std::panic::catch_unwind(AssertUnwindSafe(|| world.stored()));
        let lines = stored.unwrap_or_default().into_iter().map(|event| format!("{event}\n"));
        let _ = std::fs::write(to.join("stored.jsonl"), lines.collect::<String>());
    }
}

/// Clusters that no round uses now: a new one takes a second.
struct Clusters;

static CLUSTERS: Mutex<Vec<Arc<Cluster>>> = Mutex::new(Vec::new());

impl Clusters {
    fn take() -> Arc<Cluster> {
        let unused = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        unused.unwrap_or_else(|| {
            let cluster =
                Cluster::configured(&["fsync=off", "full_page_writes=off"].map(String::from), &[]);
            cluster.start();
            let mut administrator = cluster.try_connect("postgres").expect("PostgreSQL runs");
            let role = format!("CREATE ROLE {ROLE} LOGIN");
            administrator.batch_execute(&role).expect("a role");
            cluster
        })
    }

    fn put_back(cluster: Arc<Cluster>) {
        if cluster.runs() {
            CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner).push(cluster);
        }
    }
}

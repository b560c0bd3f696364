//! Runs rounds of faults, several in parallel, until the time is over.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::Findings;
use super::plan::{Plan, Settings, plans};
use super::report::{Outcome, Report};
use super::rng::Rng;
use super::table::FAULTS;
use super::world::{ROLE, Skipped, World};
use crate::harness::{Cluster, Storage};

/// Runs the campaign as configured by the environment, and fails on any finding.
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
        "seed {}; files saved in {}:\n{}",
        settings.seed,
        settings.keep.display(),
        report.failures.join("\n")
    );
}

/// Runs a round. A panic becomes part of the outcome.
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
        save(plan, &world, &outcome.findings, keep);
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
                .map(|(fault, rng)| scope.spawn(|| fault.strike.run(world, rng)))
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

/// Saves the files, logs and ledger of a failed round.
fn save(plan: &Plan, world: &World, findings: &Findings, keep: &Path) {
    world.stop_senders();
    let to = keep.join(format!("{}-{:?}-{}", plan.name(), plan.storage, plan.seed));
    let _ = std::fs::create_dir_all(&to);
    let _ = Command::new("cp")
        .arg("-a")
        .arg(world.workspace.directory())
        .arg(to.join("files"))
        .status();
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

/// Idle clusters, for reuse by later rounds: a new one takes a second to start.
struct Clusters;

static CLUSTERS: Mutex<Vec<Arc<Cluster>>> = Mutex::new(Vec::new());

impl Clusters {
    fn take() -> Arc<Cluster> {
        let unused = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        unused.unwrap_or_else(|| {
            let cluster =
                Cluster::configured(&["fsync=off", "full_page_writes=off"].map(String::from), &[]);
            cluster.start();
            let mut administrator = cluster.try_connect("postgres").expect("PostgreSQL is running");
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

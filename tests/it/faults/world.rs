//! The system that faults strike: servers, their storage, senders and the ledger.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::events::{self, Habits};
use super::ledger::{Findings, Ledger};
use super::needs::Needs;
use super::node::Node;
use super::proxy::Proxy;
use super::rng::Rng;
use super::senders::{Senders, Targets};
use super::stored::ids;
use crate::harness::eventually::when;
use crate::harness::reaper::SmallDisk;
use crate::harness::workspace::forwarded;
use crate::harness::{Client, Cluster, Storage, Workspace, eventually};

/// The database role of the servers, without special rights.
pub(crate) const ROLE: &str = "hooks";

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) storage: Storage,
    /// Servers run with `ACK=stored`.
    pub(crate) ack_stored: bool,
    /// Short run: each fault strikes once or twice.
    pub(crate) brief: bool,
    /// Only one fault strikes in this round.
    pub(crate) alone: bool,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) begun: Instant,
    kills: AtomicUsize,
    recoveries: Mutex<Vec<Duration>>,
    violations: Mutex<Vec<String>>,
    damaged: Mutex<bool>,
    senders: Mutex<Option<Senders>>,
    targets: Targets,
    habits: Habits,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) workspace: Workspace,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) disk: Option<SmallDisk>,
    pub(crate) tablespace: Option<SmallDisk>,
}

/// A unique loopback address: all of 127.0.0.0/8 is local. A server keeps its address across
/// restarts, and no sender can reach another test's server by mistake.
pub(crate) fn address() -> SocketAddr {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let (high, low) = (64 + (process >> 8) % 128, process & 255);
    format!("127.{high}.{low}.{}:{}", 1 + number % 250, 8100 + number / 250 % 20_000)
        .parse()
        .expect("an address")
}

/// A server of the system, not yet started.
fn node(
    workspace: &Workspace,
    data: PathBuf,
    proxy: Option<&Proxy>,
    ack_stored: bool,
    needs: &Needs,
) -> Node {
    let address = address();
    let mut server = workspace
        .server()
        .set("HOST", address.ip().to_string())
        .set("PORT", address.port().to_string())
        .set("JSONL_PATH", data.join("events.jsonl"))
        .set("JOURNAL_DIR", &data)
        .set("ACK", if ack_stored { "stored" } else { "journal" });
    if let Some(database) = workspace.try_database() {
        let url = proxy.map_or_else(
            || database.url_as(ROLE),
            |proxy| {
                // The proxy must see the protocol messages.
                let (address, name) = (proxy.address, &database.name);
                format!("postgres://{ROLE}@{address}/{name}?sslmode=disable")
            },
        );
        server = server.set("DATABASE_URL", url);
    }
    if needs.tiny {
        server = server.set("JOURNAL_MAX_BYTES", "1MiB").set("JOURNAL_RETENTION", "0s");
    }
    for (variable, value) in needs.environment {
        server = server.set(variable, value);
    }
    Node::new(server, data, address)
}

/// The reason why a fault cannot be injected on this machine.
pub(crate) struct Skipped(pub(crate) String);

impl World {
    pub(crate) fn new(
        storage: Storage,
        ack_stored: bool,
        needs: &Needs,
        cluster: Option<Arc<Cluster>>,
    ) -> Result<Self, Skipped> {
        let mut tablespace = None;
        let workspace = if let Some(cluster) = &cluster {
            let database = cluster.future_database();
            let mut options = format!("OWNER {ROLE}");
            if needs.tablespace {
                let disk = super::database::tablespace(cluster, &database.name)?;
                options = format!("{options} TABLESPACE {}", database.name);
                tablespace = Some(disk);
            }
            database.create_with(&options);
            Workspace::on(database)
        } else {
            Workspace::jsonl()
        };
        let disk = if needs.disk {
            let disk = SmallDisk::mount(workspace.directory().join("disk"), 96 << 20);
            Some(disk.ok_or_else(|| Skipped("mounting is not permitted".to_owned()))?)
        } else {
            None
        };
        let proxy = match &cluster {
            Some(cluster) if needs.proxy => Some(Proxy::start(cluster.socket(), address())),
            _ => None,
        };
        let root = disk.as_ref().map_or(workspace.directory(), |disk| &disk.path);
        let nodes: Vec<Node> = (0..needs.servers)
            .map(|number| {
                let data = root.join(format!("server-{number}"));
                node(&workspace, data, proxy.as_ref(), ack_stored, needs)
            })
            .collect();
        let targets = nodes.iter().map(|node| node.address).collect();
        let world = Self {
            nodes,
            storage,
            ack_stored,
            brief: false,
            alone: true,
            ledger: Arc::default(),
            begun: Instant::now(),
            kills: AtomicUsize::new(0),
            recoveries: Mutex::default(),
            violations: Mutex::default(),
            damaged: Mutex::new(false),
            senders: Mutex::default(),
            targets: Arc::new(RwLock::new(targets)),
            habits: needs.habits,
            proxy,
            workspace,
            cluster,
            disk,
            tablespace,
        };
        if !needs.cold {
            world.nodes.iter().for_each(Node::start);
        }
        Ok(world)
    }

    /// The first server.
    pub(crate) fn node(&self) -> &Node {
        &self.nodes[0]
    }

    /// The cluster; only with postgres storage.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("postgres storage")
    }

    /// Runs statements in the database as its superuser.
    #[track_caller]
    pub(crate) fn sql(&self, statements: &str) {
        self.workspace.database().execute(statements);
    }

    pub(crate) fn start_senders(&self, count: usize, rng: &mut Rng) {
        let names: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
        let senders = Senders::start(&names, self.habits, &self.ledger, &self.targets, rng);
        *self.senders.lock().unwrap_or_else(PoisonError::into_inner) = Some(senders);
    }

    pub(crate) fn stop_senders(&self) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(senders) = senders {
            senders.stop();
        }
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }

    pub(crate) fn habits(&self) -> Habits {
        self.habits
    }

    /// Waits until `events` more events are accepted.
    #[track_caller]
    pub(crate) fn progress(&self, events: usize) {
        let before = self.ledger.accepted_count();
        eventually("events are accepted", || {
            let more = self.ledger.accepted_count() - before;
            if more >= events { Ok(()) } else { Err((more, self.nodes[0].log_tail())) }
        });
    }

    pub(crate) fn count_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }

    /// Kills a server with SIGKILL. With `ACK=stored`, checks that all accepted events are stored.
    pub(crate) fn kill(&self, node: &Node) {
        node.signal(Signal::KILL);
        node.wait();
        self.count_kill();
        let reachable = self.cluster.as_ref().is_some_and(|cluster| cluster.runs());
        if self.ack_stored && self.alone && reachable {
            // They must be stored already, without redelivery from the journal.
            let accepted = self.ledger.accepted_ids();
            let stored: HashSet<String> = ids(&self.stored()).into_iter().collect();
            for id in accepted.difference(&stored) {
                self.violation(format!("{id} was answered 202 with ack=stored and was not stored"));
            }
        }
    }

    /// Records a violation.
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Records that files were damaged on purpose: invalid lines and rejected records are expected.
    pub(crate) fn damaged(&self) {
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Waits until service is normal again, and records how long that took.
    #[track_caller]
    pub(crate) fn recovered(&self, rng: &mut Rng) {
        let begun = Instant::now();
        self.normal(rng);
        self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
    }

    /// Waits until every server stores a new event and reports healthy.
    #[track_caller]
    pub(crate) fn normal(&self, rng: &mut Rng) {
        for node in self.nodes.iter().filter(|node| !node.is_retired()) {
            let sender = format!("probe-{}", rng.next());
            let habits = Habits { untimed: 0, ..self.habits };
            let event = events::make(&habits, rng, &sender, 1);
            self.ledger.sending(std::slice::from_ref(&event));
            let client = Client::with_timeout(node.address, Duration::from_secs(5));
            let headers = [("content-type", "application/json")];
            let body = event.to_string();
            eventually("a new event is stored", || {
                match client.send("POST", "/events?ack=stored", &headers, body.as_bytes()) {
                    Ok(response) if response.status == 202 => Ok(()),
                    other => Err((format!("{other:?}"), node.log_tail())),
                }
            });
            self.ledger.accepted(std::slice::from_ref(&event));
            eventually("the server is healthy", || {
                let health = client.send("GET", "/health", &[], b"");
                let health = health.map_err(|error| error.to_string())?.json();
                when(health, |health| health["status"] == "healthy").map_err(|h| h.to_string())
            });
        }
    }

    pub(crate) fn recoveries(&self) -> Vec<Duration> {
        self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops senders and servers in the orderly way, and compares the ledger with the store.
    pub(crate) fn check(&self) -> Findings {
        self.stop_senders();
        for node in self.nodes.iter().filter(|node| !node.is_retired()) {
            if self.storage == Storage::Postgres {
                node.with(|server| forwarded(server));
            }
            if let Err(status) = node.stop() {
                self.violation(format!("SIGTERM ended with {status}: {}", node.log_tail()));
            }
        }
        let mut findings = self.ledger.check(&self.stored());
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        findings.other.append(&mut violations);
        let rejected = self.rejected();
        if self.is_damaged() {
            findings.excused += rejected.len();
        } else {
            findings.other.extend(rejected.iter().map(|line| format!("rejected: {line}")));
        }
        findings
    }
}

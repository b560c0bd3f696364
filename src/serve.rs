//! The composition root: starts all parts in order of dependency, and stops them in reverse.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Storage};
use crate::event::line;
use crate::file_modes::{self, StorageFiles};
use crate::http::{
    self, Access, App, ConnectionLimits, Drain, Forwarding, IngestState, KeySettings, ReadState,
    Server, Tls,
};
use crate::index::Index;
use crate::journal::{self, Fatal, Journal, OpenJournal, Reader, Rotation, SyncObserver};
use crate::metrics::Metrics;
use crate::postgres::deliver::Forwarder;
use crate::postgres::{Address, Database};
use crate::redact::Redactor;
use crate::rejected::RejectedFile;
use crate::shutdown::{Signals, Stop};
use crate::store::Store;

/// Time for connections to close after the last response, and for an idle forwarder to stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for requests to arrive over connections that were opened just before the listener closed.
const LAST_REQUESTS_TIME: Duration = Duration::from_millis(200);

/// Minimum time for the journal to flush at shutdown. Giving up is an error, which a disk that is
/// merely busy should not cause.
const FLUSH_TIMEOUT_MIN: Duration = Duration::from_secs(30);

/// Runs the server until a signal stops it or a part of it fails.
///
/// # Errors
/// If the server cannot start, or a part of it has failed.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let mut signals = Signals::new().context("signals")?;
    let mut running = Running::start(&config).await?;
    let signal = loop {
        tokio::select! {
            signal = signals.stop.next() => break signal,
            () = signals.reload.next() => running.reload(&config),
            error = running.failed() => {
                running.answer_pending().await;
                return Err(error);
            }
        }
    };
    tracing::info!(%signal, "shutting down; a second signal stops at once");
    let config = &config.http;
    let delay = if signal == Stop::Terminate { config.shutdown_delay } else { Duration::ZERO };
    tokio::select! {
        stopped = running.stop(delay, config.shutdown_timeout) => stopped?,
        signal = signals.stop.next() => bail!("second signal ({signal}): stopped at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// All parts of a running server. A part that ends before shutdown ends the process.
struct Running {
    storage: Storage,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    drain: Drain,
    journal: Journal,
    journal_ended: oneshot::Receiver<Result<(), Fatal>>,
    delivery: Task<watch::Sender<bool>>,
    server: JoinHandle<()>,
}

/// A task and the sender that stops it.
struct Task<S> {
    handle: JoinHandle<()>,
    stop: S,
}

impl Running {
    async fn start(config: &Arc<Config>) -> anyhow::Result<Self> {
        file_modes::limit_new_files(config.storage.file_mode);
        // First everything that fails on a bad setting, so that a failure leaves no files behind.
        let storage = config.check()?;
        let addresses = config.listen.resolve(config.sources.name("HOST"))?;
        let redactor = Redactor::new(&config.redaction.redact).map_err(|error| anyhow!(error))?;
        let tls = load_tls(config)?;
        let keys = load_keys(config)?;
        let metrics = Arc::new(Metrics::new(storage.name())?);

        let paths = StoragePaths::new(config, &storage);
        let opened = open_journal(config, &storage, &paths.journal, &metrics)?;
        let access = open_access(keys, &paths.read_token)?;
        warn_of_exposed_files(&paths.files, config.storage.file_mode);
        let listener = listen(&addresses).await?;
        let address = listener.local_addr()?;
        let rejected = RejectedFile::new(paths.rejected, config.storage.rejected_max_bytes);
        let rejected = Arc::new(rejected);

        let (framing, reader) = (opened.framing(), opened.reader());
        let (journal, journal_ended) =
            opened.start(line::line_key, sync_observer(metrics.clone()))?;
        let delivery = match (&storage, reader) {
            (Storage::Postgres(address), Some(reader)) => {
                Delivery::to_postgres(config, address, reader, &journal, &rejected, &metrics)
            }
            _ => Delivery::to_index(&paths.journal, &journal),
        };

        let drain = Drain::default();
        let app = Arc::new(App {
            config: config.clone(),
            storage: storage.name(),
            metrics: metrics.clone(),
            access: access.clone(),
            files: paths.files.clone(),
            drain: drain.clone(),
            journal: journal.clone(),
            forwarding: delivery.forwarding,
            ingest: IngestState::new(config, framing, redactor, rejected),
            read: ReadState::new(config, delivery.store),
        });
        let limits = connection_limits(config)?;
        let server = Server::new(listener, tls.clone(), limits, drain.clone(), metrics);
        let server = tokio::spawn(server.run(http::router(app)));

        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "listening on {scheme}://{address}, storage {}, writing to {}",
            describe(&storage),
            std::path::absolute(&paths.journal).unwrap_or(paths.journal).display()
        );
        if let Some(file) = access.token_file() {
            let file = file.display();
            tracing::info!(
                "to read events: hooks-backend query, or curl -H '@{file}' {scheme}://{address}/events"
            );
        }
        Ok(Self {
            storage,
            access,
            tls,
            drain,
            journal,
            journal_ended,
            delivery: delivery.task,
            server,
        })
    }

    /// Reloads the API keys, or the read token, and the certificate.
    fn reload(&self, config: &Config) {
        let settings = &config.access;
        if settings.api_keys.is_some() && settings.api_keys_file.is_none() && self.tls.is_none() {
            tracing::info!("SIGHUP ignored: neither API_KEYS_FILE nor TLS_CERT is set");
        }
        self.access.reload();
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Completes when a part ends unexpectedly; returns the reason.
    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.journal_ended => match ended {
                Ok(Err(fatal)) => fatal.into(),
                Ok(Ok(())) => anyhow!("the journal writer ended unexpectedly"),
                Err(_) => anyhow!("the journal writer panicked"),
            },
            ended = &mut self.delivery.handle => anyhow!("the forwarder ended: {ended:?}"),
            ended = &mut self.server => anyhow!("the HTTP server ended: {ended:?}"),
        }
    }

    /// Gives pending requests time for their response, which is an error after a failure.
    async fn answer_pending(self) {
        let answered = async {
            self.drain.drained().await;
            // Fails if the server has panicked.
            let _ = self.server.await;
        };
        // Requests that are not answered by then see their connection close.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, answered).await;
    }

    /// Stops after `delay`: answers the requests in flight, flushes the journal, and lets the forwarder
    /// catch up. Each of the three may take `timeout`; the last two get at least the time that they need
    /// when all is well.
    async fn stop(self, delay: Duration, timeout: Duration) -> anyhow::Result<()> {
        if !delay.is_zero() {
            tracing::info!("not ready; taking requests for another {delay:?} (SHUTDOWN_DELAY)");
            self.drain.leave();
            tokio::time::sleep(delay).await;
            self.drain.stop_listening();
            tokio::time::sleep(LAST_REQUESTS_TIME).await;
        }
        if tokio::time::timeout(timeout, self.drain.drained()).await.is_err() {
            tracing::warn!("some requests did not finish within SHUTDOWN_TIMEOUT");
        }
        self.journal.close().await;
        let flush_timeout = timeout.max(FLUSH_TIMEOUT_MIN);
        match tokio::time::timeout(flush_timeout, self.journal_ended).await {
            Ok(Ok(flushed)) => flushed?,
            Ok(Err(_)) => bail!("the journal writer panicked"),
            Err(_) => bail!("the journal was not flushed within {} s", flush_timeout.as_secs()),
        }
        self.delivery.stop.send_replace(true);
        match tokio::time::timeout(timeout.max(CLOSE_TIMEOUT), self.delivery.handle).await {
            Ok(ended) => ended.context("the forwarder panicked")?,
            Err(_) => match self.storage {
                Storage::Postgres(_) => tracing::warn!(
                    "not all events reached the database within SHUTDOWN_TIMEOUT; they are in the \
                     journal and will be delivered after the next start"
                ),
                Storage::Jsonl => tracing::info!(
                    "the newest events are not indexed yet; they will be after the next start"
                ),
            },
        }
        // Connections that are still open by then have no request that writes.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.server).await;
        Ok(())
    }
}

/// The task that moves events from the journal to the store, and the store to read them from.
struct Delivery {
    task: Task<watch::Sender<bool>>,
    store: Store,
    forwarding: Option<Forwarding>,
}

impl Delivery {
    fn to_postgres(
        config: &Config,
        address: &Address,
        reader: Reader,
        journal: &Journal,
        rejected: &Arc<RejectedFile>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let forwarder = Forwarder::new(
            reader.clone(),
            journal.appended(),
            address.clone(),
            rejected.clone(),
            metrics.clone(),
            stopped,
            config.storage.retention_days,
        );
        let forwarding = Some(Forwarding { status: forwarder.status(), reader });
        let handle = tokio::spawn(forwarder.run());
        let store = Store::Postgres(Database::new(address.clone()));
        Self { task: Task { handle, stop }, store, forwarding }
    }

    fn to_index(file: &Path, journal: &Journal) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (index, handle) = Index::follow(file, journal.appended(), stopped);
        Self { task: Task { handle, stop }, store: Store::Index(index), forwarding: None }
    }
}

/// Paths of the files that a server writes.
struct StoragePaths {
    /// The JSON Lines file, or the directory of segments.
    journal: PathBuf,
    /// `rejected.jsonl`.
    rejected: PathBuf,
    /// The read token of a server without API keys.
    read_token: PathBuf,
    files: StorageFiles,
}

impl StoragePaths {
    fn new(config: &Config, storage: &Storage) -> Self {
        match storage {
            Storage::Jsonl => {
                let file = config.jsonl.path.clone();
                let mut token = file.clone().into_os_string();
                token.push(".token");
                Self {
                    rejected: file.with_file_name("rejected.jsonl"),
                    read_token: token.into(),
                    files: StorageFiles::Jsonl(file.clone()),
                    journal: file,
                }
            }
            Storage::Postgres(_) => {
                let directory = config.journal.dir.clone();
                Self {
                    rejected: directory.join("rejected.jsonl"),
                    read_token: directory.join("token"),
                    files: StorageFiles::Directory(directory.clone()),
                    journal: directory,
                }
            }
        }
    }
}

fn load_tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    let Some((certificate, key)) = config.tls.files() else { return Ok(None) };
    let tls = Tls::new(certificate.into(), key.into()).map_err(|error| anyhow!(error))?;
    Ok(Some(Arc::new(tls)))
}

fn load_keys(config: &Config) -> anyhow::Result<KeySettings> {
    let settings = &config.access;
    let keys = KeySettings::read(settings.api_keys.clone(), settings.api_keys_file.clone());
    keys.map_err(|error| anyhow!(error))
}

fn open_access(keys: KeySettings, token_file: &Path) -> anyhow::Result<Arc<Access>> {
    let access = Access::new(keys, token_file);
    Ok(Arc::new(access.with_context(|| format!("read token {}", token_file.display()))?))
}

/// Existing files keep their modes, which can be intended.
fn warn_of_exposed_files(files: &StorageFiles, mode: u32) {
    match files.exposed(mode) {
        Ok(None) => {}
        Ok(Some(exposed)) => tracing::warn!("{exposed}"),
        Err(error) => tracing::warn!(%error, "cannot check the modes of the files"),
    }
}

fn open_journal(
    config: &Config,
    storage: &Storage,
    path: &Path,
    metrics: &Metrics,
) -> anyhow::Result<OpenJournal> {
    Ok(match storage {
        Storage::Jsonl => {
            let deleted = metrics.retention_deleted.with_label_values(&["file"]);
            let rotation =
                Rotation::new(config.jsonl.rotate, config.storage.retention_days, deleted);
            journal::open_lines(path, rotation)?
        }
        Storage::Postgres(_) => {
            let settings = &config.journal;
            journal::open_segments(path, settings.max_bytes, settings.retention)?
        }
    })
}

async fn listen(addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(addresses).await;
    bound.with_context(|| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("cannot listen on {} (HOST, PORT)", addresses.join(" or "))
    })
}

fn connection_limits(config: &Config) -> anyhow::Result<ConnectionLimits> {
    Ok(ConnectionLimits {
        connections_max: config.limits.max_connections as usize,
        header_bytes_max: usize::try_from(config.limits.max_header_bytes)?,
        headers_max: config.limits.max_headers as usize,
        header_timeout: config.http.header_timeout,
        write_timeout: config.http.body_timeout,
        idle_timeout: config.http.idle_timeout,
    })
}

fn sync_observer(metrics: Arc<Metrics>) -> SyncObserver {
    SyncObserver(Box::new(move |duration, records| {
        metrics.sync_seconds.observe(duration.as_secs_f64());
        metrics.sync_records.observe(records as f64);
    }))
}

/// Describes the storage in the log, without secrets.
fn describe(storage: &Storage) -> String {
    match storage {
        Storage::Jsonl => "jsonl".to_owned(),
        Storage::Postgres(address) => format!("postgres ({address})"),
    }
}

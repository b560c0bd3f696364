//! The server put together: who starts after whom, and who ends before whom.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Storage};
use crate::decode::Firings;
use crate::event::line;
use crate::http::{
    self, Access, App, ConnectionLimits, Drain, Forwarding, InFlight, Rates, Server, Tls,
};
use crate::index::Index;
use crate::journal::{self, Fatal, Journal, OpenJournal, Rotation, SyncObserver};
use crate::metrics::Metrics;
use crate::postgres::Database;
use crate::postgres::deliver::Forwarder;
use crate::redact::Redactor;
use crate::rejected::RejectedFile;
use crate::shutdown::Signals;
use crate::store::Store;

/// How long connections may take to close once every request is answered, and a forwarder that has
/// nothing left to do to notice.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the disk is given for what is queued, at least. Giving up on it is an error, which a disk
/// that is merely busy does not deserve.
const FLUSH_TIMEOUT_MIN: Duration = Duration::from_secs(30);

/// Serves until a signal, or until something fails that must not.
///
/// # Errors
/// If the server cannot start, or had to give up.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let reloads = config.access.api_keys_file.is_some() || config.tls.cert.is_some();
    let mut signals = Signals::new(reloads).context("signals")?;
    let mut running = Running::start(&config).await?;
    loop {
        tokio::select! {
            signal = signals.ending.next() => {
                tracing::info!(signal, "shutting down; a second signal stops at once");
                break;
            }
            () = signals.hangup.next() => running.reload(),
            error = running.failed() => {
                running.tell_waiting().await;
                return Err(error);
            }
        }
    }
    tokio::select! {
        stopped = running.stop(config.http.shutdown_timeout) => stopped?,
        signal = signals.ending.next() => bail!("second signal ({signal}): stopped at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Everything that runs. What dies before its time ends the process.
struct Running {
    storage: Storage,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    drain: Drain,
    journal: Journal,
    journal_ended: oneshot::Receiver<Result<(), Fatal>>,
    /// In `jsonl` storage, what writes the index.
    forwarder: JoinHandle<()>,
    stop_forwarder: watch::Sender<bool>,
    server: JoinHandle<()>,
    stop_server: oneshot::Sender<()>,
}

impl Running {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let storage = config.check()?;
        let redactor = Redactor::new(&config.redaction.redact).map_err(|error| anyhow!(error))?;
        let tls =
            config.tls.files().map(|(certificate, key)| Tls::new(certificate.into(), key.into()));
        let tls = tls.transpose().map_err(|error| anyhow!(error))?.map(Arc::new);
        let metrics = Arc::new(Metrics::new(storage.name())?);
        let place = Place::open(config, &storage, &metrics)?;
        let (host, port) = (config.listen.host, config.listen.port);
        let listener = TcpListener::bind((host, port))
            .await
            .with_context(|| format!("cannot listen on {host}:{port} (HOST, PORT)"))?;
        let address = listener.local_addr()?;
        let rejected =
            Arc::new(RejectedFile::new(place.rejected, config.storage.rejected_max_bytes));

        let (framing, reader) = (place.opened.framing(), place.opened.reader());
        let (journal, journal_ended) =
            place.opened.start(line::line_key, observer(metrics.clone()))?;

        let (stop_forwarder, forwarder_stop) = watch::channel(false);
        let (forwarder, forwarding, store) = if let (Storage::Postgres(database), Some(reader)) =
            (&storage, reader)
        {
            let forwarder = Forwarder::new(
                reader.clone(),
                journal.appended(),
                (**database).clone(),
                rejected.clone(),
                metrics.clone(),
                forwarder_stop,
                config.storage.retention_days,
            );
            let status = forwarder.status();
            let journal_bytes_max = config.journal.max_bytes;
            let forwarding = Forwarding { status, reader, journal_bytes_max };
            let store = Store::Postgres(Database::new((**database).clone()));
            (tokio::spawn(forwarder.run()), Some(forwarding), store)
        } else {
            let (appended, metrics) = (journal.appended(), metrics.clone());
            let (index, follower) = Index::follow(&place.path, appended, metrics, forwarder_stop);
            (follower, None, Store::Index(index))
        };

        let drain = Drain::default();
        let access =
            Access::new(config.access.api_keys.clone(), config.access.api_keys_file.clone());
        let access = Arc::new(access.map_err(|error| anyhow!(error))?);
        let limits = connection_limits(config)?;
        let app = Arc::new(App {
            journal: journal.clone(),
            framing,
            storage: storage.name(),
            forwarding,
            store,
            rejected,
            metrics: metrics.clone(),
            access: access.clone(),
            rates: Rates::new(config.limits.rate_limit_events, config.limits.rate_limit_bytes),
            drain: drain.clone(),
            in_flight: InFlight::new(config.limits.max_inflight_bytes),
            streams: http::streams(),
            parquet_exports: http::parquet_exports(),
            ack: config.http.ack,
            firings: Firings::default(),
            body_bytes_max: usize::try_from(config.limits.max_body_bytes)?,
            batch_events_max: config.limits.max_batch_events as usize,
            depth_max: config.limits.max_depth as usize,
            keeps_key_names: config.access.store_key_name,
            redactor,
            body_timeout: config.http.body_timeout,
            stored_timeout: config.http.stored_timeout,
            header_bytes_max: limits.header_bytes_max,
            headers_max: limits.headers_max,
        });
        let (stop_server, server_stop) = oneshot::channel();
        let server = Server::new(listener, tls.clone(), limits, metrics);
        let server = tokio::spawn(server.run(http::router(app), server_stop));

        let path = std::path::absolute(&place.path).unwrap_or(place.path);
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            "listening on {scheme}://{address}, storage {}, writing to {}",
            describe(&storage),
            path.display()
        );
        Ok(Self {
            storage,
            access,
            tls,
            drain,
            journal,
            journal_ended,
            forwarder,
            stop_forwarder,
            server,
            stop_server,
        })
    }

    /// Reads again what can change while the server runs.
    fn reload(&self) {
        self.access.reload();
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Completes when a part ends that nobody asked to.
    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.journal_ended => match ended {
                Ok(Err(fatal)) => fatal.into(),
                Ok(Ok(())) => anyhow!("the journal's writer ended before its time"),
                Err(_) => anyhow!("the journal's writer has panicked"),
            },
            ended = &mut self.forwarder => anyhow!("the forwarder ended: {ended:?}"),
            ended = &mut self.server => anyhow!("the HTTP server ended: {ended:?}"),
        }
    }

    /// Gives those who wait for an answer the time to get one, which now says that it failed.
    async fn tell_waiting(self) {
        let tell = async {
            self.drain.drained().await;
            // As in `stop`.
            let _ = self.stop_server.send(());
            let _ = self.server.await;
        };
        // Who does not listen by then hears it from the closed connection.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, tell).await;
    }

    /// Answers the requests in flight, then flushes the journal, then lets the forwarder catch up.
    /// Each of the three gets that much time, the last two at least as much as they need when nothing
    /// is wrong. Health and metrics are answered until the end.
    async fn stop(self, timeout: Duration) -> anyhow::Result<()> {
        if tokio::time::timeout(timeout, self.drain.drained()).await.is_err() {
            tracing::warn!("some requests were not finished in time");
        }
        self.journal.close().await;
        let flush_timeout = timeout.max(FLUSH_TIMEOUT_MIN);
        match tokio::time::timeout(flush_timeout, self.journal_ended).await {
            Ok(Ok(flushed)) => flushed?,
            Ok(Err(_)) => bail!("the journal's writer has panicked"),
            Err(_) => bail!("the journal was not flushed within {} s", flush_timeout.as_secs()),
        }
        self.stop_forwarder.send_replace(true);
        match tokio::time::timeout(timeout.max(CLOSE_TIMEOUT), self.forwarder).await {
            Ok(ended) => ended.context("the forwarder has panicked")?,
            Err(_) => match self.storage {
                Storage::Postgres(_) => tracing::warn!(
                    "not all events reached the database in time; they are in the journal and will \
                     be delivered after the next start"
                ),
                Storage::Jsonl => tracing::info!(
                    "the index lacks the newest events; it takes them in after the next start"
                ),
            },
        }
        // A server that is gone already needs no telling.
        let _ = self.stop_server.send(());
        // Whoever still has a connection open now has no request on it.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.server).await;
        Ok(())
    }
}

/// Where a server writes.
struct Place {
    opened: OpenJournal,
    path: PathBuf,
    rejected: PathBuf,
}

impl Place {
    fn open(config: &Config, storage: &Storage, metrics: &Metrics) -> anyhow::Result<Self> {
        Ok(match storage {
            Storage::Jsonl => {
                let path = config.jsonl.path.clone();
                let rejected = path.parent().unwrap_or(Path::new("")).join("rejected.jsonl");
                let deleted = metrics.retention_deleted.with_label_values(&["file"]);
                let rotation =
                    Rotation::new(config.jsonl.rotate, config.storage.retention_days, deleted);
                Self { opened: journal::open_lines(&path, rotation)?, path, rejected }
            }
            Storage::Postgres(_) => {
                let path = config.journal.dir.clone();
                let opened = journal::open_segments(
                    &path,
                    config.journal.max_bytes,
                    config.journal.retention,
                )?;
                Self { opened, rejected: path.join("rejected.jsonl"), path }
            }
        })
    }
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

fn observer(metrics: Arc<Metrics>) -> SyncObserver {
    SyncObserver(Box::new(move |took, records| {
        metrics.sync_seconds.observe(took.as_secs_f64());
        metrics.sync_records.observe(records as f64);
    }))
}

/// The storage in words, without secrets.
fn describe(storage: &Storage) -> String {
    let Storage::Postgres(database) = storage else { return "jsonl".to_owned() };
    format!("postgres ({database})")
}

//! The server put together: who starts after whom, and who ends before whom.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{Config, Storage};
use crate::event;
use crate::forward::Forwarder;
use crate::http::{self, App, Forwarding, InFlight, Server};
use crate::journal::{self, SyncObserver};
use crate::metrics::Metrics;
use crate::rejected::RejectedFile;
use crate::shutdown::Signals;

/// Serves until a signal, or until something fails that must not.
///
/// # Errors
/// If the server cannot start, or had to give up.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("signals")?;
    let storage = config.storage().map_err(|error| anyhow!(error))?;
    let metrics = Arc::new(Metrics::new(storage.name())?);
    let (opened, writes_to) = match &storage {
        Storage::Jsonl => (journal::open_lines(&config.jsonl_path)?, &config.jsonl_path),
        Storage::Postgres(_) => {
            let opened = journal::open_segments(&config.journal_dir, config.journal_max_bytes)?;
            (opened, &config.journal_dir)
        }
    };
    let rejected = Arc::new(RejectedFile::new(match &storage {
        Storage::Jsonl => {
            config.jsonl_path.parent().unwrap_or(Path::new("")).join("rejected.jsonl")
        }
        Storage::Postgres(_) => config.journal_dir.join("rejected.jsonl"),
    }));
    let address = (config.host, config.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {}:{} (HOST, PORT)", config.host, config.port)
    })?;
    let address = listener.local_addr()?;

    let (framing, reader) = (opened.framing(), opened.reader());
    let (journal, mut journal_ended) = {
        let metrics = metrics.clone();
        let observer = move |took: std::time::Duration, records: usize| {
            metrics.sync_seconds.observe(took.as_secs_f64());
            metrics.sync_records.observe(records as f64);
        };
        opened.start(event::line_key, SyncObserver(Box::new(observer)))?
    };
    let (stop_forwarder, forwarder_stop) = watch::channel(false);
    let mut forwarding = None;
    // Without a store there is nothing to forward, and nothing to wait for.
    let mut forwarder = tokio::spawn(std::future::pending());
    if let (Storage::Postgres(database), Some(reader)) = (&storage, reader) {
        let run = Forwarder::new(
            reader.clone(),
            journal.appended(),
            (**database).clone(),
            rejected.clone(),
            metrics.clone(),
            forwarder_stop,
        );
        let journal_bytes_max = config.journal_max_bytes;
        forwarding = Some(Forwarding { status: run.status(), reader, journal_bytes_max });
        forwarder = tokio::spawn(run.run());
    }
    let (drain, draining) = watch::channel(false);
    let forwards = forwarding.is_some();
    let app = Arc::new(App {
        journal: journal.clone(),
        framing,
        storage: storage.name(),
        forwarding,
        rejected,
        metrics,
        draining: draining.clone(),
        in_flight: InFlight::new(config.max_inflight_bytes),
        ack: config.ack,
        body_bytes_max: usize::try_from(config.max_body_bytes)?,
        batch_events_max: config.max_batch_events as usize,
    });
    let mut server = tokio::spawn({
        let mut draining = draining;
        let server = Server::new(listener, config.max_connections);
        let router = http::router(app);
        async move {
            let stop = async {
                // The sender lives as long as this task is waited for.
                let _ = draining.wait_for(|draining| *draining).await;
            };
            server.run(router, stop).await;
        }
    });
    let writes_to = std::path::absolute(writes_to).unwrap_or_else(|_| writes_to.clone());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "listening on http://{address}, storage {}, writing to {}",
        describe(&storage),
        writes_to.display()
    );

    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "shutting down; a second signal stops at once");
        }
        ended = &mut journal_ended => match ended {
            Ok(Err(fatal)) => bail!("{fatal}"),
            Ok(Ok(())) => bail!("the journal's writer ended before its time"),
            Err(_) => bail!("the journal's writer has panicked"),
        },
        ended = &mut forwarder => bail!("the forwarder ended before its time: {ended:?}"),
        ended = &mut server => bail!("the HTTP server ended before its time: {ended:?}"),
    }

    let orderly = async {
        drain.send_replace(true);
        if tokio::time::timeout(config.shutdown_timeout, &mut server).await.is_err() {
            tracing::warn!("some requests were not finished in time");
            server.abort();
        }
        journal.close().await;
        match tokio::time::timeout(config.shutdown_timeout, &mut journal_ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(fatal))) => bail!("{fatal}"),
            Ok(Err(_)) => bail!("the journal's writer has panicked"),
            Err(_) => bail!("the journal was not flushed in time"),
        }
        if forwards {
            stop_forwarder.send_replace(true);
            match tokio::time::timeout(config.shutdown_timeout, &mut forwarder).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => bail!("the forwarder has panicked: {error}"),
                Err(_) => tracing::warn!(
                    "not all events reached the database in time; they are in the journal and will \
                     be delivered after the next start"
                ),
            }
        }
        Ok(())
    };
    tokio::select! {
        result = orderly => result?,
        signal = signals.next() => bail!("second signal ({signal}): stopped at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The storage in words, without secrets.
fn describe(storage: &Storage) -> String {
    let Storage::Postgres(database) = storage else { return "jsonl".to_owned() };
    let hosts: Vec<String> = database
        .get_hosts()
        .iter()
        .map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    format!("postgres ({} on {})", database.get_dbname().unwrap_or("default"), hosts.join(","))
}

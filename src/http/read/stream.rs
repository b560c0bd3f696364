//! `GET /events/stream`: events as they arrive, as Server-Sent Events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::admission::{Admitted, COMPRESSED_BYTES, RESPONSE_BYTES};
use super::encoder::Encoder;
use super::parameter_sets::StreamEvents;
use super::parameters::Parameters;
use super::state::STREAMS_MAX;
use crate::http::App;
use crate::http::access::{EndsByItself, Permission};
use crate::http::openapi::problems::{QueryProblems, StreamProblems};
use crate::http::openapi::schemas::Text;
use crate::http::problem::Problem;
use crate::index;
use crate::postgres::deliver;
use crate::query::{FoundEvent, ReadError, StreamPosition, TailChunk, TailQuery};
use crate::store::Store;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Interval of comments on a stream without events, which keep the connection alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Time that a client has to read a frame before its stream ends.
const TAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of frames that wait for the client; each holds one chunk.
const FRAMES_MAX: usize = 1;

/// Interval of queries for events that other servers accepted.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Minimum time between two queries; events that arrive in between are sent together.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Streams events as they arrive, as Server-Sent Events.
///
/// Begins after the event in `Last-Event-ID` or `after`, else with the next event that arrives. Each
/// message has an `id` and, as `data`, an event. The messages `begin` (first, with the position of the
/// stream) and `end` (last, with the reason as JSON) contain no event. After 15 s without events there is a
/// comment. Compressed with gzip if `Accept-Encoding` prefers it.
#[utoipa::path(
    get,
    path = "/events/stream",
    operation_id = "streamEvents",
    tag = "Events",
    params(
        StreamEvents,
        (
            "Last-Event-ID" = Option<String>,
            Header,
            description = "The id of the last event that the client has seen."
        )
    ),
    responses(
        (
            status = 200,
            description = "A stream of messages.",
            body = Text,
            content_type = "text/event-stream"
        ),
        QueryProblems,
        StreamProblems
    )
)]
pub(in crate::http) async fn stream(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(permission): Extension<Permission>,
    request: Request,
) -> Result<Response, Problem> {
    let store = app.read.store.clone();
    let parameters = Parameters::read(request.uri(), StreamEvents::SET)?;
    let tail = TailQuery { filter: parameters.filter()?, members: parameters.members()? };
    if app.drain.is_draining() {
        return Err(Problem::draining());
    }
    let (encoder, coding) = Encoder::accepted(request.headers(), &["gzip"])?;
    let permit = app.read.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable(format!("the maximum of {STREAMS_MAX} streams are open"), 10)
    })?;
    // `EventSource` sends the header when it reconnects; the parameter serves the first connection.
    let last = request.headers().get("last-event-id").map(|value| value.to_str());
    let bytes = if coding.is_some() { COMPRESSED_BYTES } else { RESPONSE_BYTES };
    let admitted = app.read.admit(&request, bytes)?;
    let position = match (last, parameters.get("after")) {
        (Some(Ok(text)), _) if !text.is_empty() => StreamPosition::new(text),
        (Some(Err(_)), _) => {
            let error = "the header Last-Event-ID is not the id of an event of this stream";
            return Err(Problem::new(StatusCode::GONE, error));
        }
        (_, Some(text)) => StreamPosition::new(text),
        _ => store.newest().await?,
    };
    // An unknown position gets an error status here, before the response begins.
    let first = {
        let _turn = admitted.turn().await?;
        store.tail(&tail, &position).await?
    };
    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
    let (end, ended) = oneshot::channel();
    let feed = Feed { app, store, tail, sender, admitted, _permit: permit };
    tokio::spawn(async move {
        let end_reason = feed.run(position, first).await;
        if let StreamEnd::SlowReader = end_reason {
            tracing::info!(%peer, "stream closed: the client reads too slowly");
        }
        // Fails if the client has disconnected.
        let _ = end.send(end_reason);
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache, no-transform"),
        (VARY, "accept-encoding"),
        // Turns off the buffer of nginx, in which events would wait for more.
        (X_ACCEL_BUFFERING, "no"),
    ];
    let mut response =
        (headers, Body::from_stream(frames(receiver, ended, encoder, permission))).into_response();
    response.extensions_mut().insert(EndsByItself);
    if let Some(coding) = coding {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    Ok(response)
}

/// The reason for the end of a stream.
enum StreamEnd {
    ReaderGone,
    SlowReader,
    Draining,
    AccessRevoked,
    Store(ReadError),
}

impl StreamEnd {
    /// Returns the message `end`. A client that reconnects continues after the last event it received.
    fn frame(self) -> Option<Bytes> {
        let (reason, detail) = match self {
            Self::ReaderGone => return None,
            Self::SlowReader => {
                let seconds = TAKE_TIMEOUT.as_secs();
                ("slow_reader", format!("events were not read for {seconds} s; connect again"))
            }
            Self::Draining => ("shutting_down", "the server is shutting down".to_owned()),
            Self::AccessRevoked => {
                let detail = "the key of this request was removed, or has lost the scope 'read'";
                ("access_revoked", detail.to_owned())
            }
            Self::Store(error) => ("store", error.to_string()),
        };
        let data = serde_json::json!({ "reason": reason, "detail": detail });
        Some(Bytes::from(format!("event: end\ndata: {data}\n\n")))
    }
}

/// Returns the frames, and after them the message `end`. Once the permission is revoked, frames that wait
/// are dropped.
fn frames(
    receiver: mpsc::Receiver<Bytes>,
    ended: oneshot::Receiver<StreamEnd>,
    encoder: Encoder,
    permission: Permission,
) -> impl stream::Stream<Item = io::Result<Bytes>> {
    let state = Some((receiver, ended, encoder, Box::pin(permission.revoked())));
    stream::unfold(state, |state| async move {
        let (mut receiver, mut ended, mut encoder, mut revoked) = state?;
        let next = tokio::select! {
            biased;
            () = &mut revoked => Err(StreamEnd::AccessRevoked),
            frame = receiver.recv() => match frame {
                Some(frame) => Ok(frame),
                None => Err((&mut ended).await.ok()?),
            },
        };
        match next {
            Ok(frame) => {
                // A frame is one chunk, so compressing it takes little time.
                let frame = encoder.encode_and_flush(frame);
                Some((frame, Some((receiver, ended, encoder, revoked))))
            }
            Err(end) => Some((encoder.encode(end.frame()?.into(), true).map(Bytes::from), None)),
        }
    })
}

/// One open stream.
struct Feed {
    app: Arc<App>,
    store: Store,
    tail: TailQuery,
    sender: mpsc::Sender<Bytes>,
    admitted: Admitted,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    async fn run(self, position: StreamPosition, first: TailChunk) -> StreamEnd {
        let draining = self.app.drain.clone();
        tokio::select! {
            end = self.feed(position, first) => end,
            () = draining.started() => StreamEnd::Draining,
        }
    }

    async fn feed(&self, position: StreamPosition, first: TailChunk) -> StreamEnd {
        // Sends the position first, so that a client without an event yet can resume from it.
        let begin = format!("retry: 1000\nid: {position}\nevent: begin\ndata: {{}}\n\n");
        if let Err(end) = self.send(begin.into()).await {
            return end;
        }
        let mut progress = StoreProgress::of(&self.app);
        let mut looked = Instant::now();
        // Queries once more: events may have arrived before `progress` was watched.
        let mut look_at_once = true;
        let mut chunk = first;
        loop {
            if let Err(end) = self.send(frame(&chunk.events)).await {
                return end;
            }
            look_at_once |= chunk.more;
            if !std::mem::take(&mut look_at_once)
                && let Err(end) = self.wait(&mut progress, looked).await
            {
                return end;
            }
            progress.note();
            looked = Instant::now();
            chunk = match self.look(&chunk.reached).await {
                Ok(chunk) => chunk,
                Err(error) => return StreamEnd::Store(error),
            };
        }
    }

    async fn look(&self, after: &StreamPosition) -> Result<TailChunk, ReadError> {
        let _turn = self.admitted.turn().await?;
        self.store.tail(&self.tail, after).await
    }

    /// Waits until there may be more events than at the last query.
    async fn wait(&self, progress: &mut StoreProgress, looked: Instant) -> Result<(), StreamEnd> {
        tokio::time::sleep_until(looked + LOOK_INTERVAL).await;
        tokio::select! {
            () = progress.made() => Ok(()),
            () = self.sender.closed() => Err(StreamEnd::ReaderGone),
            () = tokio::time::sleep(HEARTBEAT) => {
                self.send(Bytes::from_static(b": still here\n\n")).await
            }
        }
    }

    async fn send(&self, frame: Bytes) -> Result<(), StreamEnd> {
        if frame.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout(TAKE_TIMEOUT, self.sender.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StreamEnd::ReaderGone),
            Err(_) => Err(StreamEnd::SlowReader),
        }
    }
}

/// Messages with events.
fn frame(events: &[FoundEvent]) -> Bytes {
    let mut frame = Vec::new();
    for event in events {
        if let Some(position) = &event.position {
            frame.extend_from_slice(format!("id: {position}\ndata: ").as_bytes());
            frame.extend_from_slice(&event.line);
            frame.extend_from_slice(b"\n\n");
        }
    }
    frame.into()
}

/// Watches for events that were stored after it was last noted.
enum StoreProgress {
    Index(watch::Receiver<index::IndexStatus>, u64),
    Forwarder(watch::Receiver<deliver::ForwarderStatus>, u64),
}

impl StoreProgress {
    fn of(app: &App) -> Self {
        match (&app.read.store, &app.forwarding) {
            (Store::Index(index), _) => Self::Index(index.status(), 0),
            (Store::Postgres(_), Some(forwarding)) => Self::Forwarder(forwarding.status.clone(), 0),
            // This program always configures a forwarder with PostgreSQL.
            (Store::Postgres(_), None) => Self::Forwarder(watch::Sender::default().subscribe(), 0),
        }
    }

    fn note(&mut self) {
        match self {
            Self::Index(status, commits) => *commits = status.borrow().commits,
            Self::Forwarder(status, position) => *position = status.borrow().position,
        }
    }

    async fn made(&mut self) {
        match self {
            Self::Index(status, commits) => {
                // The sender is dropped only when the process ends.
                if status.wait_for(|status| status.commits != *commits).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Forwarder(status, position) => {
                let moved = status.wait_for(|status| status.position != *position);
                // Events of other servers do not change the position.
                let _ = tokio::time::timeout(POLL_INTERVAL, moved).await;
            }
        }
    }
}

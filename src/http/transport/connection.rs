//! Timeouts of a connection: for a request head, for an idle connection, and for a client that does
//! not read its response. Hyper has one timeout for the first two, and none for the third or for
//! HTTP/2.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::http::patience::Patience;
use crate::metrics::{Limit, Metrics};

/// The first bytes of every HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A byte stream, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Timeouts of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the first byte of a request head to its last.
    pub(super) head: Duration,
    /// From the end of a request to the first byte of the next.
    pub(super) idle: Duration,
    /// For the client to read a response; see [`Patience`].
    pub(super) write: Duration,
}

/// Counts the requests of a connection: written by its service, read by its stream.
#[derive(Clone, Debug)]
pub(super) struct RequestCounter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    opened_at: Instant,
    started: AtomicU64,
    ended: AtomicU64,
    /// Time of the last end, in milliseconds after `opened_at`.
    ended_ms: AtomicU64,
}

impl RequestCounter {
    /// Creates the counter of a new connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Counts {
            opened_at: Instant::now(),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ended_ms: AtomicU64::new(0),
        }))
    }

    /// Returns the end of the last request; `None` while there are requests in flight.
    fn idle_since(&self) -> Option<Instant> {
        let counts = &*self.0;
        let ended = counts.ended.load(Ordering::Acquire);
        let ended_at = Duration::from_millis(counts.ended_ms.load(Ordering::Acquire));
        (counts.started.load(Ordering::Acquire) == ended).then(|| counts.opened_at + ended_at)
    }

    /// Counts a request whose head has arrived.
    pub(super) fn start(&self) -> RequestInFlight {
        self.0.started.fetch_add(1, Ordering::AcqRel);
        RequestInFlight(self.clone())
    }
}

/// A request in flight; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct RequestInFlight(RequestCounter);

impl RequestInFlight {
    /// Wraps the response body, so that the request ends with it.
    pub(super) fn until_end_of(self, body: Body) -> ResponseBody {
        ResponseBody { body, _request: self }
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let counts = &*self.0.0;
        counts.ended_ms.store(counts.opened_at.elapsed().as_millis() as u64, Ordering::Release);
        counts.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// A response body that keeps its request in flight.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    _request: RequestInFlight,
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// State of a connection, and the time at which it began.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No part of a request has arrived.
    Idle(Instant),
    /// A part of a request head has arrived.
    Head(Instant),
    /// At least one request is in flight; requests have timeouts themselves.
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    /// The bytes received so far, in number, match the HTTP/2 preface.
    Unknown(usize),
    Http1,
    Http2,
}

/// A stream with timeouts. After a timeout, reads return the end of the stream, and writes fail.
pub(super) struct TimedStream {
    io: Box<dyn Io>,
    timeouts: Timeouts,
    requests: RequestCounter,
    metrics: Arc<Metrics>,
    /// The number of requests started when the counter was last read.
    started_seen: u64,
    phase: Phase,
    protocol: Protocol,
    /// Time of the first write that the client did not accept, if the last write is pending.
    stalled_at: Option<Instant>,
    patience: Patience,
    /// Wakes the task at the next deadline or before it: resetting a timer on every read is costly.
    timer: Pin<Box<Sleep>>,
}

impl TimedStream {
    /// Wraps a stream that was just opened.
    pub(super) fn new(
        io: Box<dyn Io>,
        requests: RequestCounter,
        timeouts: Timeouts,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            io,
            timeouts,
            requests,
            metrics,
            started_seen: 0,
            phase: Phase::Idle(now),
            protocol: Protocol::Unknown(0),
            stalled_at: None,
            patience: Patience::new(timeouts.write),
            timer: Box::pin(tokio::time::sleep_until(now + timeouts.idle)),
        }
    }

    /// Updates the phase after requests have started or ended.
    fn update_phase(&mut self) {
        let started = self.requests.0.started.load(Ordering::Acquire);
        match self.requests.idle_since() {
            None => self.phase = Phase::Request,
            Some(since) if started != self.started_seen || self.phase == Phase::Request => {
                self.phase = Phase::Idle(since);
            }
            Some(_) => {}
        }
        self.started_seen = started;
    }

    /// Updates protocol and phase after bytes have arrived.
    fn on_received(&mut self, bytes: &[u8]) {
        if let Protocol::Unknown(matched) = self.protocol {
            let expected = &HTTP2_PREFACE[matched..];
            let common = expected.len().min(bytes.len());
            self.protocol = if bytes[..common] != expected[..common] {
                Protocol::Http1
            } else if common == expected.len() {
                self.phase = Phase::Idle(Instant::now());
                Protocol::Http2
            } else {
                Protocol::Unknown(matched + common)
            };
        }
        // HTTP/2 sends control frames between requests, so there bytes are no sign of a head.
        if matches!(self.phase, Phase::Idle(_)) && self.protocol != Protocol::Http2 {
            self.phase = Phase::Head(Instant::now());
        }
    }

    /// Returns true if the deadline has passed; otherwise the task will be woken at it.
    fn poll_deadline(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }

    /// Applies the write timeout to the result of a write.
    fn check_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if let Some(since) = self.stalled_at.take() {
                self.patience.waited(since.elapsed());
            }
            return written;
        }
        let since = *self.stalled_at.get_or_insert_with(Instant::now);
        if self.poll_deadline(since + self.patience.left(), cx) {
            self.metrics.count_limit(Limit::BodyTimeout);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.update_phase();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buffer) {
            if buffer.filled().len() > before {
                this.on_received(&buffer.filled()[before..]);
            }
            return Poll::Ready(read);
        }
        let deadline = match this.phase {
            Phase::Idle(since) => since + this.timeouts.idle,
            Phase::Head(since) => since + this.timeouts.head,
            // Hyper does not poll again when a request ends, so this polls itself after a while.
            Phase::Request => Instant::now() + this.timeouts.idle,
        };
        if !this.poll_deadline(deadline, cx) {
            return Poll::Pending;
        }
        // Closing an idle connection is not a limit that a client exceeded.
        if matches!(this.phase, Phase::Head(_)) {
            this.metrics.count_limit(Limit::HeaderTimeout);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.check_write(written, cx).map_ok(|bytes| this.patience.has_read(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        this.check_write(written, cx).map_ok(|bytes| this.patience.has_read(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_flush(cx);
        this.check_write(written, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_shutdown(cx);
        this.check_write(written, cx)
    }
}

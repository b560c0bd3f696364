//! A connection's time limits outside of requests: for a head that has begun, for being idle, and for
//! a client that takes nothing of its answer. Hyper has one limit for the first two, and none for the
//! third or for HTTP/2.

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

use crate::metrics::{Limit, Metrics};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A byte stream, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From a head's first byte to its last.
    pub(super) head: Duration,
    /// Between a request's end and the next one's first byte.
    pub(super) idle: Duration,
    /// For taking anything at all of an answer.
    pub(super) write: Duration,
}

/// The requests of a connection, which its service counts and its stream goes by.
#[derive(Clone, Debug)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    opened: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    /// When the last one ended, in milliseconds since `opened`.
    ended_ms: AtomicU64,
}

impl Requests {
    /// None, on a connection that has just been opened.
    pub(super) fn none() -> Self {
        Self(Arc::new(Counts {
            opened: Instant::now(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ended_ms: AtomicU64::new(0),
        }))
    }

    /// Since when there are none; nothing if there are some.
    fn idle_since(&self) -> Option<Instant> {
        let counts = &*self.0;
        let ended = counts.ended.load(Ordering::Acquire);
        let ended_at = Duration::from_millis(counts.ended_ms.load(Ordering::Acquire));
        (counts.begun.load(Ordering::Acquire) == ended).then(|| counts.opened + ended_at)
    }

    /// Counts a request whose head has arrived.
    pub(super) fn begin(&self) -> Begun {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        Begun(self.clone())
    }
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Begun(Requests);

impl Begun {
    /// The request ends with its answer.
    pub(super) fn until_end_of(self, body: Body) -> Answer {
        Answer { body, _begun: self }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let counts = &*self.0.0;
        counts.ended_ms.store(counts.opened.elapsed().as_millis() as u64, Ordering::Release);
        counts.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _begun: Begun,
}

impl hyper::body::Body for Answer {
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

/// What a connection is doing, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing of a request has arrived.
    Idle(Instant),
    /// A part of a head has.
    Head(Instant),
    /// At least one request is being received or answered; that has its own limits.
    Request,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    /// So many bytes of the preface have arrived.
    Unknown(usize),
    Http1,
    Http2,
}

/// A stream that ends when its time is over: for the reader as if the client had closed it, for the
/// writer with an error.
pub(super) struct Timed {
    io: Box<dyn Io>,
    timeouts: Timeouts,
    requests: Requests,
    metrics: Arc<Metrics>,
    /// Requests begun so far, when this was last looked at.
    seen: u64,
    phase: Phase,
    protocol: Protocol,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
    /// Never set later than the next deadline; often earlier, because setting it has a cost.
    alarm: Pin<Box<Sleep>>,
}

impl Timed {
    /// A stream that has just been opened.
    pub(super) fn new(
        io: Box<dyn Io>,
        requests: Requests,
        timeouts: Timeouts,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            io,
            timeouts,
            requests,
            metrics,
            seen: 0,
            phase: Phase::Idle(now),
            protocol: Protocol::Unknown(0),
            stalled: None,
            alarm: Box::pin(tokio::time::sleep_until(now + timeouts.idle)),
        }
    }

    /// Takes note of requests that have begun or ended.
    fn follow_requests(&mut self) {
        let begun = self.requests.0.begun.load(Ordering::Acquire);
        match self.requests.idle_since() {
            None => self.phase = Phase::Request,
            Some(since) if begun != self.seen || self.phase == Phase::Request => {
                self.phase = Phase::Idle(since);
            }
            Some(_) => {}
        }
        self.seen = begun;
    }

    /// Takes note of what has arrived.
    fn received(&mut self, bytes: &[u8]) {
        if let Protocol::Unknown(matched) = self.protocol {
            let expected = &PREFACE[matched..];
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
        // HTTP/2 has much to say between requests, so there a slow head counts as none.
        if matches!(self.phase, Phase::Idle(_)) && self.protocol != Protocol::Http2 {
            self.phase = Phase::Head(Instant::now());
        }
    }

    /// Whether the deadline has passed; if not, the task is woken then.
    fn is_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        if self.alarm.deadline() > deadline {
            self.alarm.as_mut().reset(deadline);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.alarm.as_mut().reset(deadline);
        }
        false
    }

    /// Takes note of whether the client takes what it is sent.
    fn taken<T>(
        &mut self,
        taken: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stalled = None;
            return taken;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if self.is_over(since + self.timeouts.write, cx) {
            self.metrics.count_limit(Limit::BodyTimeout);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow_requests();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buffer) {
            if buffer.filled().len() > before {
                this.received(&buffer.filled()[before..]);
            }
            return Poll::Ready(read);
        }
        let deadline = match this.phase {
            Phase::Idle(since) => since + this.timeouts.idle,
            Phase::Head(since) => since + this.timeouts.head,
            // Hyper does not come back when a request ends, so this must look again by itself.
            Phase::Request => Instant::now() + this.timeouts.idle,
        };
        if !this.is_over(deadline, cx) {
            return Poll::Pending;
        }
        // That an idle connection is closed is nobody's fault.
        if matches!(this.phase, Phase::Head(_)) {
            this.metrics.count_limit(Limit::HeaderTimeout);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.taken(taken, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        this.taken(taken, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_flush(cx);
        this.taken(taken, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.io).poll_shutdown(cx);
        this.taken(taken, cx)
    }
}

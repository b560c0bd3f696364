//! The load generator: one thread, `epoll`, prebuilt requests. It uses as little CPU as possible,
//! because it shares the machine with the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};

use crate::client::is_complete;
use crate::events::{Ids, Template};
use crate::process::{Cpu, Watched};

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Closed loop: each connection sends the next request after the response.
    Closed,
    /// Open loop: this many requests per second. Latency counts from the time a request was due, so
    /// that requests delayed by a stalled server are included (no coordinated omission).
    Open(f64),
}

/// A load to run against a server.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) templates: Vec<Template>,
    pub(crate) seed: u64,
    /// Time before the measurement starts.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Ends the load early after this number of events.
    pub(crate) events_max: usize,
    pub(crate) watched: &'a Watched,
}

/// Result of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Events accepted within the duration, and the bytes of their request bodies.
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) elapsed: Duration,
    /// All accepted events, including those of the warm-up.
    pub(crate) events_all: usize,
    /// In nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// CPU seconds within the duration, of the generator and of the server.
    pub(crate) generator: f64,
    pub(crate) server: f64,
    /// Context switches of the server within the duration.
    pub(crate) switches: u64,
}

impl Outcome {
    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// Latency in milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
}

struct Connection {
    stream: TcpStream,
    /// The request being written, and the number of bytes written.
    writing: Option<(Template, usize)>,
    /// The request in flight: due time, events, body bytes.
    sent: Option<(Instant, usize, usize)>,
    response: Vec<u8>,
}

struct Run<'a> {
    load: &'a Load<'a>,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    free: Vec<usize>,
    templates: Vec<Template>,
    ids: Ids,
    counting: bool,
    sent_events: usize,
    outcome: Outcome,
}

impl Load<'_> {
    /// Runs the load and waits for the last response.
    pub(crate) fn run(&self) -> anyhow::Result<Outcome> {
        // Wake up on time: the default timer slack is 50 microseconds.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut run = Run::new(self)?;
        run.run()?;
        Ok(run.outcome)
    }
}

impl<'a> Run<'a> {
    fn new(load: &'a Load<'a>) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for at in 0..load.connections {
            let stream = TcpStream::connect(load.address).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            connections.push(Connection {
                stream,
                writing: None,
                sent: None,
                response: Vec::new(),
            });
        }
        Ok(Self {
            load,
            epoll,
            free: (0..connections.len()).rev().collect(),
            connections,
            templates: load.templates.clone(),
            ids: Ids::new(load.seed),
            counting: false,
            sent_events: 0,
            outcome: Outcome {
                events: 0,
                bytes: 0,
                elapsed: Duration::ZERO,
                events_all: 0,
                latency: Histogram::new(3)?,
                generator: 0.0,
                server: 0.0,
                switches: 0,
            },
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut begun = Instant::now();
        let mut count_from = begun + self.load.warm_up;
        let mut before = Cpu::default();
        let mut due = begun;
        let mut ready = Vec::with_capacity(256);
        loop {
            let now = Instant::now();
            if !self.counting && now >= count_from {
                self.counting = true;
                (begun, before) = (now, self.load.watched.cpu()?);
                count_from = now;
            }
            let over = self.counting && now - begun >= self.load.duration;
            if over || self.sent_events >= self.load.events_max {
                break;
            }
            let until = self.send_due(&mut due, now)?;
            self.wait(&mut ready, until)?;
        }
        // Responses from here on do not count, but must arrive.
        let counted_until = Instant::now();
        let after = self.load.watched.cpu()?;
        self.outcome.elapsed = counted_until - begun;
        self.outcome.generator = after.own - before.own;
        self.outcome.server = after.watched - before.watched;
        self.outcome.switches = after.switches - before.switches;
        self.counting = false;
        while self.free.len() < self.connections.len() {
            ensure!(
                counted_until.elapsed() < Duration::from_mins(1),
                "no response within a minute"
            );
            self.wait(&mut ready, Some(Duration::from_secs(1)))?;
        }
        Ok(())
    }

    /// Sends the requests that are due; returns the time until the next one.
    fn send_due(&mut self, due: &mut Instant, now: Instant) -> anyhow::Result<Option<Duration>> {
        match self.load.pace {
            Pace::Closed => {
                while let Some(at) = self.free.pop() {
                    self.send(at, now)?;
                }
                Ok(None)
            }
            Pace::Open(rate) => {
                while *due <= now {
                    let Some(at) = self.free.pop() else { return Ok(None) };
                    self.send(at, *due)?;
                    *due += Duration::from_secs_f64(1.0 / rate);
                }
                Ok(Some(*due - now))
            }
        }
    }

    fn send(&mut self, at: usize, due: Instant) -> anyhow::Result<()> {
        let pick = self.ids.below(self.templates.len());
        let mut template = self.templates.swap_remove(pick);
        template.stamp(&mut self.ids);
        self.sent_events += template.events();
        let connection = &mut self.connections[at];
        connection.sent = Some((due, template.events(), template.body_bytes()));
        connection.writing = Some((template, 0));
        self.write(at, false)
    }

    fn write(&mut self, at: usize, resumed: bool) -> anyhow::Result<()> {
        let connection = &mut self.connections[at];
        let Some((template, mut written)) = connection.writing.take() else { return Ok(()) };
        let interest = |flags| {
            let data = epoll::EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &connection.stream, data, flags)
        };
        while written < template.bytes.len() {
            match (&connection.stream).write(&template.bytes[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !resumed {
                        interest(epoll::EventFlags::IN | epoll::EventFlags::OUT)?;
                    }
                    connection.writing = Some((template, written));
                    return Ok(());
                }
                Err(error) => return Err(error).context("write"),
            }
        }
        if resumed {
            interest(epoll::EventFlags::IN)?;
        }
        self.templates.push(template);
        Ok(())
    }

    fn wait(
        &mut self,
        ready: &mut Vec<epoll::Event>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        ready.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(ready), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in ready.iter() {
            let at = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.write(at, true)?;
            }
            if flags.intersects(!epoll::EventFlags::OUT) {
                self.read(at)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[at];
        let mut buffer = [0; 4096];
        let bytes = match (&connection.stream).read(&mut buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read"),
        };
        // Almost every response arrives in one read.
        if connection.response.is_empty() && is_complete(&buffer[..bytes])? {
            return self.responded(at);
        }
        connection.response.extend_from_slice(&buffer[..bytes]);
        if is_complete(&connection.response)? {
            connection.response.clear();
            return self.responded(at);
        }
        Ok(())
    }

    fn responded(&mut self, at: usize) -> anyhow::Result<()> {
        let sent = self.connections[at].sent.take();
        let (due, events, bytes) = sent.context("a response without a request")?;
        self.outcome.events_all += events;
        if self.counting {
            self.outcome.events += events;
            self.outcome.bytes += bytes;
            self.outcome.latency.record(due.elapsed().as_nanos() as u64)?;
        }
        let finished = self.sent_events >= self.load.events_max;
        if matches!(self.load.pace, Pace::Closed) && !finished && !self.is_over() {
            return self.send(at, Instant::now());
        }
        self.free.push(at);
        Ok(())
    }

    /// True while only the last responses are outstanding.
    fn is_over(&self) -> bool {
        !self.counting && self.outcome.elapsed > Duration::ZERO
    }
}

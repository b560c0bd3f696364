//! The load: one thread, `epoll`, prebuilt requests; as cheap as it gets, since it shares the
//! machine with what it measures.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};

use crate::client::is_whole;
use crate::events::{Ids, Template};
use crate::process::{Cpu, Watched};

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next as soon as the last is answered, on every connection.
    Closed,
    /// So many a second, come what may. Latency counts from when a request was due, so that a
    /// server that stalls cannot hide those that wait for it.
    Open(f64),
}

/// A load to be put on a server.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) templates: Vec<Template>,
    pub(crate) seed: u64,
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Ends the load early, once so many events have been sent.
    pub(crate) events_max: usize,
    pub(crate) watched: &'a Watched,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Events answered within the duration, and the bytes of their bodies.
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) elapsed: Duration,
    /// All events that were answered 202, those of the warm-up too.
    pub(crate) events_all: usize,
    /// Nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Processor time within the duration: the generator's and the server's.
    pub(crate) generator: f64,
    pub(crate) server: f64,
    /// What happens within the duration on the server's side, counted by the kernel.
    pub(crate) switches: u64,
}

impl Outcome {
    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
}

struct Connection {
    stream: TcpStream,
    /// The request that is being written, and how much of it is.
    writing: Option<(Template, usize)>,
    /// The request in flight: when it was due, its events, its bytes.
    sent: Option<(Instant, usize, usize)>,
    answer: Vec<u8>,
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
    /// Puts the load on, and waits for the last answer.
    pub(crate) fn run(&self) -> anyhow::Result<Outcome> {
        // Wake-ups at the microsecond that was asked for, not up to 50 later.
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
            connections.push(Connection { stream, writing: None, sent: None, answer: Vec::new() });
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
        // What is answered from here on does not count, but must be answered.
        let answered = Instant::now();
        let after = self.load.watched.cpu()?;
        self.outcome.elapsed = answered - begun;
        self.outcome.generator = after.own - before.own;
        self.outcome.server = after.watched - before.watched;
        self.outcome.switches = after.switches - before.switches;
        self.counting = false;
        while self.free.len() < self.connections.len() {
            ensure!(answered.elapsed() < Duration::from_mins(1), "no answer within a minute");
            self.wait(&mut ready, Some(Duration::from_secs(1)))?;
        }
        Ok(())
    }

    /// Sends what is due; returns how long there is nothing to send for.
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
        let mut part = [0; 4096];
        let bytes = match (&connection.stream).read(&mut part) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read"),
        };
        // Answers come whole, in one part, but for the odd one.
        if connection.answer.is_empty() && is_whole(&part[..bytes])? {
            return self.answered(at);
        }
        connection.answer.extend_from_slice(&part[..bytes]);
        if is_whole(&connection.answer)? {
            connection.answer.clear();
            return self.answered(at);
        }
        Ok(())
    }

    fn answered(&mut self, at: usize) -> anyhow::Result<()> {
        let sent = self.connections[at].sent.take();
        let (due, events, bytes) = sent.context("an answer to nothing")?;
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

    /// Whether only the last answers are still waited for.
    fn is_over(&self) -> bool {
        !self.counting && self.outcome.elapsed > Duration::ZERO
    }
}

//! A proxy in front of PostgreSQL that parses just enough of the protocol to cut a connection at the
//! worst moments.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::rng::Rng;

/// Behavior of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Cuts a connection after the client has sent at most that many more bytes.
    CutWithin(u64),
    /// Cuts a connection after a commit, before the client receives the response, with that
    /// probability in percent.
    LoseCommit(u64),
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: PathBuf,
    mode: Mutex<(Mode, Rng)>,
    cuts: AtomicUsize,
    ended: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(upstream: PathBuf, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("an unused address");
        let mode = Mutex::new((Mode::Pass, Rng::new(0)));
        let (cuts, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let state = Arc::new(State { upstream, mode, cuts, ended });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                // If PostgreSQL is down, dropping `client` closes the connection.
                if let Ok(server) = UnixStream::connect(&shared.upstream) {
                    Pair::join(client, server, &shared);
                }
            }
        });
        Self { address, state }
    }

    pub(crate) fn set(&self, mode: Mode, rng: &mut Rng) {
        let mut now = self.state.mode.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (mode, Rng::new(rng.next()));
    }

    /// Number of connections cut.
    pub(crate) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// A client connection and its upstream connection.
struct Pair {
    client: TcpStream,
    server: UnixStream,
    /// Bytes that the client may still send; `u64::MAX` for no limit.
    left: AtomicU64,
    state: Arc<State>,
}

impl Pair {
    fn join(client: TcpStream, server: UnixStream, state: &Arc<State>) {
        let _ = client.set_nodelay(true);
        let left = AtomicU64::new(u64::MAX);
        let up = Arc::new(Self { client, server, left, state: state.clone() });
        let down = up.clone();
        std::thread::spawn(move || up.upwards());
        std::thread::spawn(move || down.downwards());
    }

    fn close(&self) {
        // Fails only for a side that is already closed.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
        self.close();
    }

    fn decide<T>(&self, decide: impl FnOnce(Mode, &mut Rng) -> T) -> T {
        let mut mode = self.state.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let (mode, rng) = &mut *mode;
        decide(*mode, rng)
    }

    fn upwards(&self) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = (&self.client).read(&mut buffer).unwrap_or(0);
            let left = self.decide(|mode, rng| match mode {
                Mode::CutWithin(bytes) => {
                    let left = self.left.load(Ordering::SeqCst);
                    let left = if left == u64::MAX { rng.within(1..bytes) } else { left };
                    self.left.store(left.saturating_sub(read as u64), Ordering::SeqCst);
                    left
                }
                Mode::Pass | Mode::LoseCommit(_) => {
                    self.left.store(u64::MAX, Ordering::SeqCst);
                    u64::MAX
                }
            });
            let part = &buffer[..read.min(usize::try_from(left).unwrap_or(usize::MAX))];
            let sent = (&self.server).write_all(part);
            if read as u64 > left {
                return self.cut();
            }
            if read == 0 || sent.is_err() {
                return self.close();
            }
        }
    }

    /// Forwards messages of PostgreSQL: a type byte, a length that includes itself, and the body.
    fn downwards(&self) {
        let mut head = [0; 5];
        loop {
            if (&self.server).read_exact(&mut head).is_err() {
                return self.close();
            }
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut message = head.to_vec();
            message.resize(1 + length, 0);
            if (&self.server).read_exact(&mut message[5..]).is_err() {
                return self.close();
            }
            let committed = message[0] == b'C' && message[5..] == *b"COMMIT\0";
            let lose = committed
                && self.decide(|mode, rng| match mode {
                    Mode::LoseCommit(chance) => rng.percent(chance),
                    Mode::Pass | Mode::CutWithin(_) => false,
                });
            if lose {
                return self.cut();
            }
            if (&self.client).write_all(&message).is_err() {
                return self.close();
            }
        }
    }
}

//! Prebuilt requests, in which only ids and times are replaced before sending.

use agentic_hooks_backend::event::Timestamp;

/// Length of a UUID in text form.
const ID_BYTES: usize = 36;
/// Length of `2026-11-23T09:00:00.123456Z`.
const TIME_BYTES: usize = 27;

/// Number of open sessions, and of events after which one of them is replaced.
const SESSIONS: usize = 200;
const SESSION_EVENTS: u64 = 500;

/// Number of prebuilt requests with events of different sizes.
const REAL_TEMPLATES: usize = 512;

/// Size and content of the events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// 350 bytes: a tool call, as in the README.
    Small,
    /// Sizes as sent by coding agents: `data` has a median of 2 KB, 34 KB at p90, 277 KB at p99.
    Real,
    /// 2 KB, the median of `Real`. Every fourth event contains a URL, every fiftieth a token.
    Typical,
}

/// Deterministic pseudo-random numbers (`splitmix64`).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Generates event ids, session ids and timestamps.
#[derive(Debug)]
pub(crate) struct Ids {
    numbers: Numbers,
    sessions: Vec<[u8; ID_BYTES]>,
    events: u64,
    second: i64,
    time: [u8; TIME_BYTES],
}

impl Ids {
    /// Different seeds give different ids.
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let sessions = (0..SESSIONS).map(|_| uuid(&mut numbers)).collect();
        Self { numbers, sessions, events: 0, second: 0, time: [0; TIME_BYTES] }
    }

    pub(crate) fn event(&mut self) -> [u8; ID_BYTES] {
        uuid(&mut self.numbers)
    }

    pub(crate) fn session(&mut self) -> [u8; ID_BYTES] {
        self.events += 1;
        let at = self.numbers.below(SESSIONS);
        if self.events.is_multiple_of(SESSION_EVENTS) {
            self.sessions[at] = uuid(&mut self.numbers);
        }
        self.sessions[at]
    }

    /// A random number less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.numbers.below(end)
    }

    /// Sets `time` to the current time.
    fn update_time(&mut self) {
        let now = Timestamp::now().micros();
        let second = now.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            let text = Timestamp::from_micros(now).map(|time| time.to_string());
            self.time.copy_from_slice(text.unwrap_or_default().as_bytes());
        }
        let mut micros = now.rem_euclid(1_000_000);
        for digit in self.time[20..26].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
    }
}

fn uuid(numbers: &mut Numbers) -> [u8; ID_BYTES] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = *b"00000000-0000-4000-8000-000000000000";
    let mut bits = u128::from(numbers.next()) << 64 | u128::from(numbers.next());
    for (at, digit) in id.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 14 | 18 | 23) {
            *digit = HEX[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    id
}

/// One prebuilt HTTP request.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    pub(crate) body_start: usize,
    /// Offsets of the session id, event id and timestamp of each event.
    offsets: Vec<[usize; 3]>,
}

impl Template {
    /// Number of events in the request.
    pub(crate) fn events(&self) -> usize {
        self.offsets.len()
    }

    /// Length of the body.
    pub(crate) fn body_bytes(&self) -> usize {
        self.bytes.len() - self.body_start
    }

    /// Writes new ids and the current time into the request.
    pub(crate) fn stamp(&mut self, ids: &mut Ids) {
        ids.update_time();
        for &[session, id, time] in &self.offsets {
            self.bytes[session..session + ID_BYTES].copy_from_slice(&ids.session());
            self.bytes[id..id + ID_BYTES].copy_from_slice(&ids.event());
            self.bytes[time..time + TIME_BYTES].copy_from_slice(&ids.time);
        }
    }
}

/// The requests of a load, with `batch` events each; 0 means single events to `/events`.
pub(crate) fn templates(shape: Shape, batch: usize) -> Vec<Template> {
    let mut numbers = Numbers(1);
    let count = if shape == Shape::Real { REAL_TEMPLATES } else { 64 };
    let size = |at: usize| real_bytes((at as f64 + 0.5) / REAL_TEMPLATES as f64);
    (0..count)
        .map(|at| {
            let events: Vec<String> = (0..batch.max(1))
                .map(|of| match shape {
                    Shape::Small => small(&mut numbers),
                    Shape::Typical => typical(at * batch + of, &mut numbers),
                    // Any 512 consecutive events have each size once.
                    Shape::Real => real(size((at + of * 37) % REAL_TEMPLATES), &mut numbers),
                })
                .collect();
            request(&events, batch)
        })
        .collect()
}

fn request(events: &[String], batch: usize) -> Template {
    let (path, body) = match batch {
        0 => ("/events", events[0].clone()),
        _ => ("/events/batch", format!("[{}]", events.join(","))),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: agent/1.0\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let bytes = format!("{head}{body}").into_bytes();
    let all = |mark: &[u8]| -> Vec<usize> { memchr::memmem::find_iter(&bytes, mark).collect() };
    let offsets = all(SESSION_MARK.as_bytes())
        .into_iter()
        .zip(all(EVENT_MARK.as_bytes()))
        .zip(all(TIME_MARK.as_bytes()))
        .map(|((session, id), time)| [session, id, time])
        .collect();
    Template { body_start: head.len(), bytes, offsets }
}

const SESSION_MARK: &str = "SSSSSSSS-SSSS-SSSS-SSSS-SSSSSSSSSSSS";
const EVENT_MARK: &str = "EEEEEEEE-EEEE-EEEE-EEEE-EEEEEEEEEEEE";
const TIME_MARK: &str = "TTTTTTTTTTTTTTTTTTTTTTTTTTT";

const TOOLS: [&str; 6] = ["Bash", "Edit", "Read", "Grep", "Write", "WebFetch"];

fn small(numbers: &mut Numbers) -> String {
    format!(
        "{{\"event_type\":\"tool_execution_completed\",\"session_id\":\"{SESSION_MARK}\",\
         \"event_id\":\"{EVENT_MARK}\",\"workflow_id\":\"workflow-{}\",\
         \"timestamp\":\"{TIME_MARK}\",\"data\":{}}}",
        numbers.below(100),
        small_data(numbers)
    )
}

/// The `data` of a small event.
pub(crate) fn small_data(numbers: &mut Numbers) -> String {
    format!(
        "{{\"tool_name\":\"{}\",\"tool_use_id\":\"toolu_{:016x}\",\"duration_ms\":{},\
         \"success\":true,\"cwd\":\"/home/dev/project\"}}",
        TOOLS[numbers.below(TOOLS.len())],
        numbers.next(),
        numbers.below(5000)
    )
}

/// Size of `data` at a quantile: linear interpolation between known quantiles on a logarithmic scale.
fn real_bytes(quantile: f64) -> usize {
    const QUANTILES: [(f64, f64); 5] =
        [(0.0, 150.0), (0.5, 2e3), (0.9, 34e3), (0.99, 277e3), (1.0, 1e6)];
    let above = QUANTILES.iter().position(|&(q, _)| q >= quantile).unwrap_or(4).max(1);
    let ((q0, low), (q1, high)) = (QUANTILES[above - 1], QUANTILES[above]);
    let part = (quantile - q0) / (q1 - q0);
    (low.ln() + part * (high.ln() - low.ln())).exp() as usize
}

fn typical(number: usize, numbers: &mut Numbers) -> String {
    let event = real(2000, numbers);
    let with = |text: &str| event.replacen("return", text, 1);
    match number {
        number if number.is_multiple_of(50) => with(&format!("ghp_{}", "0aB1".repeat(9))),
        number if number.is_multiple_of(4) => with("https://docs.example.org/page?of=1"),
        _ => event,
    }
}

/// An event with about `bytes` bytes of `data`. Half of them have the white space of Python's
/// `json.dumps`, the others that of `JSON.stringify`.
fn real(bytes: usize, numbers: &mut Numbers) -> String {
    let (comma, colon) = if numbers.below(2) == 0 { (", ", ": ") } else { (",", ":") };
    let text = |bytes: usize, numbers: &mut Numbers| -> String {
        const WORDS: [&str; 12] = [
            "let",
            "result",
            "self.connection",
            "=",
            "->",
            "0.125",
            "\\\"name\\\"",
            "\\n    ",
            "\\t//",
            "überprüft",
            "Err(error)",
            "return",
        ];
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            text.push_str(WORDS[numbers.below(WORDS.len())]);
            text.push(' ');
        }
        text
    };
    let (input, output) = (text(bytes / 5, numbers), text(bytes * 4 / 5, numbers));
    let data = [
        "\"hook_event_name\"@\"PostToolUse\"".to_owned(),
        format!("\"tool_name\"@\"{}\"", TOOLS[numbers.below(TOOLS.len())]),
        format!("\"tool_use_id\"@\"toolu_{:016x}\"", numbers.next()),
        format!("\"tool_input\"@{{\"file_path\"@\"/home/dev/project/src/main.rs\"#\"text\"@\"{input}\"}}"),
        format!("\"tool_response\"@{{\"stdout\"@\"{output}\"#\"lines\"@[1#2#3]#\"interrupted\"@false}}"),
        format!("\"duration_ms\"@{}", numbers.below(5000)),
    ]
    .join("#")
    .replace('@', colon)
    .replace('#', comma);
    format!(
        "{{\"event_id\"{colon}\"{EVENT_MARK}\"{comma}\"event_type\"{colon}\"tool_execution_completed\"{comma}\
         \"session_id\"{colon}\"{SESSION_MARK}\"{comma}\"timestamp\"{colon}\"{TIME_MARK}\"{comma}\
         \"data\"{colon}{{{data}}}}}"
    )
}

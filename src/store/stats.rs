//! What happened in a time: events by time and type, and how long tools took.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::Store;
use crate::event::Timestamp;
use crate::query::answer::ReadError;
use crate::query::{Cell, Filter, Kind, Statement};

/// Most events that one answer is made of: the newest.
const STATS_EVENTS_MAX: usize = 1_000_000;

/// Most types and tools that are told apart; what comes beyond them goes together.
const NAMES_MAX: usize = 200;
const OTHERS: &str = "(others)";

/// What happened in a time.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// How many events there were.
    pub events: usize,
    /// Whether there were more, older ones, which are left out.
    pub truncated: bool,
    /// Events by time: the buckets that have any, oldest first.
    pub buckets: Vec<StatsBucket>,
    /// What models used in all of it.
    #[serde(flatten)]
    pub usage: Usage,
    /// Tools, those with the most uses first.
    pub tools: Vec<ToolStats>,
}

/// What models used, where events tell.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq)]
pub struct Usage {
    /// Tokens that they read.
    pub input_tokens: i64,
    /// Tokens that they wrote.
    pub output_tokens: i64,
    /// What that cost, in US dollars, to the billionth.
    pub cost_usd: f64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd += other.cost_usd;
    }

    /// Without what adding binary fractions leaves behind.
    fn rounded(self) -> Self {
        Self { cost_usd: (self.cost_usd * 1e9).round() / 1e9, ..self }
    }
}

/// The events of some time.
#[derive(Clone, Debug, Serialize)]
pub struct StatsBucket {
    /// When it begins: RFC 3339.
    pub start: String,
    /// How many events it has.
    pub events: usize,
    /// How many of each type.
    pub types: BTreeMap<String, usize>,
    /// What models used in it.
    #[serde(flatten)]
    pub usage: Usage,
}

/// A tool's figures.
#[derive(Clone, Debug, Serialize)]
pub struct ToolStats {
    /// Its name.
    pub tool_name: String,
    /// How often it ended well or failed.
    pub uses: usize,
    /// How often it failed.
    pub failures: usize,
    /// How often it was not allowed.
    pub blocked: usize,
    /// How long it ran, by what its agent says (`duration_ms`); without waiting for permission.
    pub execution_ms: Option<Distribution>,
    /// From `tool_execution_started` to its end, paired by `tool_use_id`: running and waiting.
    pub elapsed_ms: Option<Distribution>,
}

/// How a figure is distributed: percentiles by the nearest rank.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Distribution {
    /// How many values there are.
    pub count: usize,
    /// Half of them are not larger.
    pub p50: f64,
    /// 95 in 100 are not larger.
    pub p95: f64,
    /// 99 in 100 are not larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Distribution {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let max = *values.last()?;
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { count: values.len(), p50: rank(50), p95: rank(95), p99: rank(99), max })
    }
}

/// What is counted while rows come.
struct Counting {
    bucket_micros: i64,
    events: usize,
    buckets: BTreeMap<i64, Bucket>,
    types: HashSet<String>,
    tools: HashMap<String, Tool>,
    started: HashMap<(String, String), i64>,
    ended: HashMap<(String, String), (String, i64)>,
}

#[derive(Default)]
struct Bucket {
    types: BTreeMap<String, usize>,
    usage: Usage,
}

#[derive(Default)]
struct Tool {
    uses: usize,
    failures: usize,
    blocked: usize,
    execution_ms: Vec<f64>,
    elapsed_ms: Vec<f64>,
}

/// The name, if it is one of the first; else one that stands for all others.
fn limited(name: &str, is_known: bool, known: usize) -> String {
    let fits = is_known || known < NAMES_MAX;
    if fits { name } else { OTHERS }.to_owned()
}

impl Counting {
    fn add(&mut self, row: &[Cell]) {
        let (Some(time), Some(event_type)) = (row[0].time(), row[1].text()) else { return };
        self.events += 1;
        if self.events > STATS_EVENTS_MAX {
            return;
        }
        let name = limited(event_type, self.types.contains(event_type), self.types.len());
        if !self.types.contains(&name) {
            self.types.insert(name.clone());
        }
        let bucket = time.micros().div_euclid(self.bucket_micros);
        let bucket = self.buckets.entry(bucket).or_default();
        *bucket.types.entry(name).or_default() += 1;
        bucket.usage.add(Usage {
            input_tokens: row[6].number(),
            output_tokens: row[7].number(),
            cost_usd: row[8].float().unwrap_or_default(),
        });

        let Some(tool_name) = row[2].text() else { return };
        let use_of = || Some((row[5].text()?.to_owned(), row[3].text()?.to_owned()));
        let (is_end, is_failure) = match event_type {
            "tool_execution_started" => {
                self.started.extend(use_of().map(|key| (key, time.micros())));
                return;
            }
            "tool_execution_completed" => (true, false),
            "tool_execution_failed" => (true, true),
            "tool_blocked" => (false, false),
            _ => return,
        };
        let name = limited(tool_name, self.tools.contains_key(tool_name), self.tools.len());
        let tool = self.tools.entry(name.clone()).or_default();
        tool.blocked += usize::from(!is_end);
        if is_end {
            tool.uses += 1;
            tool.failures += usize::from(is_failure);
            tool.execution_ms.extend(row[4].float());
            self.ended.extend(use_of().map(|key| (key, (name, time.micros()))));
        }
    }

    fn finish(mut self) -> Stats {
        for (key, (name, ended)) in self.ended {
            let elapsed = self.started.get(&key).map(|started| (ended - started) as f64 / 1000.0);
            if let Some(tool) = self.tools.get_mut(&name) {
                // An end before its start is a clock's fault.
                tool.elapsed_ms.extend(elapsed.filter(|elapsed| *elapsed >= 0.0));
            }
        }
        let mut usage = Usage::default();
        let buckets = self.buckets.into_iter().map(|(bucket, Bucket { types, usage: used })| {
            usage.add(used);
            StatsBucket {
                start: Timestamp::from_micros(bucket * self.bucket_micros)
                    .unwrap_or(Timestamp::MIN)
                    .to_string(),
                events: types.values().sum(),
                types,
                usage: used.rounded(),
            }
        });
        let buckets = buckets.collect();
        let tools = self.tools.into_iter().map(|(tool_name, tool)| ToolStats {
            tool_name,
            uses: tool.uses,
            failures: tool.failures,
            blocked: tool.blocked,
            execution_ms: Distribution::of(tool.execution_ms),
            elapsed_ms: Distribution::of(tool.elapsed_ms),
        });
        let mut tools: Vec<_> = tools.collect();
        tools.sort_by(|a, b| (b.uses, &a.tool_name).cmp(&(a.uses, &b.tool_name)));
        Stats {
            events: self.events.min(STATS_EVENTS_MAX),
            truncated: self.events > STATS_EVENTS_MAX,
            buckets,
            usage: usage.rounded(),
            tools,
        }
    }
}

/// What [`Store::stats`] selects.
const KINDS: [Kind; 9] = [
    Kind::Time,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Float,
    Kind::Text,
    Kind::Number,
    Kind::Number,
    Kind::Float,
];

impl Store {
    /// What happened among the events that a filter lets through, in buckets of that many seconds.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn stats(&self, filter: &Filter, bucket_seconds: i64) -> Result<Stats, ReadError> {
        let mut select = Statement::new(
            "SELECT \"timestamp\", event_type, tool_name, tool_use_id, duration_ms, session_id, \
             input_tokens, output_tokens, cost_usd FROM hook_events",
        );
        select.filter(filter);
        select.push(&format!(" ORDER BY \"timestamp\" DESC LIMIT {}", STATS_EVENTS_MAX + 1), []);
        let counting = Counting {
            bucket_micros: bucket_seconds * 1_000_000,
            events: 0,
            buckets: BTreeMap::new(),
            types: HashSet::new(),
            tools: HashMap::new(),
            started: HashMap::new(),
            ended: HashMap::new(),
        };
        let counting = self.fold(select, &KINDS, counting, Counting::add).await?;
        // Sorts what may be a million figures.
        tokio::task::spawn_blocking(|| counting.finish())
            .await
            .map_err(|error| ReadError::Failed(format!("the figures: {error}")))
    }
}

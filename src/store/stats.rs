//! Statistics of a time range: events by time and type, tokens and cost, and durations of tools.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::Store;
use crate::event::Timestamp;
use crate::query::{Filter, Order, ReadError, Select, output_row};

/// Maximum number of events, the newest ones, that statistics are computed from.
const STATS_EVENTS_MAX: usize = 1_000_000;

/// Maximum number of event types, and of tools, with separate figures. The others share one entry.
const NAMES_MAX: usize = 200;
const OTHERS: &str = "(others)";

/// Statistics of the events that match a filter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// Number of events.
    pub events: usize,
    /// Whether older events were left out because there were too many.
    pub truncated: bool,
    /// Events by time: the buckets that have any, in ascending order.
    pub buckets: Vec<StatsBucket>,
    /// Tokens and cost in all buckets.
    #[serde(flatten)]
    pub usage: Usage,
    /// Tools, in descending order of uses.
    pub tools: Vec<ToolStats>,
}

/// Tokens and cost of models, as far as events report them.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, ToSchema)]
pub struct Usage {
    /// Tokens that models read, from a cache or not.
    pub input_tokens: i64,
    /// Tokens that models wrote, reasoning included.
    pub output_tokens: i64,
    /// Cost in US dollars, rounded to the billionth.
    pub cost_usd: f64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd += other.cost_usd;
    }

    /// Removes the rounding errors of the sum.
    fn rounded(self) -> Self {
        Self { cost_usd: (self.cost_usd * 1e9).round() / 1e9, ..self }
    }
}

/// The events of one bucket of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatsBucket {
    /// Start of the bucket, as RFC 3339.
    #[schema(format = DateTime)]
    pub start: String,
    /// Number of events.
    pub events: usize,
    /// Number of events of each type.
    pub types: BTreeMap<String, usize>,
    /// Tokens and cost in this bucket.
    #[serde(flatten)]
    pub usage: Usage,
}

/// Statistics of a tool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ToolStats {
    /// The tool's name.
    pub tool_name: String,
    /// Number of uses that completed or failed.
    pub uses: usize,
    /// Number of uses that failed.
    pub failures: usize,
    /// Number of uses that were blocked.
    pub blocked: usize,
    /// Execution time as the agent reports it (`duration_ms`), without the wait for permission.
    #[schema(required = true)]
    pub execution_ms: Option<Distribution>,
    /// Time from `tool_execution_started` to the end, paired by `tool_use_id`: execution and waiting.
    #[schema(required = true)]
    pub elapsed_ms: Option<Distribution>,
}

/// Distribution of a figure: percentiles by the nearest-rank method.
#[derive(Clone, Debug, Serialize, PartialEq, ToSchema)]
pub struct Distribution {
    /// Number of values.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
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

output_row! {
    struct StatsRow {
        timestamp: Timestamp = "\"timestamp\"",
        event_type: String = "event_type",
        tool_name: Option<String> = "tool_name",
        tool_use_id: Option<String> = "tool_use_id",
        duration_ms: Option<f64> = "duration_ms",
        session_id: String = "session_id",
        input_tokens: Option<i64> = "input_tokens",
        output_tokens: Option<i64> = "output_tokens",
        cost_usd: Option<f64> = "cost_usd",
    }
}

/// A use of a tool: the session's id and the `tool_use_id`.
type ToolUseKey = (String, String);

/// Figures of the events read so far.
#[derive(Default)]
struct StatsBuilder {
    bucket_micros: i64,
    events: usize,
    buckets: BTreeMap<i64, BucketFigures>,
    types: HashSet<String>,
    tools: HashMap<String, ToolFigures>,
    /// Start times of uses, in microseconds.
    started: HashMap<ToolUseKey, i64>,
    /// Tools and end times of uses.
    ended: HashMap<ToolUseKey, (String, i64)>,
}

#[derive(Default)]
struct BucketFigures {
    types: BTreeMap<String, usize>,
    usage: Usage,
}

#[derive(Default)]
struct ToolFigures {
    uses: usize,
    failures: usize,
    blocked: usize,
    execution_ms: Vec<f64>,
    elapsed_ms: Vec<f64>,
}

/// The name under which figures are kept: once there are too many, all new names share one.
fn limited(name: &str, is_known: bool, known: usize) -> String {
    let fits = is_known || known < NAMES_MAX;
    if fits { name } else { OTHERS }.to_owned()
}

impl StatsBuilder {
    fn add(&mut self, row: StatsRow) {
        self.events += 1;
        if self.events > STATS_EVENTS_MAX {
            return;
        }
        self.add_to_bucket(&row);
        self.add_to_tool(row);
    }

    fn add_to_bucket(&mut self, row: &StatsRow) {
        let is_known = self.types.contains(&row.event_type);
        let name = limited(&row.event_type, is_known, self.types.len());
        if !self.types.contains(&name) {
            self.types.insert(name.clone());
        }
        let bucket = row.timestamp.micros().div_euclid(self.bucket_micros);
        let bucket = self.buckets.entry(bucket).or_default();
        *bucket.types.entry(name).or_default() += 1;
        bucket.usage.add(Usage {
            input_tokens: row.input_tokens.unwrap_or_default(),
            output_tokens: row.output_tokens.unwrap_or_default(),
            cost_usd: row.cost_usd.unwrap_or_default(),
        });
    }

    fn add_to_tool(&mut self, row: StatsRow) {
        let Some(tool_name) = row.tool_name else { return };
        let micros = row.timestamp.micros();
        let tool_use = row.tool_use_id.map(|tool_use_id| (row.session_id, tool_use_id));
        let (is_end, is_failure) = match row.event_type.as_str() {
            "tool_execution_started" => {
                self.started.extend(tool_use.map(|key| (key, micros)));
                return;
            }
            "tool_execution_completed" => (true, false),
            "tool_execution_failed" => (true, true),
            "tool_blocked" => (false, false),
            _ => return,
        };
        let name = limited(&tool_name, self.tools.contains_key(&tool_name), self.tools.len());
        let tool = self.tools.entry(name.clone()).or_default();
        tool.blocked += usize::from(!is_end);
        if is_end {
            tool.uses += 1;
            tool.failures += usize::from(is_failure);
            tool.execution_ms.extend(row.duration_ms);
            self.ended.extend(tool_use.map(|key| (key, (name, micros))));
        }
    }

    fn finish(mut self) -> Stats {
        self.add_elapsed_times();
        let mut usage = Usage::default();
        let buckets = self.buckets.into_iter().map(|(bucket, figures)| {
            usage.add(figures.usage);
            StatsBucket {
                start: Timestamp::from_micros(bucket * self.bucket_micros)
                    .unwrap_or(Timestamp::MIN)
                    .to_string(),
                events: figures.types.values().sum(),
                types: figures.types,
                usage: figures.usage.rounded(),
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

    /// Pairs the ends of tool uses with their starts.
    fn add_elapsed_times(&mut self) {
        for (key, (name, ended)) in std::mem::take(&mut self.ended) {
            let elapsed = self.started.get(&key).map(|started| (ended - started) as f64 / 1000.0);
            if let Some(tool) = self.tools.get_mut(&name) {
                // An end before its start comes from a wrong clock.
                tool.elapsed_ms.extend(elapsed.filter(|elapsed| *elapsed >= 0.0));
            }
        }
    }
}

impl Store {
    /// Statistics of the events that match a filter, with buckets of that many seconds.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn stats(&self, filter: &Filter, bucket_seconds: i64) -> Result<Stats, ReadError> {
        let select = Select {
            filter: filter.clone(),
            order_by: vec![("timestamp", Order::Descending)],
            limit: Some(STATS_EVENTS_MAX + 1),
            ..Select::default()
        };
        let builder =
            StatsBuilder { bucket_micros: bucket_seconds * 1_000_000, ..StatsBuilder::default() };
        let builder = self.fold(&select, builder, StatsBuilder::add).await?;
        // Sorts up to a million figures.
        tokio::task::spawn_blocking(|| builder.finish())
            .await
            .map_err(|error| ReadError::Failed(format!("statistics: {error}")))
    }
}

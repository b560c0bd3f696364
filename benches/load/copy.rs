//! The baseline of PostgreSQL: `COPY` of prepared rows into the server's table.

use std::time::Instant;

use agentic_hooks_backend::event::Timestamp;
use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::NoTls;

use crate::events::{Ids, Numbers, small_data};

const COPY: &str = "COPY hook_events (session_id, event_id, timestamp, event_type, workflow_id, \
    phase_id, milestone_id, data, received_at, agent, tool_name, tool_use_id, duration_ms, extra) \
    FROM STDIN (FORMAT binary)";

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Bytes per write to the connection, as in the server.
const CHUNK_BYTES: usize = 256 << 10;

/// Copies `rows` rows of small events in `COPY`s of `rows_per_copy`; prints the rows per second from
/// the first byte sent to the last commit.
pub(crate) fn run(
    url: &str,
    connections: usize,
    rows_per_copy: usize,
    rows: usize,
    seed: u64,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let copies = rows.div_ceil(rows_per_copy).div_ceil(connections);
    let seconds = runtime.block_on(async {
        let mut clients = Vec::new();
        for number in 0..connections {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let buffer = Buffer::new(rows_per_copy, seed * 64 + number as u64);
            clients.push((client.prepare(COPY).await?, client, buffer));
        }
        let begun = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (copy, client, mut buffer) in clients {
            tasks.spawn(async move {
                for _ in 0..copies {
                    let bytes = buffer.stamp();
                    let sink = client.copy_in::<_, Bytes>(&copy).await?;
                    let mut sink = std::pin::pin!(sink);
                    for at in (0..bytes.len()).step_by(CHUNK_BYTES) {
                        let end = bytes.len().min(at + CHUNK_BYTES);
                        sink.send(bytes.slice(at..end)).await?;
                    }
                    sink.finish().await?;
                }
                Ok::<_, tokio_postgres::Error>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(begun.elapsed().as_secs_f64())
    })?;
    println!("{}", (copies * connections * rows_per_copy) as f64 / seconds);
    Ok(())
}

/// The bytes of one `COPY`; only ids and times differ from one to the next.
struct Buffer {
    bytes: Vec<u8>,
    /// Offset of each row's first field.
    row_offsets: Vec<usize>,
    ids: Ids,
}

impl Buffer {
    fn new(rows: usize, seed: u64) -> Self {
        let mut buffer = Self { bytes: Vec::new(), row_offsets: Vec::new(), ids: Ids::new(seed) };
        buffer.bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        let mut numbers = Numbers(seed);
        for _ in 0..rows {
            buffer.row(&mut numbers);
        }
        buffer.bytes.extend_from_slice(b"\xff\xff");
        buffer
    }

    fn row(&mut self, numbers: &mut Numbers) {
        let data = small_data(numbers);
        self.bytes.extend_from_slice(&14_i16.to_be_bytes());
        self.row_offsets.push(self.bytes.len());
        self.field(Some(&[0; 36]));
        self.field(Some(&[0; 36]));
        self.field(Some(&[0; 8]));
        self.field(Some(b"tool_execution_completed"));
        self.field(Some(format!("workflow-{}", numbers.below(100)).as_bytes()));
        self.field(None);
        self.field(None);
        self.field(Some(format!("\u{1}{data}").as_bytes()));
        self.field(Some(&[0; 8]));
        self.field(None);
        self.field(Some(b"Bash"));
        self.field(Some(b"toolu_0123456789abcdef"));
        self.field(Some(&1234_f64.to_be_bytes()));
        self.field(None);
    }

    fn field(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(-1, |value| value.len() as i32);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// Returns rows with new ids and times.
    fn stamp(&mut self) -> Bytes {
        let now = (Timestamp::now().micros() - POSTGRES_EPOCH_MICROS).to_be_bytes();
        for &at in &self.row_offsets {
            self.bytes[at + 4..at + 40].copy_from_slice(&self.ids.session());
            self.bytes[at + 44..at + 80].copy_from_slice(&self.ids.event());
            self.bytes[at + 84..at + 92].copy_from_slice(&now);
        }
        Bytes::copy_from_slice(&self.bytes)
    }
}

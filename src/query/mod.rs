//! Queries for events, and the events on their way back. Knows neither of the two stores: each renders
//! a `Select` into its own SQL, with the help of `sql` for the clauses that both write alike.

mod chunk;
mod condition;
mod error;
mod filter;
mod page;
mod select;
pub(crate) mod sql;
mod tail;

pub(crate) use chunk::{ChunkBuilder, ChunkSender};
pub use chunk::{Chunks, FoundEvent, PageChunk, Rest, TailChunk};
pub use condition::Order;
pub(crate) use condition::{Boundary, Comparison, Condition};
pub use error::ReadError;
pub use filter::{FILTER_COLUMNS, Filter};
pub use page::{PageKey, PageQuery, SelectedMembers};
pub(crate) use select::{FromRow, ResultRow, Select, output_row, read_column};
pub use tail::{StreamPosition, TailQuery};

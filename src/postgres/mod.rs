//! PostgreSQL: the schema, delivery of the journal, and reading.

mod address;
mod columns;
pub mod deliver;
mod error;
mod id_filters;
pub(crate) mod migration;
mod options;
mod partitions;
mod read;
mod schema;

pub use address::Address;
pub use error::StoreError;
pub use read::Database;

//! Stores: where events are read from.

mod answer;
pub mod index;
pub mod postgres;
mod query;

pub use answer::{Answer, Found, Part, ReadError, each_member};
pub use query::{COLUMNS, Filter, Key, Members, Order, Page, SEARCH_EVENTS_MAX};

/// The one store that a server reads from.
#[derive(Clone, Debug)]
pub enum Store {
    /// Of `jsonl` storage.
    Index(index::Index),
    /// Of `postgres` storage.
    Postgres(postgres::Database),
}

impl Store {
    /// Answers with a page of events.
    ///
    /// # Errors
    /// If the store cannot be asked now. What goes wrong later is told in the answer.
    pub async fn page(&self, page: Page) -> Result<Answer, ReadError> {
        match self {
            Self::Index(index) => index.page(page).await,
            Self::Postgres(database) => database.page(page).await,
        }
    }
}

//! Migration of a database by its administrator, for servers whose role may not create tables.

use super::error::{CONNECT_TIMEOUT, within};
use super::{Address, StoreError, partitions, schema};
use crate::event::Timestamp;

/// Returns the statements of one transaction that bring the schema to this program's version, and create the
/// missing partitions from today until `days` days later.
///
/// # Errors
/// If the database cannot be read, or its schema is newer than this program.
pub(crate) async fn pending(address: &Address, days: u16) -> Result<Vec<String>, StoreError> {
    let client = within(CONNECT_TIMEOUT, address.connect()).await?;
    let mut statements = schema::changes(&client).await?;
    let existing = partitions::days(&client).await?;
    let today = Timestamp::now().day();
    let missing = (today..=today + i64::from(days)).filter(|day| !existing.contains(day));
    statements.extend(missing.flat_map(partitions::creation));
    if !statements.is_empty() {
        statements.insert(0, schema::begin());
        statements.push("COMMIT".to_owned());
    }
    Ok(statements)
}

/// Executes [`pending`] statements.
///
/// # Errors
/// If the database rejects one; then none has an effect.
pub(crate) async fn execute(address: &Address, statements: &[String]) -> Result<(), StoreError> {
    let client = within(CONNECT_TIMEOUT, address.connect()).await?;
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

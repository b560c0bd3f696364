//! `hooks-backend migrate`: creates the tables and partitions, for servers whose role may not.

use anyhow::anyhow;

use super::say;
use crate::postgres::{Address, migration};

/// Rights of a role that owns no table.
const GRANTS: &str = "\
-- A server whose role does not own the tables needs these rights. The last one is for deliveries that are repeated.
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hooks;
--   GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hooks;
--   GRANT TEMPORARY ON DATABASE hooks TO hooks;";

/// The database, and what to do.
#[derive(clap::Args)]
pub struct Args {
    /// Connection string of a role that may create tables
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,

    /// Number of days from today for which there are partitions then, at most 400. A server that may create
    /// tables does not need them; without them, their events go to the default partition
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=400))]
    days: u16,

    /// Print the statements instead of executing them
    #[arg(long)]
    print: bool,
}

/// Migrates a database, or prints how.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let address = Address::parse(&args.database_url);
    let address = address.map_err(|error| anyhow!("--database-url (DATABASE_URL): {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let statements = runtime
        .block_on(migration::pending(&address, args.days))
        .map_err(|error| anyhow!("database {address}: {error}"))?;
    if args.print {
        for statement in &statements {
            say(format_args!("{statement};"));
        }
        say(GRANTS);
    } else if statements.is_empty() {
        say(format_args!("{address} is up to date"));
    } else {
        runtime
            .block_on(migration::execute(&address, &statements))
            .map_err(|error| anyhow!("database {address}: nothing was changed: {error}"))?;
        let number = statements.len();
        say(format_args!("{address}: {number} statements executed, in one transaction"));
    }
    Ok(())
}

//! `hooks-backend query`: shows stored events.

use super::client::Client;
use super::output::Output;
use super::selection::Selection;

/// Maximum number of events in a page.
const PAGE_EVENTS_MAX: usize = 1000;

/// The arguments of `query`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Maximum number of events to show
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    selection: Selection,
}

/// Shows the selected events, newest first.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::for_streams(&args.selection.target)?;
    let mut out = Output::new();
    let (mut left, mut cursor) = (args.limit, None::<String>);
    while left > 0 {
        let limit = left.min(PAGE_EVENTS_MAX).to_string();
        let mut more = vec![("limit", &*limit)];
        more.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = args.selection.page(&client, &more)?;
        left -= page.events.len().min(left);
        for event in page.events {
            if !out.event(event.get())? {
                return Ok(());
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

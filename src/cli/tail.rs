//! `hooks-backend tail`: shows the newest events, and new ones as they arrive.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use super::client::{Client, ClientError};
use super::output::Output;
use super::selection::Selection;

/// Pause between attempts to open a stream again that was cut off.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The arguments of `tail`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Continue with new events as they arrive, also across restarts of the server
    #[arg(short, long)]
    follow: bool,

    /// Number of stored events to begin with
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1000))]
    lines: u16,

    #[command(flatten)]
    selection: Selection,
}

/// Shows the newest events, oldest first, and with `--follow` new ones.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::for_streams(&args.selection.target)?;
    // The stream is opened before the page is read, so that no event is missed between them. An event
    // that is in both is shown once.
    let path = args.selection.path("/events/stream", &[]);
    let stream = if args.follow { Some(client.stream(&path, &[])?) } else { None };
    let mut follower =
        StreamFollower { out: Output::new(), shown: HashSet::new(), last_id: String::new() };
    if args.lines > 0 {
        let lines = args.lines.to_string();
        let page = args.selection.page(&client, &[("limit", &lines)])?;
        for event in page.events.iter().rev() {
            follower.shown.insert(event.get().to_owned());
            if !follower.out.event(event.get())? {
                return Ok(());
            }
        }
    }
    let Some(mut stream) = stream else { return Ok(()) };
    while follower.show(stream)? {
        // The server has stopped or closed the stream. It continues after the last id.
        stream = loop {
            std::thread::sleep(RETRY_PAUSE);
            match client.stream(&path, &[("last-event-id", &follower.last_id)]) {
                Ok(stream) => break stream,
                Err(ClientError::NoResponse { .. } | ClientError::Status { status: 500.., .. }) => {
                }
                Err(error) => return Err(error.into()),
            }
        };
    }
    Ok(())
}

/// Shows the events of a stream (Server-Sent Events).
struct StreamFollower {
    out: Output,
    /// Events shown before the stream began.
    shown: HashSet<String>,
    /// Id of the last message that was read.
    last_id: String,
}

impl StreamFollower {
    /// Shows a stream to its end; false if the reader of the output has gone away.
    fn show(&mut self, stream: impl Read) -> anyhow::Result<bool> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            match line.split_once(": ") {
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("event", text)) => text.clone_into(&mut name),
                Some(("data", text)) => text.clone_into(&mut data),
                None if line.is_empty() => {
                    let is_event = name.is_empty() && !data.is_empty();
                    if is_event && !self.shown.remove(&data) && !self.out.event(&data)? {
                        return Ok(false);
                    }
                    if !id.is_empty() {
                        self.last_id.clone_from(&id);
                    }
                    name.clear();
                    data.clear();
                }
                _ => {}
            }
        }
        Ok(true)
    }
}

//! The ways in which events are read, each as a table of sessions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::value::RawValue;

use super::csv;
use super::json::{canonical, members};
use super::ways_in::{ExpectedEvent, Place};
use crate::harness::client::Connection;

/// The members of an event that a way out shows; `None` for those it does not show.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::option_option, reason = "a way out can show that there is no value")]
pub(super) struct ShownEvent {
    pub(super) data: Option<String>,
    pub(super) sent_data: Option<String>,
    pub(super) workflow_id: Option<Option<String>>,
    pub(super) tool_name: Option<Option<String>>,
    pub(super) cwd: Option<Option<String>>,
    pub(super) first_prompt: Option<Option<String>>,
    /// The line on a terminal.
    pub(super) line: Option<String>,
}

/// Sessions, each with its only event.
pub(super) type Table = BTreeMap<String, ShownEvent>;

/// Returns the differences from what is expected.
pub(super) fn differences(shown: &ShownEvent, expected: &ExpectedEvent) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |name: &str, shown: Option<String>, expected: String| {
        if let Some(shown) = shown.filter(|shown| *shown != expected) {
            wrong.push(format!("{name} is {shown:.200}, not {expected:.200}"));
        }
    };
    compare("data", shown.data.clone(), expected.data.clone());
    if let Some(sent) = &expected.sent_data {
        compare("the stored data", shown.sent_data.clone(), sent.clone());
    }
    for (name, shown, expected) in [
        ("workflow_id", &shown.workflow_id, &expected.workflow_id),
        ("tool_name", &shown.tool_name, &expected.tool_name),
        ("cwd", &shown.cwd, &expected.cwd),
        ("first_prompt", &shown.first_prompt, &expected.first_prompt),
    ] {
        compare(name, shown.as_ref().map(|text| format!("{text:?}")), format!("{expected:?}"));
    }
    if let (Some(line), Some(prompt)) = (&shown.line, &expected.explanation) {
        let escaped = prompt.chars().map(|c| match c {
            '\t' | '\n' | '\r' => c.escape_default().to_string(),
            _ if is_unprintable(c) => c.escape_unicode().to_string(),
            _ => c.to_string(),
        });
        let prompt: String = escaped.collect::<String>().chars().take(100).collect();
        if !line.ends_with(&prompt) || line.chars().any(is_unprintable) {
            wrong.push(format!("the line is {line:?}, not with {prompt:?}"));
        }
    }
    wrong
}

/// Control characters, those that reorder or break lines, and those without width.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || c == '\u{feff}'
}

fn text(raw: &RawValue) -> Result<Option<String>, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{error} in {raw}"))
}

/// Returns `data` in canonical form; of a record of OpenTelemetry, only the attributes.
fn shown_data(data: &str) -> Result<String, String> {
    match members(data)?.get("attributes") {
        Some(attributes) => canonical(attributes.get()),
        None => canonical(data),
    }
}

/// Returns an event in JSON as session and event.
fn of_json(json: &str) -> Result<(String, ShownEvent), String> {
    let members = members(json)?;
    let optional = |name: &str| members.get(name).map_or(Ok(None), |raw| text(raw));
    let session = optional("session_id")?.ok_or("no session")?;
    let shown = ShownEvent {
        data: Some(shown_data(members.get("data").ok_or("no data")?.get())?),
        workflow_id: Some(optional("workflow_id")?),
        tool_name: Some(optional("tool_name")?),
        ..ShownEvent::default()
    };
    Ok((session, shown))
}

/// Returns events in JSON, one per line, as a table.
pub(super) fn of_lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> Table {
    let event = |line| of_json(line).unwrap_or_else(|error| panic!("{error}"));
    lines.into_iter().map(event).collect()
}

impl Place<'_> {
    #[track_caller]
    fn get(&self, path: &str) -> String {
        self.server.client.get(path, &[]).expect(200).text
    }

    /// Sends a request whose response is not read as a whole, or is not text.
    fn request(&self, path: &str) -> Connection {
        let client = &self.server.client;
        let mut connection = client.connect();
        connection.write(format!("GET {path} HTTP/1.0\r\n{}\r\n", client.read_header()));
        connection
    }

    /// `GET /events`, page by page.
    pub(super) fn pages(&self) -> Table {
        let (mut table, mut cursor) = (Table::new(), String::new());
        loop {
            let page = self.get(&format!("/events?limit=1000&cursor={cursor}"));
            let page = members(&page).expect("a page");
            let events: Vec<&RawValue> =
                serde_json::from_str(page["events"].get()).expect("events");
            table.extend(of_lines(events.iter().map(|event| event.get())));
            match text(page["next_cursor"]).expect("a cursor") {
                Some(next) => cursor = next,
                None => return table,
            }
        }
    }

    /// `GET /events/stream` from a position to the event of a session.
    pub(super) fn stream(&self, after: &str, last: &str) -> Table {
        let connection = self.request(&format!("/events/stream?after={after}"));
        let mut table = Table::new();
        for line in BufReader::new(connection.into_inner()).lines() {
            let line = line.expect("the stream continues");
            let event = line.strip_prefix("data: ").filter(|data| *data != "{}");
            table.extend(of_lines(event));
            if table.contains_key(last) {
                break;
            }
        }
        table
    }

    /// The position of the next event in the stream.
    pub(super) fn position(&self) -> String {
        crate::reading::shown(&self.server.client, 0);
        let mut connection = self.request("/events/stream");
        let message = connection.read_until("data: {}\n\n");
        let id = message.lines().find_map(|line| line.strip_prefix("id: "));
        id.expect("a position").to_owned()
    }

    /// `GET /events/export`.
    pub(super) fn ndjson(&self) -> Table {
        of_lines(self.get("/events/export").lines())
    }

    pub(super) fn csv(&self) -> Table {
        let fields = "session_id,workflow_id,tool_name,data";
        let text = self.get(&format!("/events/export?format=csv&fields={fields}"));
        let rows = csv::read(&text).into_iter().skip(1);
        let event = |row: Vec<Option<String>>| {
            let [session, workflow_id, tool_name, data] = row.try_into().expect("four cells");
            let data = shown_data(&data.expect("data")).unwrap_or_else(|error| panic!("{error}"));
            let shown = ShownEvent {
                data: Some(data),
                workflow_id: Some(workflow_id),
                tool_name: Some(tool_name),
                ..ShownEvent::default()
            };
            (session.expect("a session"), shown)
        };
        rows.map(event).collect()
    }

    pub(super) fn parquet(&self) -> Table {
        let mut connection = self.request("/events/export?format=parquet");
        connection.read_until("\r\n\r\n");
        let mut body = Vec::new();
        connection.into_inner().read_to_end(&mut body).expect("a body");
        let file = SerializedFileReader::new(Bytes::from(body)).expect("a file");
        let event = |row: parquet::record::Row| {
            let columns: BTreeMap<String, Field> = row.into_columns().into_iter().collect();
            let text = |name: &str| match &columns[name] {
                Field::Str(text) => Some(text.clone()),
                Field::Null => None,
                other => panic!("{name} is {other:?}"),
            };
            let data = shown_data(&text("data").expect("data"));
            let shown = ShownEvent {
                data: Some(data.unwrap_or_else(|error| panic!("{error}"))),
                workflow_id: Some(text("workflow_id")),
                tool_name: Some(text("tool_name")),
                ..ShownEvent::default()
            };
            (text("session_id").expect("a session"), shown)
        };
        let rows = file.get_row_iter(None).expect("rows");
        rows.map(|row| event(row.expect("a row"))).collect()
    }

    /// A command whose output is a pipe.
    pub(super) fn piped(&self, arguments: &[&str]) -> Table {
        let output = self.command(arguments).output().expect("a process");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        of_lines(String::from_utf8(output.stdout).expect("text").lines())
    }

    /// A command on a terminal.
    pub(super) fn on_a_terminal(&self, arguments: &[&str]) -> Table {
        let program = env!("CARGO_BIN_EXE_hooks-backend");
        let shown = self
            .command(&[])
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .fold(&mut std::process::Command::new("script"), |command, (name, value)| {
                command.env(name, value)
            })
            .args(["--quiet", "--return", "--command"])
            .arg(format!("{program} {}", arguments.join(" ")))
            .arg("/dev/null")
            .stdin(Stdio::null())
            .output()
            .expect("script, which makes a terminal");
        let text = String::from_utf8(shown.stdout).expect("text");
        let lines = text.split_terminator("\r\n").map(|line| {
            let mut line = line.to_owned();
            for style in ["0", "2", "31", "32", "33", "36"] {
                line = line.replace(&format!("\u{1b}[{style}m"), "");
            }
            let session = line.get(20..).and_then(|rest| rest.split(' ').next());
            let session = session.unwrap_or_else(|| panic!("no session in {line:?}")).to_owned();
            (session, ShownEvent { line: Some(line), ..ShownEvent::default() })
        });
        lines.collect()
    }

    /// `GET /sessions`, page by page.
    pub(super) fn sessions(&self) -> Table {
        let (mut table, mut cursor) = (Table::new(), String::new());
        loop {
            let page = self.get(&format!("/sessions?since=2000-01-01&limit=200&cursor={cursor}"));
            let page = members(&page).expect("a page");
            let sessions: Vec<&RawValue> =
                serde_json::from_str(page["sessions"].get()).expect("sessions");
            for session in sessions {
                let session = members(session.get()).expect("a session");
                let id = text(session["session_id"]).expect("an id").expect("an id");
                let workflow_id = text(session["workflow_id"]).expect("a text");
                let shown = ShownEvent { workflow_id: Some(workflow_id), ..ShownEvent::default() };
                table.insert(id, shown);
            }
            match text(page["next_cursor"]).expect("a cursor") {
                Some(next) => cursor = next,
                None => return table,
            }
        }
    }

    /// `GET /sessions/{session_id}`, from several connections.
    pub(super) fn details(&self, sessions: &[&String]) -> Table {
        let one = |client: &crate::harness::Client, id: &String| {
            let json = client.get(&format!("/sessions/{id}"), &[]).expect(200).text;
            let session = members(&json).expect("a session");
            let text = |name: &str| Some(text(session[name]).expect("a text"));
            let shown = ShownEvent {
                workflow_id: text("workflow_id"),
                cwd: text("cwd"),
                first_prompt: text("first_prompt"),
                ..ShownEvent::default()
            };
            (id.clone(), shown)
        };
        std::thread::scope(|scope| {
            let parts = sessions.chunks(sessions.len().div_ceil(4)).map(|part| {
                scope.spawn(move || {
                    let client = crate::harness::Client::keep_alive(self.server.client.address);
                    part.iter().map(|id| one(&client, id)).collect::<Table>()
                })
            });
            let parts: Vec<_> = parts.collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().expect("a reader does not fail"))
                .collect()
        })
    }

    /// The table of PostgreSQL.
    pub(super) fn sql(&self) -> Table {
        let rows = self.workspace.database().query(
            "SELECT json_build_object('session_id', session_id, 'workflow_id', workflow_id, \
             'tool_name', tool_name, 'data', data)::text FROM hook_events",
        );
        of_lines(rows.iter().map(String::as_str))
    }

    /// The JSON Lines file, with the data as it was sent.
    pub(super) fn file(&self) -> Table {
        let text = std::fs::read_to_string(self.workspace.file()).expect("the file");
        let own = text.lines().filter(|line| line.contains("\"received_at\""));
        own.map(|line| {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(line).expect("a line");
            let session: String = serde_json::from_str(members["session_id"].get()).expect("text");
            let sent_data = Some(members["data"].get().to_owned());
            (session, ShownEvent { sent_data, ..ShownEvent::default() })
        })
        .collect()
    }
}

//! The ways in which events reach a server, each with the event that a value becomes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::json::{canonical, quoted};
use super::otlp;
use super::values::OddValue;
use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Client, Server, Storage, Workspace};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WayIn {
    Event,
    Batch,
    Ndjson,
    CloudEvent,
    CloudEvents,
    /// The attributes are headers.
    CloudEventBinary,
    Hook(HookForm),
    Emit,
    LogsJson,
    LogsProtobuf,
    SpansJson,
    SpansProtobuf,
    Import,
    /// Another program appends to the JSON Lines file.
    File,
}

/// The members by which the server finds session and event of a hook of an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HookForm {
    path: &'static str,
    session: &'static str,
    event: &'static str,
}

const fn hook(path: &'static str, session: &'static str, event: &'static str) -> WayIn {
    WayIn::Hook(HookForm { path, session, event })
}

pub(super) const WAYS_IN: [WayIn; 25] = [
    WayIn::Event,
    WayIn::Batch,
    WayIn::Ndjson,
    WayIn::CloudEvent,
    WayIn::CloudEvents,
    WayIn::CloudEventBinary,
    hook("claude-code", "session_id", r#""hook_event_name":"UserPromptSubmit""#),
    hook("codex", "session_id", r#""turn_id":"t","hook_event_name":"UserPromptSubmit""#),
    hook("gemini", "session_id", r#""hook_event_name":"BeforeAgent""#),
    hook("cursor", "conversation_id", r#""hook_event_name":"beforeSubmitPrompt""#),
    hook("copilot/userPromptSubmitted", "sessionId", r#""copilot":1"#),
    hook("vscode", "session_id", r#""hook_event_name":"UserPromptSubmit""#),
    hook("opencode", "sessionID", r#""type":"chat.message""#),
    hook("qwen", "session_id", r#""hook_event_name":"UserPromptSubmit""#),
    hook("cline", "taskId", r#""hookName":"UserPromptSubmit""#),
    hook("openhands", "session_id", r#""event_type":"UserPromptSubmit""#),
    hook("windsurf", "trajectory_id", r#""agent_action_name":"pre_user_prompt""#),
    hook("auto", "session_id", r#""hook_event_name":"UserPromptSubmit""#),
    WayIn::Emit,
    WayIn::LogsJson,
    WayIn::LogsProtobuf,
    WayIn::SpansJson,
    WayIn::SpansProtobuf,
    WayIn::Import,
    WayIn::File,
];

/// What an event is to be, in every way out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ExpectedEvent {
    /// `data` in canonical form.
    pub(super) data: String,
    /// `data` as it was sent; `None` if the server makes it.
    pub(super) sent_data: Option<String>,
    pub(super) workflow_id: Option<String>,
    pub(super) tool_name: Option<String>,
    pub(super) cwd: Option<String>,
    pub(super) first_prompt: Option<String>,
    /// The end of the line on a terminal; `None` if it is not a text.
    pub(super) explanation: Option<String>,
}

/// Returns the text of a value, or of the first element of an array.
fn first_text(json: &str) -> Option<String> {
    if json.starts_with('[') {
        let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(json).ok()?;
        return first_text(elements.first()?.get());
    }
    serde_json::from_str(json).ok().filter(|text: &String| !text.is_empty())
}

/// The members of `data` with a value, in JSON. A text is also the name of a member.
fn members(value: &OddValue, token: &str) -> String {
    let name = value.text.as_ref().map(|_| format!(",{token}:1")).unwrap_or_default();
    format!(r#""v":{token},"prompt":{token},"cwd":{token},"tool_name":{token}{name}"#)
}

/// Texts longer than an ID are only in `data`.
fn is_short(text: &str) -> bool {
    text.len() <= 255
}

impl WayIn {
    pub(super) fn exists_in(self, storage: Storage) -> bool {
        self != Self::File || storage == Storage::Jsonl
    }

    fn is_otlp(self) -> bool {
        matches!(self, Self::LogsJson | Self::LogsProtobuf | Self::SpansJson | Self::SpansProtobuf)
    }

    fn has_workflow(self) -> bool {
        !self.is_otlp() && !matches!(self, Self::CloudEventBinary | Self::Hook(_) | Self::Emit)
    }

    /// The event that a value becomes; `None` if it is rejected.
    pub(super) fn expect(self, session: &str, value: &OddValue) -> Option<ExpectedEvent> {
        let is_too_deep = value.depth >= super::DEPTH_MAX;
        let text = value.text.clone();
        let is_number = matches!(value.sent.as_bytes()[0], b'-' | b'0'..=b'9');
        let tool_name = text.clone().or_else(|| is_number.then(|| value.sent.clone()));
        let mut expected = ExpectedEvent {
            workflow_id: text.clone().filter(|text| self.has_workflow() && is_short(text)),
            tool_name: tool_name.filter(|name| !name.is_empty() && is_short(name)),
            cwd: first_text(&value.expected),
            first_prompt: first_text(&value.expected),
            explanation: text.clone(),
            ..ExpectedEvent::default()
        };
        let canonical = |json: &str| canonical(json).expect("the expected JSON is valid");
        match self {
            Self::LogsJson | Self::LogsProtobuf | Self::SpansJson | Self::SpansProtobuf => {
                if !otlp::is_representable(value) {
                    return None;
                }
                let read = otlp::representable(&value.expected).expect("valid JSON");
                expected.data =
                    canonical(&format!("{{{}}}", attributes(self, session, value, &read)));
                (expected.cwd, expected.first_prompt, expected.explanation) = (None, None, None);
                if is_number {
                    let raw: serde_json::Value = serde_json::from_str(&read).expect("JSON");
                    expected.tool_name = raw.is_number().then(|| match read.parse::<i64>() {
                        Ok(number) => number.to_string(),
                        Err(_) => read.parse::<f64>().expect("a number").to_string(),
                    });
                    expected.tool_name.take_if(|name| !is_short(name));
                }
            }
            Self::Hook(_) | Self::Emit if is_too_deep => {
                let sent = self.payload(session, value, &value.sent);
                expected.data = canonical(&format!("{{\"unparsed\":{}}}", quoted(&sent)));
                (expected.cwd, expected.first_prompt, expected.explanation) = (None, None, None);
            }
            Self::File => expected.data = canonical(&self.payload(session, value, &value.expected)),
            _ if is_too_deep => return None,
            _ => {
                expected.data = canonical(&self.payload(session, value, &value.expected));
                expected.sent_data = Some(self.payload(session, value, &value.sent));
            }
        }
        Some(expected)
    }

    /// The JSON that becomes `data`.
    fn payload(self, session: &str, value: &OddValue, token: &str) -> String {
        let members = members(value, token);
        match self {
            Self::Hook(form) => {
                format!("{{\"{}\":\"{session}\",{},{members}}}", form.session, form.event)
            }
            Self::Emit => {
                let event = r#""hook_event_name":"UserPromptSubmit""#;
                format!("{{\"session_id\":\"{session}\",{event},{members}}}")
            }
            _ => format!("{{{members}}}"),
        }
    }

    /// An event of the API, or a CloudEvent.
    pub(super) fn event(self, session: &str, value: &OddValue) -> String {
        let data = self.payload(session, value, &value.sent);
        let workflow = if value.text.as_ref().is_some_and(|text| is_short(text)) {
            &value.sent
        } else {
            "null"
        };
        match self {
            Self::CloudEvent | Self::CloudEvents => format!(
                r#"{{"specversion":"1.0","id":"{session}","type":"user_prompt_submitted","source":"/t","subject":"{session}","workflowid":{workflow},"data":{data}}}"#
            ),
            _ => format!(
                r#"{{"event_id":"{session}","event_type":"user_prompt_submitted","session_id":"{session}","workflow_id":{workflow},"data":{data}}}"#
            ),
        }
    }

    /// Sends each value as an event of the session with its name.
    pub(super) fn send(self, at: &Place<'_>, cases: &[(String, &OddValue)]) {
        let client = Client::keep_alive(at.server.client.address);
        let post = |path: &str, kind: &str, body: String| client.post(path, kind, &[], body).status;
        let bodies = cases.iter().map(|(session, value)| self.event(session, value));
        match self {
            Self::Batch | Self::CloudEvents => {
                let kind =
                    if self == Self::Batch { JSON } else { "application/cloudevents-batch+json" };
                let body = bodies.collect::<Vec<_>>().join(",");
                assert_eq!(post("/events/batch", kind, format!("[{body}]")), 202);
            }
            Self::Ndjson => {
                let body = bodies.collect::<Vec<_>>().join("\n");
                assert_eq!(post("/events/batch", NDJSON, body), 202);
            }
            Self::Event | Self::CloudEvent => {
                let kind = if self == Self::Event { JSON } else { "application/cloudevents+json" };
                for (body, (_, value)) in bodies.zip(cases) {
                    let status = if value.depth >= super::DEPTH_MAX { 422 } else { 202 };
                    assert_eq!(post("/events", kind, body), status, "{}", value.name);
                }
            }
            Self::CloudEventBinary => {
                for (session, value) in cases {
                    send_binary(
                        &client,
                        session,
                        value,
                        &self.payload(session, value, &value.sent),
                    );
                }
            }
            Self::Hook(form) => {
                for (session, value) in cases {
                    let payload = self.payload(session, value, &value.sent);
                    assert_eq!(
                        post(&format!("/hooks/{}", form.path), JSON, payload),
                        200,
                        "{}",
                        value.name
                    );
                }
            }
            Self::Emit => {
                let emit_all = &|cases: &[(String, &OddValue)]| {
                    for (session, value) in cases {
                        at.emit(self.payload(session, value, &value.sent).as_bytes());
                    }
                };
                std::thread::scope(|scope| {
                    for part in cases.chunks(cases.len().div_ceil(4)) {
                        scope.spawn(move || emit_all(part));
                    }
                });
            }
            Self::LogsJson | Self::LogsProtobuf | Self::SpansJson | Self::SpansProtobuf => {
                for (number, (session, value)) in cases.iter().enumerate() {
                    let (path, kind, body) = self.export(number, session, value);
                    // A partial success in protobuf is not text.
                    let response = client.send("POST", path, &[("content-type", kind)], &body);
                    assert!(
                        response.is_ok_and(|response| response.status == 200) || value.depth > 0
                    );
                }
            }
            Self::Import => at.import(&(bodies.collect::<Vec<_>>().join("\n") + "\n")),
            Self::File => at.append((bodies.collect::<Vec<_>>().join("\n") + "\n").as_bytes()),
        }
    }

    /// An export with the value in the attributes of one record.
    fn export(
        self,
        number: usize,
        session: &str,
        value: &OddValue,
    ) -> (&'static str, &'static str, Vec<u8>) {
        let is_json = matches!(self, Self::LogsJson | Self::SpansJson);
        // Protobuf has no escapes: exporters replace what is not valid.
        let token = if is_json { &value.sent } else { &value.expected };
        let attributes = format!("{{{}}}", attributes(self, session, value, token));
        let nanos = 1_700_000_000_000_000_000_u64 + number as u64;
        let is_logs = matches!(self, Self::LogsJson | Self::LogsProtobuf);
        let path = if is_logs { "/v1/logs" } else { "/v1/traces" };
        if is_json {
            let attributes = otlp::json_attributes(&attributes);
            let body = if is_logs {
                format!(
                    r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{nanos}","attributes":[{attributes}]}}]}}]}}]}}"#
                )
            } else {
                format!(
                    r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"n","startTimeUnixNano":"{nanos}","attributes":[{attributes}]}}]}}]}}]}}"#
                )
            };
            return (path, JSON, body.into_bytes());
        }
        // The field number of the time, and of the attributes.
        let (time, list) = if is_logs { (1, 6) } else { (7, 9) };
        let mut record = vec![time << 3 | 1];
        record.extend(nanos.to_le_bytes());
        record.extend(otlp::protobuf_attributes(list, &attributes));
        let wrapped = [2, 2, 1].into_iter().fold(record, |inner, number| {
            let mut outer = Vec::new();
            otlp::field(number, &inner, &mut outer);
            outer
        });
        (path, "application/x-protobuf", wrapped)
    }
}

/// The attributes of a record, as the members of an object. Spans are stored if they are of an agent.
fn attributes(way: WayIn, session: &str, value: &OddValue, token: &str) -> String {
    let mut object = format!("\"session.id\":\"{session}\",{}", members(value, token));
    if let WayIn::SpansJson | WayIn::SpansProtobuf = way {
        let _ = write!(object, ",\"agent.step\":1");
    }
    object
}

fn send_binary(client: &Client, session: &str, value: &OddValue, data: &str) {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", session),
        ("ce-type", "user_prompt_submitted"),
        ("ce-source", "/t"),
        ("ce-subject", session),
    ];
    let status = if value.depth >= super::DEPTH_MAX { 422 } else { 202 };
    client.post("/events", JSON, &headers, data).expect(status);
}

/// A server, and where its files are.
pub(super) struct Place<'s> {
    pub(super) workspace: &'s Workspace,
    pub(super) server: &'s Server,
}

impl Place<'_> {
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hooks-backend"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("XDG_STATE_HOME", self.workspace.directory())
            .env("HOOKS_URL", format!("http://{}", self.server.client.address))
            .current_dir(self.workspace.directory());
        command
    }

    /// Runs `emit`, which always succeeds.
    pub(super) fn emit(&self, payload: &[u8]) {
        let mut child = self.command(&["emit"]).stdin(Stdio::piped()).spawn().expect("a process");
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(payload).expect("it reads");
        drop(input);
        assert!(child.wait().expect("it ends").success());
    }

    /// Runs `import`. Some lines may be rejected.
    pub(super) fn import(&self, lines: impl AsRef<[u8]>) {
        let path = self.workspace.directory().join("import.jsonl");
        std::fs::write(&path, lines).expect("a file");
        let ended = self.command(&["import", "import.jsonl"]).output().expect("a process");
        assert!(!ended.stdout.is_empty(), "{ended:?}");
    }

    /// Appends to the JSON Lines file, as another program does.
    pub(super) fn append(&self, lines: &[u8]) {
        let file = std::fs::OpenOptions::new().append(true).open(self.workspace.file());
        let mut file = file.expect("the file");
        file.write_all(lines).expect("it is written");
    }
}

/// The session of the last event.
pub(super) const LAST: &str = "session-1";

/// Sends a last event, and waits until it can be read.
pub(super) fn settle(server: &Server) {
    server.client.event(&crate::harness::event("last")).expect(202);
    crate::harness::eventually("the last event can be read", || {
        let response = server.client.get("/events?event_id=last&session_id=session-1", &[]);
        if response.text.contains("\"last\"") { Ok(()) } else { Err(response.text) }
    });
}

//! Agents whose hooks are files that only the user should write: the exact lines.

use super::super::say;

/// Events of Cline. Each hook is an executable file with the event's name.
const CLINE_EVENTS: &str = "TaskStart TaskResume TaskCancel TaskComplete TaskError PreToolUse PostToolUse \
                            UserPromptSubmit PreCompact SessionShutdown";

const OPENHANDS_EVENTS: [&str; 6] =
    ["session_start", "user_prompt_submit", "pre_tool_use", "post_tool_use", "stop", "session_end"];

/// Prints the commands that set up Cline.
pub(super) fn cline(program: &str, url: &str) {
    say("cline: its hooks are executable files, which hooks-backend does not write. Run:\n");
    say(format_args!(
        "mkdir -p ~/.cline/hooks\n\
         for event in {CLINE_EVENTS}; do\n\
         cat > ~/.cline/hooks/$event <<END\n\
         #!/bin/sh\n\
         exec {program} emit --agent cline --event $event --background --url {url}\n\
         END\n\
         chmod +x ~/.cline/hooks/$event\n\
         done\n"
    ));
    say("and start it with: cline --hooks-dir ~/.cline/hooks");
    say("to undo: rm -r ~/.cline/hooks");
}

/// Prints the file that sets up `OpenHands`.
pub(super) fn openhands(program: &str, url: &str) {
    say("openhands: its hooks are a file in the project. Write .openhands/hooks.json:\n");
    let entry = |event: &&str| {
        let background = if *event == "session_end" { "" } else { " --background" };
        let command = format!("{program} emit --agent openhands{background} --url {url}");
        let command = serde_json::Value::from(command);
        format!(
            "  \"{event}\": [{{\"matcher\": \"*\", \"hooks\": [{{\"type\": \"command\", \
             \"command\": {command}, \"timeout\": 4}}]}}]"
        )
    };
    let entries: Vec<String> = OPENHANDS_EVENTS.iter().map(entry).collect();
    say(format_args!("{{\n{}\n}}", entries.join(",\n")));
    say("\nto undo: delete the file");
}

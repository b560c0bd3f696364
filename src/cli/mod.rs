//! The command line: `serve`, and the commands that talk to a running server or set up agents.

mod client;
mod complete;
mod demo;
mod doctor;
mod emit;
mod export;
mod healthcheck;
mod import;
mod install;
mod migrate;
mod output;
mod progress;
mod query;
mod selection;
mod spool;
mod tail;
mod variables;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::client::ClientError;
use crate::config::Config;
use crate::visible;

/// Event store for the hook events of AI agents
///
/// Without a command the server starts: 'hooks-backend --port 9000' is short for
/// 'hooks-backend serve --port 9000'. Settings of the server are flags of 'serve' and environment
/// variables; 'hooks-backend serve --help' lists them.
#[derive(Parser)]
#[command(name = "hooks-backend", version, max_term_width = 100)]
#[command(override_usage = "hooks-backend [COMMAND] [OPTIONS]")]
#[command(after_help = "First steps:
  hooks-backend                       start the server
  hooks-backend demo                  send it an example session
  hooks-backend query                 show the stored events
  hooks-backend install claude-code   register the hooks of an agent
  hooks-backend doctor                check the setup")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command.
#[derive(Subcommand)]
pub enum Command {
    /// Receive and store events (the default command)
    Serve(Box<Config>),
    /// Any other command.
    #[command(flatten)]
    Tool(Tool),
}

/// The commands other than `serve`. They do not read the server's settings: agents run hooks in
/// environments where a variable such as `PORT` can mean something else.
#[derive(Subcommand)]
pub enum Tool {
    /// Register hooks in the settings of an agent
    Install(install::InstallArgs),
    /// Remove the hooks from the settings of an agent
    Uninstall(install::SettingsArgs),
    /// Check the setup: server, registered hooks, events not sent yet; exit status 1 on problems
    Doctor(doctor::Args),
    /// Send an example session to a server
    Demo(demo::Args),
    /// Show stored events, newest first
    Query(query::Args),
    /// Show the newest events, and with -f new ones as they arrive
    Tail(tail::Args),
    /// Write all events to a file or to standard output
    Export(export::Args),
    /// Send events from JSON Lines files to a server; importing a file twice stores its events once
    Import(import::Args),
    /// Send the payload of a hook to a server; agents run this command
    Emit(Box<emit::Args>),
    /// Create the tables in PostgreSQL, and partitions ahead, for servers whose role may not
    Migrate(migrate::Args),
    /// Check whether the server on this machine is ready; exit status 1 if not
    Healthcheck(healthcheck::Args),
    /// Print a script that completes commands and options in a shell
    Completions(complete::CompletionsArgs),
    /// Print a man page
    Man(complete::ManArgs),
}

/// Parses the command line and the environment. Exits on errors, and after `--help` and `--version`.
pub fn parse() -> Command {
    let mut arguments = with_default_command(std::env::args_os().collect());
    let name = arguments.get(1).cloned().unwrap_or_default();
    let mut as_written = Cli::command();
    // Completes the arguments, which can then be printed.
    as_written.build();
    let written = as_written.find_subcommand(&name);
    let mut checked = Ok(());
    if name == "serve" {
        checked = written.map_or(Ok(()), |serve| variables::check(serve, &arguments));
        arguments = variables::clean_arguments(arguments);
    }
    let mut command = variables::clean_variables(Cli::command());
    let parsed =
        checked.and_then(|()| command.try_get_matches_from_mut(&arguments)).and_then(|matches| {
            let mut cli = Cli::from_arg_matches(&matches)?;
            if let (Command::Serve(config), Some(serve)) = (&mut cli.command, written) {
                config.sources = variables::sources(serve, &arguments);
            }
            Ok(cli)
        });
    match parsed {
        Ok(cli) => cli.command,
        Err(error) => {
            let error = variables::with_source(error, written, &arguments);
            if name == "emit" && error.use_stderr() {
                // The agent must continue even if its hook is registered with wrong arguments.
                let _ = error.print();
                std::process::exit(0);
            }
            error.exit()
        }
    }
}

/// Inserts `serve` if the first argument is missing or is an option of `serve`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    const OF_PROGRAM: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let names_command = arguments.get(1).is_some_and(|first| {
        !first.as_encoded_bytes().starts_with(b"-") || OF_PROGRAM.iter().any(|flag| first == flag)
    });
    if !names_command {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

/// Runs a command to its end.
pub fn run(tool: Tool) -> ExitCode {
    match tool {
        Tool::Install(args) => exit_code(install::install(&args)),
        Tool::Uninstall(args) => exit_code(install::uninstall(&args)),
        Tool::Doctor(args) if doctor::run(&args) => ExitCode::SUCCESS,
        Tool::Doctor(_) => ExitCode::FAILURE,
        Tool::Demo(args) => exit_code(demo::run(&args)),
        Tool::Query(args) => exit_code(query::run(&args)),
        Tool::Tail(args) => exit_code(tail::run(&args)),
        Tool::Export(args) => exit_code(export::run(&args)),
        Tool::Import(args) => import::run(&args),
        Tool::Emit(args) => {
            emit::run(&args);
            ExitCode::SUCCESS
        }
        Tool::Migrate(args) => exit_code(migrate::run(&args)),
        Tool::Healthcheck(args) => exit_code(healthcheck::run(&args)),
        Tool::Completions(args) => exit_code(complete::completions(&args)),
        Tool::Man(args) => exit_code(complete::man(&args)),
    }
}

/// Prints a line of results. A reader that has gone away (`| head`) is no error; any other ends the command.
fn say(text: impl Display) {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(format_args!("writing: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints an error or a warning on one line; it can have words of a server or of a file.
fn complain(text: impl Display) {
    // There is nowhere else to print to.
    let _ = writeln!(std::io::stderr(), "{}", visible::one_line(&text.to_string()));
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error:#}"));
            let advice = error.downcast_ref::<ClientError>().and_then(ClientError::advice);
            if let Some(advice) = advice {
                complain(format_args!("  -> {advice}"));
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }
}

//! The commands that are no server but speak to one: for agents' hooks, and for the people who set
//! them up.

mod client;
mod demo;
mod doctor;
mod emit;
mod import;
mod install;
mod progress;
mod read;
mod spool;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a hook's payload from standard input; for agents whose hooks are commands
    Emit(emit::Args),
    /// Register hooks with an agent, in its settings
    Install(install::InstallArgs),
    /// Take those hooks out again
    Uninstall(install::SettingsArgs),
    /// Check what is set up, and say what to do about it; exit 0 if all is well, 1 if not
    Doctor(doctor::Args),
    /// Show stored events
    Query(read::QueryArgs),
    /// Show the newest events, and with -f those that arrive
    Tail(read::TailArgs),
    /// Write all events to a file or to standard output
    Export(read::ExportArgs),
    /// Send a made-up session, so that there is something to look at
    Demo(demo::Args),
    /// Send the events of JSON Lines files to a server; what is sent twice is stored once
    Import(import::Args),
}

/// They are parsed apart from the server's settings: an agent runs hooks with whatever environment it
/// has, and a `PORT` that means something else there must not stop them.
#[derive(Parser)]
#[command(name = "hooks-backend", version, max_term_width = 100)]
struct Commands {
    #[command(subcommand)]
    command: Command,
}

/// The command that the arguments ask for, if it is one of these.
pub fn parse() -> Option<Command> {
    let name = std::env::args_os().nth(1)?;
    if !Command::has_subcommand(name.to_str()?) {
        return None;
    }
    match Commands::try_parse() {
        Ok(commands) => Some(commands.command),
        Err(error) if name == "emit" && error.use_stderr() => {
            // An agent must go on whatever is wrong with its hook.
            let _ = error.print();
            std::process::exit(0);
        }
        Err(error) => error.exit(),
    }
}

/// Runs a command.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Emit(args) => {
            emit::run(&args);
            ExitCode::SUCCESS
        }
        Command::Install(args) => ended(install::install(&args)),
        Command::Uninstall(args) => ended(install::uninstall(&args)),
        Command::Doctor(args) if doctor::run(&args) => ExitCode::SUCCESS,
        Command::Doctor(_) => ExitCode::FAILURE,
        Command::Query(args) => ended(read::query(&args)),
        Command::Tail(args) => ended(read::tail(&args)),
        Command::Export(args) => ended(read::export(&args)),
        Command::Demo(args) => ended(demo::run(&args)),
        Command::Import(args) => import::run(&args),
    }
}

/// Tells a person something. One who has stopped reading (`| head`) is no reason to stop.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

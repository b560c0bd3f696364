//! `hooks-backend`: reads the command line and starts what it asks for.

use std::process::ExitCode;

use agentic_hooks_backend::cli;
use agentic_hooks_backend::config::Config;
use agentic_hooks_backend::{healthcheck, serve, telemetry};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Stores the hook events of AI agents: durable before the answer, exactly once.
///
/// Every option is also an environment variable.
#[derive(Parser)]
#[command(name = "hooks-backend", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand)]
enum Command {
    /// Receive and store events (the default)
    Serve,
    /// Ask the server on this machine whether it is ready; exit 0 if it is, 1 if not
    Healthcheck,
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    if let Some(command) = cli::parse() {
        return cli::run(command);
    }
    let cli = parse();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            raise_file_limit();
            telemetry::init(cli.config.log_level, cli.config.log_format);
            let result = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::from)
                .and_then(|runtime| {
                    let result = runtime.block_on(serve::serve(cli.config));
                    runtime.shutdown_background();
                    result
                });
            match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Command::Client(command) => cli::run(command),
        Command::Healthcheck => match healthcheck::run(&cli.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("not ready: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Parses the command line and the environment. An empty variable, as compose files make them, is
/// one that is not set.
fn parse() -> Cli {
    let mut command = Cli::command();
    let set_and_empty = |arg: &clap::Arg| {
        arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty())
    };
    let empty: Vec<_> = command
        .get_arguments()
        .filter(|arg| set_and_empty(arg))
        .map(|arg| arg.get_id().clone())
        .collect();
    for id in empty {
        command = command.mut_arg(id, |arg| arg.env(None::<&str>));
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Each connection takes a file descriptor, and the usual soft limit of 1,024 is for programs that
/// use `select`. Where the hard limit is no higher, accepting waits for connections to close.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What is refused here stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

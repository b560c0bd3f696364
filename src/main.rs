//! `hooks-backend`: runs the server or one of the other commands.

use std::process::ExitCode;

use agentic_hooks_backend::cli::{self, Command};
use agentic_hooks_backend::config::Config;
use agentic_hooks_backend::{serve, telemetry};

fn main() -> ExitCode {
    match cli::parse() {
        Command::Serve(config) => run_server(*config),
        Command::Tool(tool) => cli::run(tool),
    }
}

fn run_server(config: Config) -> ExitCode {
    raise_file_limit();
    telemetry::init(&config.logging);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = runtime.block_on(serve::serve(config));
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

/// Raises the soft limit of file descriptors to the hard limit: each connection takes one, and the
/// usual soft limit of 1,024 is meant for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // On failure the limit stays as it is, and accepting waits for connections to close.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

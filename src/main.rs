//! `hooks-backend`: reads the command line and starts what it asks for.

mod cli;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use agentic_hooks_backend::config::Config;
use agentic_hooks_backend::{serve, telemetry};
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
    /// Send the events of JSON Lines files to a running server; what is sent twice is stored once
    Import(cli::import::Options),
}

fn main() -> ExitCode {
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
        Command::Import(options) => cli::import::run(&options, cli.config.ack),
        Command::Healthcheck => match healthcheck(cli.config.host, cli.config.port) {
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

/// A server that listens on every interface answers on loopback.
fn healthcheck(host: IpAddr, port: u16) -> anyhow::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let host = match host {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(host, port), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}

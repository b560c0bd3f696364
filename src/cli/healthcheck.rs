//! `hooks-backend healthcheck`: asks the server on this machine whether it is ready, for containers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::config::{ListenConfig, TlsConfig};
use crate::tls::{Verify, client_config};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A whole HTTP client would be more than this one question needs.
const QUESTION: &[u8] =
    b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// The settings by which the server is found.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    listen: ListenConfig,
    #[command(flatten)]
    tls: TlsConfig,
}

/// Checks the server with these settings.
///
/// # Errors
/// If it cannot be reached, or is not ready.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    check(args).context("not ready")
}

fn check(args: &Args) -> anyhow::Result<()> {
    let address = args.listen.local_address();
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let answer = if args.tls.cert.is_some() {
        // It is asked by its address, which is not what its certificate was issued for; and who could
        // take its place on this machine could answer in plain text as well.
        let tls = client_config(Verify::Nothing).map_err(|error| anyhow!(error))?;
        let tls = ClientConnection::new(Arc::new(tls), ServerName::IpAddress(address.ip().into()))?;
        ask(StreamOwned::new(tls, stream))?
    } else {
        ask(stream)?
    };
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(())
}

fn ask(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(QUESTION)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

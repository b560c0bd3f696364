//! `hooks-backend healthcheck`: checks for containers whether the server is ready.

use std::time::Duration;

use anyhow::{anyhow, ensure};

use super::client::Client;
use crate::config::{ListenConfig, SettingName, TlsConfig};

const TIMEOUT: Duration = Duration::from_secs(2);

/// The settings that determine where the server is.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    listen: ListenConfig,
    #[command(flatten)]
    tls: TlsConfig,
}

/// Checks the server.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let https = args.tls.cert.is_some();
    let address = args.listen.local_address(SettingName::Variable("HOST"))?;
    let client = Client::local(address, https, TIMEOUT);
    let response = client.get("/health/ready").map_err(|error| anyhow!("not ready: {error}"))?;
    ensure!(response.status == 200, "not ready ({}): {}", response.status, response.text);
    Ok(())
}

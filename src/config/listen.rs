//! The address to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

/// The address to listen on. The health check connects to it too.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Address")]
pub(crate) struct ListenConfig {
    /// IP address that the server listens on; 0.0.0.0 for all interfaces
    #[arg(long, env = "HOST", value_name = "IP")]
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) host: IpAddr,

    /// Port that the server listens on; 0 for any free port
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
}

impl ListenConfig {
    /// Returns the address at which this machine reaches the server: a server that listens on all
    /// interfaces is reached on loopback.
    pub(crate) fn local_address(&self) -> SocketAddr {
        let host = match self.host {
            IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        SocketAddr::new(host, self.port)
    }
}

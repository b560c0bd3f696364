//! The address to listen on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use clap::Args;

use super::ConfigError;
use super::source::SettingName;

/// The address to listen on. The health check connects to it too.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Address")]
pub(crate) struct ListenConfig {
    /// IP address or host name that the server listens on; 0.0.0.0 or :: for all interfaces
    #[arg(long, env = "HOST", value_name = "ADDRESS")]
    #[arg(default_value = "127.0.0.1", value_parser = parse_host)]
    pub(crate) host: ListenHost,

    /// Port that the server listens on; 0 for any free port
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
}

/// `HOST`.
#[derive(Clone, Debug)]
pub(crate) enum ListenHost {
    Address(IpAddr),
    /// A host name, which is resolved at start.
    Name(String),
}

fn parse_host(text: &str) -> Result<ListenHost, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Ok(ListenHost::Address(address));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !text.is_empty() && text.bytes().all(is_part) {
        return Ok(ListenHost::Name(text.to_owned()));
    }
    Err("expected an IP address such as 127.0.0.1, 0.0.0.0 or [::], or a host name; the port is \
         set with PORT"
        .to_owned())
}

impl ListenConfig {
    /// Returns the addresses of the host, IPv4 first. The first on which the server can listen is used.
    pub(crate) fn resolve(&self, setting: SettingName) -> Result<Vec<SocketAddr>, ConfigError> {
        let name = match &self.host {
            ListenHost::Address(address) => return Ok(vec![SocketAddr::new(*address, self.port)]),
            ListenHost::Name(name) => name,
        };
        let resolved = (name.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<_> = resolved
            .and_then(|found| {
                let found: Vec<_> = found.collect();
                if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
            })
            .map_err(|error| ConfigError::Host { setting, host: name.clone(), error })?;
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses)
    }

    /// Returns the address at which this machine reaches the server: a server that listens on all
    /// interfaces is reached on loopback.
    pub(crate) fn local_address(&self, setting: SettingName) -> Result<SocketAddr, ConfigError> {
        let mut address = self.resolve(setting)?[0];
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(address)
    }
}

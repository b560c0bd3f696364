//! The proxy for a server, by the rules of curl: `https_proxy` or `http_proxy` by the scheme of the
//! server's address, then `all_proxy`, unless `no_proxy` names the host; each in lower or upper case.
//!
//! Two rules differ. Upper-case `HTTP_PROXY` counts: curl ignores it because a CGI server would set it
//! from a request header, and this program is no CGI script. And addresses of this machine are never
//! reached through a proxy, which could not connect back.

use std::env;
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use super::ClientError;

/// Returns the proxy through which a server is reached; `None` for a direct connection.
pub(super) fn of(server: &Uri) -> Result<Option<Proxy>, ClientError> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let no_proxy = first(&["no_proxy", "NO_PROXY"]).map_or(String::new(), |(_, hosts)| hosts);
    if is_this_machine(&host) || is_listed(&host, &no_proxy) {
        return Ok(None);
    }
    let found = if server.scheme_str() == Some("https") {
        first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
    } else {
        first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
    };
    let Some((variable, url)) = found else { return Ok(None) };
    let proxy = Proxy::new(&url).ok();
    let usable = proxy
        .filter(|proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https));
    usable.map(Some).ok_or(ClientError::Proxy(variable))
}

/// Returns the first of these variables that is set and not empty.
fn first(variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|&name| {
        let value = env::var(name).ok().filter(|value| !value.trim().is_empty())?;
        Some((name, value.trim().to_owned()))
    })
}

pub(super) fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Reports whether a `no_proxy` list names a host or a domain above it. `*` names every host.
fn is_listed(host: &str, no_proxy: &str) -> bool {
    let no_proxy = no_proxy.to_ascii_lowercase();
    let mut entries = no_proxy.split([',', ' ']).filter(|entry| !entry.is_empty());
    entries.any(|entry| {
        let domain =
            entry.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        let below = host.strip_suffix(domain).is_some_and(|name| name.ends_with('.'));
        entry == "*" || host == domain || below && host.parse::<IpAddr>().is_err()
    })
}

//! The identity of a client, which limits apply to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};

use super::access::KeyName;

/// The identity of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClientId {
    /// The name of an API key.
    Key(Arc<str>),
    /// An IP address; of IPv6, the /64 network, which one customer has.
    Address(IpAddr),
    /// All clients without an identity of their own.
    Others,
}

impl ClientId {
    /// Identifies a client by its API key, or by its address if it has none.
    pub(super) fn new(key_name: Option<Arc<str>>, peer: Option<IpAddr>) -> Self {
        match (key_name, peer.map(|peer| peer.to_canonical())) {
            (Some(name), _) => Self::Key(name),
            (None, Some(IpAddr::V6(address))) => {
                Self::Address(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
            (None, Some(address)) => Self::Address(address),
            (None, None) => Self::Others,
        }
    }

    /// Identifies the client of a request that has passed the check of access.
    pub(super) fn of(request: &Request) -> Self {
        let key_name = request.extensions().get::<KeyName>().and_then(|name| name.0.clone());
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self::new(key_name, peer.map(|ConnectInfo(peer)| peer.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::ClientId;

    #[test]
    fn ipv6_clients_are_identified_by_their_network() {
        let of = |text: &str| ClientId::new(None, Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}

//! The network address of the client: what limits count by and the audit log keeps.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::request::Parts;
use ipnet::IpNet;
use quire_serve::http::Peer;

/// The address of the client as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// The peer; behind trusted proxies, the rightmost address of `X-Forwarded-For` that is not one of them.
    /// Anything to the left of it was written by the client and proves nothing.
    pub(crate) fn of(parts: &Parts, trusted: &[IpNet]) -> Self {
        let Some(peer) = parts.extensions.get::<Peer>().map(|peer| plain(peer.0.ip())) else {
            return Self(None);
        };
        let mut address = peer;
        let headers = parts.headers.get_all("x-forwarded-for").iter();
        let hops: Vec<&str> =
            headers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !trusted.iter().any(|net| net.contains(&address)) {
                break;
            }
            let Ok(next) = hop.trim().parse::<IpAddr>() else {
                // A malformed hop: nothing to its left can be believed either.
                break;
            };
            address = plain(next);
        }
        Self(Some(address))
    }

    /// What limits count by: an IPv6 subscriber holds a whole /64.
    pub(crate) fn limit_key(self) -> String {
        match self.0 {
            Some(IpAddr::V6(address)) => {
                let segments = address.segments();
                Ipv6Addr::new(segments[0], segments[1], segments[2], segments[3], 0, 0, 0, 0).to_string()
            }
            Some(IpAddr::V4(address)) => address.to_string(),
            None => String::new(),
        }
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => write!(formatter, "{address}"),
            None => Ok(()),
        }
    }
}

/// `::ffff:192.0.2.1` is 192.0.2.1.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::Request;

    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        ClientAddress::of(&parts, &trusted).to_string()
    }

    #[test]
    fn forwarded_for_counts_only_from_trusted_peers_and_from_the_right() {
        assert_eq!(seen("192.0.2.1", &["10.1.1.1"], &[]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, 203.0.113.9"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(
            seen("10.0.0.1", &["198.51.100.7", "203.0.113.9, 10.0.0.2"], &["10.0.0.0/8"]),
            "203.0.113.9"
        );
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, nonsense"], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(seen("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_key() {
        let key = |text: &str| ClientAddress(Some(text.parse().unwrap())).limit_key();
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }
}

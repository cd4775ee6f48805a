//! The network address of the client: what limits count by and the audit log keeps.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::request::Parts;
use ipnet::IpNet;
use quire_serve::http::Peer;

/// No chain of proxies is longer; a client could send thousands of hops to keep us busy.
const MAX_HOPS: usize = 64;

/// The peer; behind trusted proxies, the rightmost address of `X-Forwarded-For` that is not one of them. Anything
/// to the left of it was written by the client and proves nothing. `forwarded` are the values of the header in
/// their order, each a list with commas.
///
/// A hop that is not a plain address, an empty one too, ends the search at the hop to its right: nothing to its
/// left can be believed either.
pub fn client_address<'a, I>(peer: IpAddr, forwarded: I, trusted: &[IpNet]) -> IpAddr
where
    I: IntoIterator<Item = &'a str, IntoIter: DoubleEndedIterator>,
{
    let mut address = peer.to_canonical();
    let hops = forwarded.into_iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(MAX_HOPS) {
        if !trusted.iter().any(|net| net.contains(&address)) {
            break;
        }
        let Ok(next) = hop.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

/// What limits count an address as: `::ffff:192.0.2.1` is 192.0.2.1, and an IPv6 subscriber holds a whole /64.
pub fn limit_key(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..] = address.segments();
            Ipv6Addr::new(first, second, third, fourth, 0, 0, 0, 0).to_string()
        }
        IpAddr::V4(address) => address.to_string(),
    }
}

/// The address of the client as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(Option<IpAddr>);

impl ClientAddress {
    /// Of a request.
    pub(crate) fn of(parts: &Parts, trusted: &[IpNet]) -> Self {
        let Some(peer) = parts.extensions.get::<Peer>() else { return Self(None) };
        // Bytes that are no text make their own hop malformed, not the whole header.
        let values = parts.headers.get_all("x-forwarded-for").iter();
        let values: Vec<Cow<'_, str>> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        Self(Some(client_address(peer.0.ip(), values.iter().map(AsRef::as_ref), trusted)))
    }

    /// What limits count by. Clients without a known address share one count.
    pub(crate) fn limit_key(self) -> String {
        self.0.map_or_else(String::new, limit_key)
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::Request;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        client_address(peer.parse().unwrap(), forwarded.iter().copied(), &nets(trusted)).to_string()
    }

    const TEN: &[&str] = &["10.0.0.0/8"];

    #[test]
    fn forwarded_for_counts_only_from_trusted_peers_and_from_the_right() {
        assert_eq!(seen("192.0.2.1", &["10.1.1.1"], &[]), "192.0.2.1");
        assert_eq!(seen("192.0.2.1", &["10.1.1.1"], TEN), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7, 203.0.113.9"], TEN), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["198.51.100.7", "203.0.113.9, 10.0.0.2"], TEN), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[], TEN), "10.0.0.1");
    }

    #[test]
    fn a_mapped_v4_address_is_the_v4_address() {
        assert_eq!(seen("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], TEN), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, ::ffff:10.0.0.2"], TEN), "203.0.113.9");
        assert_eq!(limit_key("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1");
    }

    #[test]
    fn a_malformed_hop_ends_the_search() {
        let hops = [
            "nonsense",
            "",
            " ",
            "203.0.113.9:443",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "for=203.0.113.9",
            "203.0.113.9;",
            "0203.0.113.9",
            "unknown",
            "fe80::1%eth0",
        ];
        for hop in hops {
            let chain = format!("198.51.100.7, {hop}, 10.0.0.2");
            assert_eq!(seen("10.0.0.1", &[&chain], TEN), "10.0.0.2", "{hop:?}");
            assert_eq!(seen("10.0.0.1", &["198.51.100.7", hop], TEN), "10.0.0.1", "{hop:?}");
        }
    }

    #[test]
    fn if_every_hop_is_trusted_the_leftmost_is_the_client() {
        assert_eq!(seen("10.0.0.1", &["10.0.0.3, 10.0.0.2"], TEN), "10.0.0.3");
    }

    #[test]
    fn only_so_many_hops_are_looked_at() {
        let chain = |proxies: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(proxies));
        assert_eq!(seen("10.0.0.1", &[&chain(MAX_HOPS - 1)], TEN), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &[&chain(MAX_HOPS)], TEN), "10.0.0.2");
    }

    #[test]
    fn bytes_that_are_no_text_spoil_only_their_own_hop() {
        let mut value = b"\xff\xfe, ".to_vec();
        value.extend_from_slice(b"203.0.113.9");
        let request = Request::builder().header("x-forwarded-for", value.as_slice());
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Peer(SocketAddr::new("10.0.0.1".parse().unwrap(), 1)));
        assert_eq!(ClientAddress::of(&parts, &nets(TEN)).to_string(), "203.0.113.9");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_key() {
        let key = |text: &str| limit_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }
}

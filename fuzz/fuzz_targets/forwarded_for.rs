//! The parser of `X-Forwarded-For`: a peer that is not trusted is believed nothing, and every client has a key.
#![no_main]

use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use quire_gateway::client_address::{client_address, limit_key};

fuzz_target!(|input: (u32, [u8; 16], bool, Vec<String>)| {
    let (v4, v6, is_v6, values) = input;
    let peer = if is_v6 { IpAddr::from(v6) } else { IpAddr::from(v4.to_be_bytes()) };
    let values = || values.iter().map(String::as_str);
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().expect("a net")).collect();
    let seen = client_address(peer, values(), &trusted);
    assert_eq!(client_address(peer, values(), &[]), peer.to_canonical());
    if !trusted.iter().any(|net| net.contains(&peer.to_canonical())) {
        assert_eq!(seen, peer.to_canonical());
    }
    assert!(limit_key(seen).parse::<IpAddr>().is_ok());
});

//! Ports for servers that are started later, or more than once.

use std::net::TcpListener;

/// Systems give outgoing connections ports from here on (Linux; the IANA's range begins higher still). One below cannot be
/// taken by a connection of somebody else before its server is started.
const OUTGOING: u16 = 32_768;
const FIRST: u16 = 10_000;
const TRIES: usize = 1_000;

/// A port of this machine on which nothing listens. It is drawn, so that those who ask at the same time get different
/// ones.
///
/// # Panics
/// There is none.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| fastrand::u16(FIRST..OUTGOING)).take(TRIES);
    drawn.find(free).expect("of so many ports one is free")
}

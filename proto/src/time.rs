//! Microseconds since the Unix epoch to google.protobuf.Timestamp and back.

/// The message for a moment given in microseconds since 1970-01-01T00:00:00Z.
pub fn timestamp(unix_micros: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: unix_micros.div_euclid(1_000_000),
        nanos: i32::try_from(unix_micros.rem_euclid(1_000_000) * 1000).expect("below one second"),
    }
}

/// Microseconds since 1970-01-01T00:00:00Z; nanoseconds are cut.
pub fn from_timestamp(timestamp: &prost_types::Timestamp) -> i64 {
    timestamp.seconds.saturating_mul(1_000_000).saturating_add(i64::from(timestamp.nanos) / 1000)
}

//! The closed list of failure kinds and its one mapping to google.rpc and HTTP.

//! Time, randomness and ids, passed in.

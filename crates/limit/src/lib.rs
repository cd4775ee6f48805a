//! Rate limits and seen-keys, in process or in Redis.

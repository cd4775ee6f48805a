//! One migrator per bounded context.

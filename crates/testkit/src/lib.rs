//! Databases, clients and clocks for tests.

//! Opens a SQLite or PostgreSQL database and runs write transactions on it.

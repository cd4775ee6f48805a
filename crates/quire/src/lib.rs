//! The quire binary: serve, demo, migrate, doctor, one role each.

//! The quire binary: serve, demo, migrate, doctor, attack, one role each.
//!
//! One executable with several roles: `quire serve` runs every service in one process on loopback listeners,
//! through the very same tonic channels as `quire auth`, `quire gateway` and the others do as processes of
//! their own.

pub mod attack;
pub mod cli;
pub mod customer;
pub mod demo;
pub mod doctor;
pub mod embedded;
mod fail_points;
mod folder_lock;
pub mod installation;
pub mod jobs;
pub mod migrate;
pub mod operator;
pub mod probe;
pub mod reconcile;
pub mod roles;
mod signals;

//! One file for each family of routes.

pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod documents;
pub(crate) mod exports;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod jwks;
pub(crate) mod limits;
pub(crate) mod outlines;
pub(crate) mod payments;
pub(crate) mod reconcile;
pub(crate) mod refunds;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod sources;
pub(crate) mod users;

//! Databases, Redis and clients for tests.
//!
//! The embedded parts are always tested. PostgreSQL and Redis are looked for in this order: the address in
//! `QUIRE_TEST_DATABASE_URL` / `QUIRE_TEST_REDIS_URL`; a server on the default local port; a private server
//! started from binaries on this machine. If there is none, one line `skipped: ...` is printed, and
//! `QUIRE_TEST_REQUIRE=postgres,redis` turns that into a failure.

mod database;
pub mod doors;
mod grpc_method;
mod lying_redis;
pub mod model_server;
mod own_postgres;
mod port;
mod private;
mod process;
mod real_model;
mod redis_server;
mod valve;

pub use database::{Backend, TestDatabase};
pub use grpc_method::unary;
pub use lying_redis::{Lie, LyingRedis};
pub use own_postgres::OwnPostgres;
pub use port::free_port;
pub use process::Process;
pub use real_model::{RealModel, real_model};
pub use redis_server::{PrivateRedis, redis};
pub use valve::Valve;

/// Generates every test twice: on SQLite, and on PostgreSQL. A test is an `async fn(Backend)`.
///
/// ```ignore
/// quire_testkit::on_both_databases!(a_link_works_once, a_link_expires);
/// ```
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::Backend::Sqlite).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if $crate::Backend::postgres_is_there() {
                        super::$test($crate::Backend::Postgres).await;
                    }
                }
            )+
        }
    };
}

/// Whether the surroundings say that this server must be there.
fn required(server: &str) -> bool {
    let required = std::env::var("QUIRE_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == server)
}

/// Prints the one line about a suite that cannot run, or fails where it must run.
#[expect(clippy::print_stdout, reason = "the line is for the person who runs the tests")]
fn skip(server: &str, why: &str) {
    assert!(!required(server), "QUIRE_TEST_REQUIRE names {server}, but {why}");
    println!("skipped: no {server}: {why}");
}

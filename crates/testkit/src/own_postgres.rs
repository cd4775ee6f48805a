//! A PostgreSQL of the test's own, which it may stop and start.

use std::process::Child;

use crate::private::{Cluster, address};

/// A server on an empty cluster. It ends with the test.
pub struct OwnPostgres {
    cluster: Cluster,
    watchdog: Option<Child>,
}

impl OwnPostgres {
    /// Starts one. `None`, with a line that says why, if this machine has no binaries for it; a failure where PostgreSQL
    /// must be there.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Option<Self> {
        match Cluster::new() {
            Ok(cluster) => {
                let watchdog = cluster.start().unwrap_or_else(|why| panic!("{why}"));
                Some(Self { cluster, watchdog: Some(watchdog) })
            }
            Err(why) => {
                crate::skip("postgres", &why);
                None
            }
        }
    }

    /// `postgres://…`, the same after a restart.
    pub fn url(&self) -> String {
        address(self.cluster.port)
    }

    /// Ends it and every connection, as an operator restarts a server. Returns once nothing answers.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(&mut self) {
        self.cluster.stop().unwrap_or_else(|why| panic!("{why}"));
        if let Some(mut watchdog) = self.watchdog.take() {
            // Without its input it ends too: the server that it watched is gone.
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
    }

    /// Starts it again, with everything that was stored.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        self.watchdog = Some(self.cluster.start().unwrap_or_else(|why| panic!("{why}")));
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if self.watchdog.is_some() {
            let _ = self.cluster.stop();
        }
    }
}

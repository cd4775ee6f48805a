//! Which clock judges in Redis.

pub(crate) enum Judge {
    /// The server's: the same for all replicas, whatever their own clocks say.
    Server,
    /// A test's, to compare decisions with those in process.
    #[cfg(test)]
    Given(quire_clock::World),
}

impl Judge {
    /// As scripts want it: microseconds, or 0 for the server's own time.
    pub fn micros(&self) -> i64 {
        match self {
            Self::Server => 0,
            #[cfg(test)]
            Self::Given(world) => world.now().unix_micros(),
        }
    }
}

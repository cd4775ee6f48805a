//! How many event streams each user has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quire_fault::{Fault, Kind};

/// Enough for every device and tab of one person; all users share the connections behind the gateway.
const MAX_PER_USER: usize = 16;

/// Counts open streams. Cheap to clone; clones share their counts.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// One open stream; dropping it frees its place.
pub(crate) struct Place {
    streams: Streams,
    user_id: String,
}

impl Streams {
    /// Takes a place for one more stream.
    ///
    /// # Errors
    /// 429 when the user has sixteen open already.
    pub(crate) fn take(&self, user_id: &str) -> Result<Place, Fault> {
        // The map holds only counts: it is sound even if a thread panicked while it held the lock.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user_id.to_owned()).or_default();
        if *count >= MAX_PER_USER {
            let message = format!("at most {MAX_PER_USER} event streams may be open at once: close one");
            return Err(Fault::new(Kind::TooMany, "TOO_MANY_STREAMS", message)
                .with_retry_after(Duration::from_secs(5)));
        }
        *count += 1;
        Ok(Place { streams: self.clone(), user_id: user_id.to_owned() })
    }

    /// Of all users together.
    pub(crate) fn open(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_sixteen_places_and_gets_them_back() {
        let streams = Streams::default();
        let mut places: Vec<Place> = (0..MAX_PER_USER).map(|_| streams.take("a").unwrap()).collect();
        assert!(streams.take("a").is_err());
        assert!(streams.take("b").is_ok());
        places.pop();
        assert!(streams.take("a").is_ok());
        drop(places);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}

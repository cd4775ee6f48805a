//! Waiting for what will happen, without guessing how long it takes.

use std::future::Future;
use std::time::Duration;

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// Longer than anything here takes on a loaded machine: reached only when something never happens.
pub const LAST_RESORT: Duration = Duration::from_secs(120);

/// What `look` finds in the end.
pub async fn eventually<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let looking = async {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(LAST_RESORT, looking).await;
    found.unwrap_or_else(|_| panic!("this never happened: {what}"))
}

//! Keys seen lately.

use super::*;
use crate::SeenKeys;

#[tokio::test]
async fn a_remembered_key_was_seen_and_no_other() {
    assert!(!SeenKeys::None.seen("evt_1").await);
    let Some(url) = quire_testkit::redis() else { return };
    let keys = SeenKeys::connect(url).await.unwrap();
    let key = format!("test:{}", World::system().id());
    assert!(!keys.seen(&key).await);
    keys.remember(&key, Duration::from_secs(60)).await;
    assert!(keys.seen(&key).await);
    assert!(!keys.seen("test:another").await);
}

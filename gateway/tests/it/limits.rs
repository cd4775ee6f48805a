//! Rate limits: by client, whatever the client says, and over all replicas.

use quire_clock::World;
use tokio::task::JoinSet;

use crate::door::Door;
use crate::upstream::{Behaviour, Upstream};

/// How many of `count` requests at once were let through, each with its own `X-Forwarded-For`.
async fn admitted(door: &Door, count: usize) -> usize {
    let mut requests = JoinSet::new();
    for number in 0..count {
        let forwarded = format!("203.0.113.{}", number % 250);
        let request = door.magic_link().header("x-forwarded-for", forwarded);
        requests.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = requests.join_all().await;
    assert!(statuses.iter().all(|status| [403, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 403).count()
}

#[tokio::test]
async fn a_client_cannot_choose_whom_it_is_counted_as() {
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    let door = Door::open(&upstream.url, "spoofed", &[]).await;
    assert_eq!(admitted(&door, 100).await, 5);
    assert_eq!(upstream.calls().len(), 5, "a request over the limit reached the service");

    let trusting = [("QUIRE_TRUSTED_PROXIES", "127.0.0.0/8")];
    let door = Door::open(&upstream.url, "proxied", &trusting).await;
    assert_eq!(admitted(&door, 100).await, 100, "behind a proxy that is trusted, clients are told apart");
}

#[tokio::test]
async fn replicas_share_one_count_in_redis() {
    let Some(redis) = quire_testkit::redis() else { return };
    let upstream = Upstream::start(Behaviour::Fail(7)).await;
    // A replica that waits for Redis too long counts by itself, which on a busy machine may happen. Without a
    // shared count, the other replica would never refuse its first request.
    for _ in 0..10 {
        // Keys in Redis are made with the secret: nobody else counts under this one.
        let secret = World::system().id();
        let one = Door::open(&upstream.url, &secret, &[("REDIS_URL", redis)]).await;
        let two = Door::open(&upstream.url, &secret, &[("REDIS_URL", redis)]).await;
        for _ in 0..5 {
            assert_eq!(one.magic_link().send().await.unwrap().status(), 403);
        }
        if two.magic_link().send().await.unwrap().status() == 429 {
            return;
        }
    }
    panic!("each replica counts by itself");
}

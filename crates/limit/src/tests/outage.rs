//! Without Redis, each process limits by itself.

use std::sync::atomic::Ordering;

use tokio::net::TcpListener;

use super::proxy::Proxy;
use super::*;
use crate::Source;

#[tokio::test]
async fn without_redis_the_process_limits_by_itself() {
    // A port that was free a moment ago: nobody answers there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_, world) = world();
    let limiter = Limiter::connect(&url, world, [0; 32]).await.unwrap();
    let route = route("refresh", "5/minute, 6/hour by session");
    for call in 0..8 {
        let decision = limiter.check(&route, &address("a").session("s")).await;
        assert_eq!((decision.allowed, decision.source), (call < 5, Source::Local));
    }
    let explanation = limiter.explain(&route, &address("b").session("s")).await;
    assert_eq!((explanation.source, explanation.policies[1].remaining), (Source::Local, 1));
}

#[tokio::test]
async fn redis_that_falls_silent_is_left_and_found_again() {
    let Some(url) = quire_testkit::redis() else { return };
    let proxy = Proxy::start(url).await;
    let (_, world) = world();
    let mut redis = Redis::connect(&proxy.url).await.unwrap().judged_by(world.clone());
    redis.link().with_times(Duration::from_millis(300), Duration::ZERO);
    let mut up = redis.link().watch();
    let limiter = Limiter::on(redis, world.clone(), world.bytes());
    let (route, a) = (route("refresh", "5/minute"), address("a"));
    for _ in 0..5 {
        assert!(limiter.check(&route, &a).await.allowed);
    }
    proxy.silent.store(true, Ordering::SeqCst);
    // The shared count is out of reach and the local one starts at zero: limited, not open.
    let mut passed = 0;
    while *up.borrow_and_update() || passed < 5 {
        let decision = limiter.check(&route, &a).await;
        assert_eq!(decision.source, Source::Local);
        if !decision.allowed {
            break;
        }
        passed += 1;
    }
    assert_eq!(passed, 5);
    assert!(!limiter.check(&route, &a).await.allowed);
    proxy.silent.store(false, Ordering::SeqCst);
    // Every call offers to reconnect; the attempt itself runs beside it.
    while !*up.borrow_and_update() {
        assert!(!limiter.check(&route, &a).await.allowed);
        up.changed().await.unwrap();
    }
    let decision = limiter.check(&route, &a).await;
    assert!(!decision.allowed, "the shared count is still used up");
    assert_eq!(decision.source, Source::Redis);
}

#[tokio::test]
async fn a_wrong_address_is_refused_without_showing_it() {
    let (_, world) = world();
    let Err(error) = Limiter::connect("http://user:hunter2@host", world, [0; 32]).await else {
        panic!("the address was taken");
    };
    assert!(!error.to_string().contains("hunter2"));
}

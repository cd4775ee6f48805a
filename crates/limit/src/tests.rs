//! The limiter through its public door, in process and on Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quire_clock::{ManualClock, Timestamp, World};
use tokio::net::{TcpListener, TcpStream};

use crate::{Backend, Decision, Limiter, RouteLimit, SeenKeys, redis::Redis};

fn world() -> (Arc<ManualClock>, World) {
    let clock = ManualClock::at(Timestamp::from_unix_seconds(1_700_000_000));
    (clock.clone(), World::with_clock(clock))
}

/// A limiter on Redis whose keys no other run shares, judged by the given world's clock.
async fn on_redis(url: &str, world: World) -> Limiter {
    let hash_key = world.bytes();
    let mut shared = Redis::connect(url).await.unwrap().judged_by(world.clone());
    // A busy machine must not turn these tests over to the local count.
    shared.link().with_times(Duration::from_secs(10), Duration::ZERO);
    Limiter { backend: Backend::Redis { shared: Arc::new(shared), local: Arc::default() }, world, hash_key }
}

async fn both(world: &World) -> Vec<Limiter> {
    let mut limiters = vec![Limiter::memory(world.clone())];
    if let Some(url) = quire_testkit::redis() {
        limiters.push(on_redis(url, world.clone()).await);
    }
    limiters
}

#[tokio::test]
async fn the_sixth_call_waits_twelve_seconds_and_then_one_more_is_let_through() {
    let (clock, world) = world();
    let route = RouteLimit::parse("refresh", "5/minute").unwrap();
    for limiter in both(&world).await {
        for left in (0..5).rev() {
            let decision = limiter.check(&route, "a").await;
            assert!(decision.allowed);
            assert_eq!((decision.limit, decision.remaining), (5, left));
            assert_eq!(decision.retry_after, Duration::ZERO);
        }
        let denied = limiter.check(&route, "a").await;
        assert_eq!(
            denied,
            Decision {
                allowed: false,
                policy: "refresh-minute".to_owned(),
                limit: 5,
                remaining: 0,
                retry_after: Duration::from_secs(12),
                reset_after: Duration::from_secs(60),
            }
        );
        assert!(limiter.check(&route, "another").await.allowed);
        clock.advance(Duration::from_secs(12));
        assert!(limiter.check(&route, "a").await.allowed);
        assert!(!limiter.check(&route, "a").await.allowed);
    }
}

#[tokio::test]
async fn a_call_that_one_policy_denies_costs_the_other_nothing() {
    let (clock, world) = world();
    let route = RouteLimit::parse("refresh", "5/minute,8/hour").unwrap();
    for limiter in both(&world).await {
        for _ in 0..5 {
            assert!(limiter.check(&route, "a").await.allowed);
        }
        for _ in 0..20 {
            let denied = limiter.check(&route, "a").await;
            assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-minute"));
        }
        clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert!(limiter.check(&route, "a").await.allowed);
        }
        let denied = limiter.check(&route, "a").await;
        assert_eq!((denied.allowed, denied.policy.as_str()), (false, "refresh-hour"));
        assert_eq!(denied.retry_after, Duration::from_secs(390));
    }
}

#[tokio::test]
async fn redis_and_memory_decide_alike() {
    let Some(url) = quire_testkit::redis() else { return };
    let (clock, world) = world();
    // Intervals of seconds: Redis forgets a key after its interval in real time, not in the test's.
    let routes = [
        RouteLimit::parse("one", "5/minute").unwrap(),
        RouteLimit::parse("two", "3/minute,7/hour").unwrap(),
        RouteLimit::parse("three", "4/minute burst 2,40/day").unwrap(),
    ];
    let memory = Limiter::memory(world.clone());
    let redis = on_redis(url, world).await;
    let pause = prop_oneof![3 => Just(0_u64), 2 => 1..30_000_000_u64, 1 => 1..900_000_000_u64];
    let step = (0..routes.len(), 0..3_usize, pause, any::<bool>());
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(step, 1500).new_tree(&mut runner).unwrap().current();
    let mut denied = 0;
    for (place, (route, key, pause, again)) in steps.into_iter().enumerate() {
        clock.advance(Duration::from_micros(pause));
        for _ in 0..if again { 3 } else { 1 } {
            let key = format!("key {key}");
            let (left, right) =
                (memory.check(&routes[route], &key).await, redis.check(&routes[route], &key).await);
            assert_eq!(left, right, "step {place}");
            denied += usize::from(!left.allowed);
        }
    }
    assert!(denied > 100, "the steps must reach the limits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_calls_at_once_exactly_the_quota_passes() {
    let (_, world) = world();
    let route = RouteLimit::parse("verify", "10/minute,15/hour").unwrap();
    for limiter in both(&world).await {
        let calls = (0..64).map(|_| {
            let (limiter, route) = (limiter.clone(), route.clone());
            tokio::spawn(async move { limiter.check(&route, "a").await.allowed })
        });
        let mut passed = 0;
        for call in calls.collect::<Vec<_>>() {
            passed += usize::from(call.await.unwrap());
        }
        assert_eq!(passed, 10);
    }
}

#[tokio::test]
async fn the_script_is_loaded_again_after_redis_forgot_it() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let limiter = on_redis(url, world).await;
    let route = RouteLimit::parse("refresh", "5/minute").unwrap();
    assert!(limiter.check(&route, "a").await.allowed);
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await.unwrap();
    assert_eq!(limiter.check(&route, "a").await.remaining, 3);
}

#[tokio::test]
async fn no_key_reaches_redis_in_clear() {
    let Some(url) = quire_testkit::redis() else { return };
    let (_, world) = world();
    let limiter = on_redis(url, world).await;
    let route = RouteLimit::parse("clear", "5/minute").unwrap();
    limiter.check(&route, "ada@example.org").await;
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("quire:limit:*:clear-minute:*").query_async(&mut connection).await.unwrap();
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| !key.contains("ada")), "{keys:?}");
}

#[tokio::test]
async fn without_redis_the_process_limits_by_itself() {
    // A port that was free a moment ago: nobody answers there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_, world) = world();
    let limiter = Limiter::connect(&url, world, [0; 32]).await.unwrap();
    let route = RouteLimit::parse("refresh", "5/minute").unwrap();
    for call in 0..8 {
        assert_eq!(limiter.check(&route, "a").await.allowed, call < 5);
    }
}

#[tokio::test]
async fn redis_that_falls_silent_is_left_and_found_again() {
    let Some(url) = quire_testkit::redis() else { return };
    let proxy = Proxy::start(url).await;
    let (_, world) = world();
    let hash_key = world.bytes();
    let mut shared = Redis::connect(&proxy.url).await.unwrap().judged_by(world.clone());
    shared.link().with_times(Duration::from_millis(300), Duration::ZERO);
    let mut up = shared.link().watch();
    let backend = Backend::Redis { shared: Arc::new(shared), local: Arc::default() };
    let limiter = Limiter { backend, world, hash_key };
    let route = RouteLimit::parse("refresh", "5/minute").unwrap();
    for _ in 0..5 {
        assert!(limiter.check(&route, "a").await.allowed);
    }
    proxy.silent.store(true, Ordering::SeqCst);
    // The shared count is out of reach and the local one starts at zero: limited, not open.
    let mut passed = 0;
    while *up.borrow_and_update() || passed < 5 {
        let decision = limiter.check(&route, "a").await;
        if !decision.allowed {
            break;
        }
        passed += 1;
    }
    assert_eq!(passed, 5);
    assert!(!limiter.check(&route, "a").await.allowed);
    proxy.silent.store(false, Ordering::SeqCst);
    // Every call offers to reconnect; the attempt itself runs beside it.
    while !*up.borrow_and_update() {
        assert!(!limiter.check(&route, "a").await.allowed);
        up.changed().await.unwrap();
    }
    let decision = limiter.check(&route, "a").await;
    assert!(!decision.allowed, "the shared count is still used up");
}

#[tokio::test]
async fn a_wrong_address_is_refused_without_showing_it() {
    let (_, world) = world();
    let Err(error) = Limiter::connect("http://user:hunter2@host", world, [0; 32]).await else {
        panic!("the address was taken");
    };
    assert!(!error.to_string().contains("hunter2"));
}

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

/// Passes bytes on to Redis, until it is told to swallow them.
struct Proxy {
    url: String,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(url: &str) -> Self {
        let target = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let silent = Arc::new(AtomicBool::new(false));
        let switch = silent.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                let (client, server) = (Arc::new(client), Arc::new(server));
                tokio::spawn(pass(client.clone(), server.clone(), switch.clone()));
                tokio::spawn(pass(server, client, switch.clone()));
            }
        });
        Self { url, silent }
    }
}

async fn pass(from: Arc<TcpStream>, to: Arc<TcpStream>, silent: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    loop {
        from.readable().await.unwrap();
        let read = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        if silent.load(Ordering::SeqCst) {
            continue;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

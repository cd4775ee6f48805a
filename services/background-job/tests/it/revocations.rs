//! What auth has revoked counts here too: for calls, and for streams that are open already.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quire_background_job::Config;
use quire_clock::{ManualClock, Timestamp, World};
use quire_fault::{Fault, Kind};
use quire_identity::{AccessClaims, Gatekeeper, Role, ServiceIdentity, UserCaller, session_ended};
use quire_proto::auth::v1::SeenGeneration;
use quire_proto::auth::v1::revocation::Subject;
use quire_proto::job::v1 as pb;
use quire_testkit::Backend;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

use crate::auth::FakeAuth;
use crate::keys::{KID, Keys, SESSION, claims};
use crate::stage::{OWNER, Service, Stage, master};

/// Waits end here; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_sent_away_when_its_session_ends() {
    let mut scene = Scene::set().await;
    scene.auth.revoke(Subject::SessionId(SESSION.to_owned()));
    // The job stands still: no event wakes the stream.
    let fault = scene.end().await;
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Unauthenticated, "SESSION_ENDED"));
    assert!(scene.stream.message().await.unwrap().is_none());
    let again = scene.service.as_user(OWNER, pb::WatchJobRequest { job_id: scene.job_id, after_seq: 0 });
    let refused = scene.service.client.watch_job(again).await.unwrap_err();
    assert_eq!(Fault::from(&refused).reason, "SESSION_ENDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_sent_away_when_its_user_is_blocked() {
    let mut scene = Scene::set().await;
    scene.auth.revoke(Subject::SessionId("of somebody else".to_owned()));
    scene.auth.revoke(Subject::BlockedUserId(OWNER.to_owned()));
    let fault = scene.end().await;
    assert_eq!((fault.kind, fault.reason.as_str()), (Kind::Forbidden, "USER_BLOCKED"));
    let again = scene.service.as_user(OWNER, pb::GetJobRequest { job_id: scene.job_id });
    let refused = scene.service.client.get_job(again).await.unwrap_err();
    assert_eq!(Fault::from(&refused).reason, "USER_BLOCKED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_sent_away_also_while_the_revocations_are_silent() {
    let mut scene = Scene::set().await;
    scene.auth.answer(Some(session_ended()));
    scene.auth.fall_silent();
    assert_eq!(scene.end().await.reason, "SESSION_ENDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_is_asked_about_a_session_only_while_its_stream_is_silent() {
    let fixture = Fixture::new(World::system()).await;
    let token = fixture.token(|_| {});
    let caller = fixture.heard(&token).await;
    fixture.auth.answer(Some(session_ended()));
    fixture.auth.fall_silent();
    let ended = tokio::time::timeout(PATIENCE, fixture.gatekeeper.until_ended(&caller)).await.unwrap();
    assert_eq!(ended.reason, "SESSION_ENDED");
    let refused = fixture.gatekeeper.user_of_token(&token).await.unwrap_err();
    assert_eq!(refused.reason, "SESSION_ENDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_no_longer_blocked_is_let_in_again() {
    let fixture = Fixture::new(World::system()).await;
    let token = fixture.token(|_| {});
    let caller = fixture.heard(&token).await;
    fixture.auth.revoke(Subject::BlockedUserId(OWNER.to_owned()));
    let ended = tokio::time::timeout(PATIENCE, fixture.gatekeeper.until_ended(&caller)).await.unwrap();
    assert_eq!(ended.reason, "USER_BLOCKED");
    fixture.auth.revoke(Subject::UnblockedUserId(OWNER.to_owned()));
    let asking = async {
        while fixture.gatekeeper.user_of_token(&token).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_asks_auth_once_in_thirty_seconds() {
    let clock = ManualClock::at(Timestamp::from_unix_seconds(1_800_000_000));
    let fixture = Fixture::silent(World::with_clock(clock.clone())).await;
    // A silent stream brings no keys: they are fetched for tokens alone, and counted so.
    let token = fixture.token(|_| {});
    fixture.gatekeeper.user_of_token(&token).await.unwrap();
    let listed = || fixture.auth.read(|book| book.listed);
    assert_eq!(listed(), 1);
    let flood = async |round: &str| {
        let tokens: Vec<String> = (0..100)
            .map(|number| fixture.keys.token(&format!("{round}-{number}"), &fixture.claims()))
            .collect();
        let answers = tokens.iter().map(|token| fixture.gatekeeper.user_of_token(token));
        for answer in join_all(answers).await {
            assert_eq!(answer.unwrap_err().reason, "TOKEN_INVALID");
        }
    };
    flood("too-early").await;
    assert_eq!(listed(), 1);
    clock.advance(Duration::from_secs(30));
    flood("first").await;
    flood("second").await;
    assert_eq!(listed(), 2);
    clock.advance(Duration::from_secs(29));
    flood("third").await;
    assert_eq!(listed(), 2);
    clock.advance(Duration::from_secs(1));
    flood("fourth").await;
    assert_eq!(listed(), 3);
    // Whoever has a known key is not held up by it.
    fixture.gatekeeper.user_of_token(&token).await.unwrap();
    assert_eq!(listed(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_is_seen_in_use_is_confirmed_once() {
    let fixture = Fixture::new(World::system()).await;
    let first = fixture.token(|claims| claims.sid = "first".to_owned());
    let second = fixture.token(|claims| claims.generation = 2);
    let third = fixture.token(|claims| claims.generation = 3);
    for token in [&first, &second, &second, &third] {
        fixture.gatekeeper.user_of_token(token).await.unwrap();
    }
    fixture.auth.was(|book| book.confirmed.len() >= 2).await;
    // The first generation follows no other, and a token that was seen before says nothing new.
    let seen = |generation| SeenGeneration { session_id: SESSION.to_owned(), generation };
    assert_eq!(fixture.auth.read(|book| book.confirmed.clone()), [seen(2), seen(3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_whose_first_call_failed_with_auth_is_confirmed_later() {
    let fixture = Fixture::silent(World::system()).await;
    let token = fixture.token(|claims| claims.generation = 2);
    fixture.auth.answer(Some(Fault::new(Kind::Unavailable, "DATABASE_UNAVAILABLE", "not now")));
    let refused = fixture.gatekeeper.user_of_token(&token).await.unwrap_err();
    assert_eq!(refused.reason, "AUTH_UNAVAILABLE");
    fixture.auth.answer(None);
    fixture.gatekeeper.user_of_token(&token).await.unwrap();
    fixture.auth.was(|book| !book.confirmed.is_empty()).await;
}

/// A gatekeeper that follows the fake auth, as the job service does.
struct Fixture {
    auth: FakeAuth,
    keys: Arc<Keys>,
    gatekeeper: Gatekeeper,
    world: World,
    _following: DropGuard,
}

impl Fixture {
    async fn new(world: World) -> Self {
        let keys = Arc::new(Keys::new());
        let auth = FakeAuth::start(keys.clone(), world.clone()).await;
        Self::with(auth, keys, world)
    }

    /// The stream of revocations says nothing from the start.
    async fn silent(world: World) -> Self {
        let keys = Arc::new(Keys::new());
        let auth = FakeAuth::start(keys.clone(), world.clone()).await;
        auth.fall_silent();
        Self::with(auth, keys, world)
    }

    fn with(auth: FakeAuth, keys: Arc<Keys>, world: World) -> Self {
        let channel = quire_serve::client::channel(&auth.url).unwrap();
        let identity = ServiceIdentity::new("background-job", world.clone(), &master());
        let shutdown = CancellationToken::new();
        let gatekeeper = Gatekeeper::following(channel, identity, world.clone(), &master(), shutdown.clone());
        Self { auth, keys, gatekeeper, world, _following: shutdown.drop_guard() }
    }

    fn claims(&self) -> AccessClaims {
        claims(&self.world, OWNER, Role::User)
    }

    fn token(&self, change: impl FnOnce(&mut AccessClaims)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.keys.token(KID, &claims)
    }

    /// Waits until the gatekeeper knows by itself that the token's session is good.
    async fn heard(&self, token: &str) -> UserCaller {
        let asking = async {
            loop {
                let before = self.auth.read(|book| book.checked);
                let caller = self.gatekeeper.user_of_token(token).await.unwrap();
                if self.auth.read(|book| book.checked) == before {
                    return caller;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("auth is heard in time")
    }
}

/// A job service that follows the fake auth, and an open stream about a job that nobody works on.
struct Scene {
    auth: FakeAuth,
    service: Service,
    job_id: String,
    stream: Streaming<pb::WatchJobResponse>,
    _stage: Stage,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::digest(Backend::Sqlite).await;
        let auth = FakeAuth::start(stage.keys.clone(), World::system()).await;
        let tweak = |config: &mut Config| {
            config.auth_url = auth.url.clone();
            config.concurrency = 0;
        };
        let mut service = stage.start_with(World::system(), tweak).await;
        let job_id = service.start_paid().await;
        let mut stream = service.watch(&job_id, 0).await;
        assert_eq!(stream.message().await.unwrap().unwrap().event.unwrap().kind, "queued");
        Self { auth, service, job_id, stream, _stage: stage }
    }

    /// How the stream ends.
    async fn end(&mut self) -> Fault {
        let next = tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("it ends in time");
        Fault::from(&next.unwrap_err())
    }
}

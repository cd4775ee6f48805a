//! Random histories of one account against a small model: whatever is done in whatever order, over restarts and
//! with time passing, auth and the model agree on who is let in.

use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quire_proto::auth::v1 as pb;
use quire_testkit::{Backend, on_both_databases};

use crate::harness::{Auth, Place, reason, seconds};

on_both_databases!(random_histories_go_as_the_model_says);

#[derive(Debug, Clone)]
enum Step {
    SignIn,
    /// With the newest token of a session.
    Refresh(usize),
    /// With the token so many generations back.
    Replay(usize, usize),
    /// With the newest access token: confirms its generation.
    Use(usize),
    Logout(usize),
    Block,
    Unblock,
    Restart,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..4_usize;
    let wait = prop_oneof![4 => 1..9_u64, 3 => 10..600_u64, 1 => Just(86_500), 1 => Just(31 * 86_400)];
    prop_oneof![
        3 => Just(Step::SignIn),
        6 => session.clone().prop_map(Step::Refresh),
        5 => (session.clone(), 1..4_usize).prop_map(|(session, back)| Step::Replay(session, back)),
        4 => session.clone().prop_map(Step::Use),
        1 => session.prop_map(Step::Logout),
        1 => Just(Step::Block),
        2 => Just(Step::Unblock),
        1 => Just(Step::Restart),
        5 => wait.prop_map(Step::Wait),
    ]
}

/// What a session should be.
struct Session {
    refresh: Vec<String>,
    access: String,
    access_at: u64,
    began: u64,
    rotated: u64,
    confirmed: bool,
    over: bool,
}

impl Session {
    fn ended(&self, now: u64) -> bool {
        self.over || now >= self.rotated + 30 * 86_400 || now >= self.began + 90 * 86_400
    }

    /// What a token so many generations back comes to.
    fn expected(&self, back: usize, now: u64) -> &'static str {
        let since = now - self.rotated;
        match back {
            _ if self.ended(now) => "SESSION_ENDED",
            0 => "next",
            1 if since <= 10 || (!self.confirmed && since <= 86_400) => "again",
            _ => "REFRESH_TOKEN_REUSED",
        }
    }
}

struct Run {
    place: Place,
    auth: Auth,
    sessions: Vec<Session>,
    blocked: bool,
    now: u64,
}

/// The mail limit is not what this is about, and the operator's access token must not end.
const SETTINGS: [(&str, &str); 3] = [
    ("QUIRE_ADMIN_EMAILS", "root@example.org"),
    ("QUIRE_MAIL_LIMIT", "1000000/second"),
    ("QUIRE_ACCESS_TOKEN_SECONDS", "1000"),
];

impl Run {
    async fn apply(&mut self, step: &Step) {
        match *step {
            Step::SignIn => self.sign_in().await,
            Step::Refresh(session) => self.refresh(session, 0).await,
            Step::Replay(session, back) => self.refresh(session, back).await,
            Step::Use(session) => self.look(session).await,
            Step::Logout(session) => {
                let now = self.now;
                if let Some(session) = self.sessions.get_mut(session)
                    && now < session.access_at + 1000
                {
                    self.auth.logout(&session.access).await.unwrap();
                    session.over = true;
                }
            }
            Step::Block | Step::Unblock => self.set_blocked(matches!(step, Step::Block)).await,
            Step::Restart => {
                let fresh = Auth::start_with(&self.place, &SETTINGS).await;
                std::mem::replace(&mut self.auth, fresh).stop().await;
            }
            Step::Wait(time) => {
                self.place.clock.advance(seconds(time));
                self.now += time;
            }
        }
    }

    async fn sign_in(&mut self) {
        let token = self.auth.link_token("ada@example.org").await;
        let outcome = self.auth.verify(&token).await;
        if self.blocked {
            assert_eq!(reason(outcome), "USER_BLOCKED");
            return;
        }
        let pair = outcome.unwrap().tokens.unwrap();
        let session = Session {
            refresh: vec![pair.refresh_token],
            access: pair.access_token,
            access_at: self.now,
            began: self.now,
            rotated: self.now,
            confirmed: true,
            over: false,
        };
        self.sessions.insert(0, session);
        self.sessions.truncate(4);
    }

    async fn refresh(&mut self, session: usize, back: usize) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(session) else { return };
        let Some(place) = session.refresh.len().checked_sub(1 + back) else { return };
        let expected = session.expected(back, now);
        let outcome = self.auth.refresh(&session.refresh[place]).await;
        match expected {
            "next" | "again" => {
                let pair = outcome.unwrap_or_else(|status| panic!("expected {expected}: {status}"));
                if expected == "next" {
                    assert!(!session.refresh.contains(&pair.refresh_token));
                    session.refresh.push(pair.refresh_token);
                    (session.rotated, session.confirmed) = (now, false);
                } else {
                    assert_eq!(Some(&pair.refresh_token), session.refresh.last(), "byte for byte");
                }
                (session.access, session.access_at) = (pair.access_token, now);
            }
            refused => {
                assert_eq!(reason(outcome), refused);
                session.over = true;
            }
        }
    }

    async fn look(&mut self, session: usize) {
        let (now, blocked) = (self.now, self.blocked);
        let Some(session) = self.sessions.get_mut(session) else { return };
        let outcome = self.auth.me(&session.access).await;
        let expected = match () {
            () if now >= session.access_at + 1005 => "TOKEN_INVALID",
            () if blocked => "USER_BLOCKED",
            () if session.ended(now) => "SESSION_ENDED",
            () => {
                outcome.unwrap();
                session.confirmed = true;
                return;
            }
        };
        let reason = reason(outcome);
        // A token never outlives its session, whose end the model counts in whole seconds.
        assert!(reason == expected || (session.ended(now) && reason == "TOKEN_INVALID"), "{reason}");
    }

    async fn set_blocked(&mut self, blocked: bool) {
        let token = self.auth.link_token("root@example.org").await;
        let root = self.auth.verify(&token).await.unwrap().tokens.unwrap().access_token;
        let request = pb::ListUsersRequest { email: "ada@example.org".to_owned(), ..Default::default() };
        let request = crate::harness::bearer(&root, request);
        let users = self.auth.client.clone().list_users(request).await.unwrap().into_inner().users;
        let Some(user) = users.first() else { return };
        match blocked {
            true => {
                self.auth.block(&root, &user.id).await.unwrap();
                self.sessions.iter_mut().for_each(|session| session.over = true);
            }
            false => drop(self.auth.unblock(&root, &user.id).await.unwrap()),
        }
        self.blocked = blocked;
    }
}

async fn random_histories_go_as_the_model_says(backend: Backend) {
    let mut runner = TestRunner::deterministic();
    let histories = proptest::collection::vec(proptest::collection::vec(step(), 60), 8);
    for history in histories.new_tree(&mut runner).unwrap().current() {
        let place = Place::new(backend).await;
        let auth = Auth::start_with(&place, &SETTINGS).await;
        let sessions = Vec::new();
        // The first start has migrated; a restart overlaps with the process before it, as in a rolling deploy.
        auth.keys().await;
        let mut run = Run { place, auth, sessions, blocked: false, now: 0 };
        for step in &history {
            run.apply(step).await;
        }
        run.auth.stop().await;
    }
}

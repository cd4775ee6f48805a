//! The check every call passes: which user, or which service.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_fault::{Fault, Kind};
use quire_serve::metrics::Scope;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::access::{self, UserCaller};
use crate::authority::{Authority, Following, Reporter};
use crate::keys::{KeySet, KeySource, Keys};
use crate::refresh;
use crate::service::{self, SERVICE_TOKEN};
use crate::standing::{Standing, Word, session_ended, user_blocked};
use crate::verified::{Genuine, VerifiedTokens};
use crate::{MasterSecret, ServiceIdentity};

/// The gateway's name in its service token.
pub const GATEWAY: &str = "gateway";
/// How often an open stream asks auth about its caller while the revocations are stale.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Verifies callers. Cheap to clone.
#[derive(Clone)]
pub struct Gatekeeper {
    world: World,
    keys: Arc<KeySet>,
    verified: Arc<VerifiedTokens>,
    /// `None` for auth, which looks into its own database, and for tests.
    remote: Option<Remote>,
    service_key: [u8; 32],
}

/// What a verifier outside auth knows of revocations, and how it finds out more.
#[derive(Clone)]
struct Remote {
    authority: Authority,
    standing: Arc<Standing>,
    reporter: Reporter,
}

/// Where a call came from, for the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Empty unless the gateway vouches for it: a direct caller could write anything.
    pub client_address: String,
    /// At most 200 characters.
    pub user_agent: String,
    pub request_id: String,
}

impl Gatekeeper {
    /// Verifies with keys from `source`, and knows of no revocations.
    pub fn new(world: World, source: Arc<dyn KeySource>, master: &MasterSecret) -> Self {
        let keys = Arc::new(KeySet::new(source));
        let service_key = service::service_key(master);
        Self { world, keys, verified: Arc::new(VerifiedTokens::new()), remote: None, service_key }
    }

    /// Verifies with the keys of auth, and follows its revocations until the shutdown.
    pub fn following(
        auth: Channel,
        identity: ServiceIdentity,
        world: World,
        master: &MasterSecret,
        shutdown: CancellationToken,
    ) -> Self {
        let authority = Authority::new(auth, identity);
        let mut gatekeeper = Self::new(world.clone(), Arc::new(authority.clone()), master);
        let standing = Arc::new(Standing::new());
        let following = Following {
            authority: authority.clone(),
            keys: gatekeeper.keys.clone(),
            standing: standing.clone(),
            world,
        };
        tokio::spawn(following.run(shutdown.clone()));
        let reporter = Reporter::start(authority.clone(), shutdown);
        gatekeeper.remote = Some(Remote { authority, standing, reporter });
        gatekeeper
    }

    /// Shows how long auth has been silent.
    pub fn expose(&self, scope: &Scope) {
        let Some(standing) = self.remote.as_ref().map(|remote| remote.standing.clone()) else { return };
        scope.gauge(
            "revocation_stream_age_seconds",
            "Time since auth was last heard on its stream of revocations, or since the start",
            move || standing.silent_for().as_secs_f64(),
        );
    }

    /// The user whose access token the call carries.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a valid token or when its session has ended; `PERMISSION_DENIED` when the user is
    /// blocked; `UNAVAILABLE` when auth must be asked and does not answer.
    pub async fn user(&self, metadata: &MetadataMap) -> Result<UserCaller, Fault> {
        let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = header.and_then(|header| header.split_once(' ')) else {
            return Err(unauthenticated("TOKEN_MISSING", "an access token is required"));
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthenticated("TOKEN_MISSING", "an access token is required"));
        }
        self.user_of_token(token.trim()).await
    }

    /// The user of an access token.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub async fn user_of_token(&self, token: &str) -> Result<UserCaller, Fault> {
        let key = VerifiedTokens::key(token);
        let known = self.verified.get(&key).filter(|genuine| self.keys.has(&genuine.kid));
        let fresh = known.is_none();
        let genuine = match known {
            Some(genuine) => genuine,
            None => Arc::new(self.verify(token).await?),
        };
        if !genuine.token.in_time(self.world.now()) {
            return Err(invalid());
        }
        let caller = genuine.token.caller.clone();
        if let Some(remote) = &self.remote {
            match remote.standing.of(&caller) {
                Word::Good => {}
                Word::Ended => return Err(session_ended()),
                Word::Blocked => return Err(user_blocked()),
                Word::Unknown => remote.authority.check(&caller).await?,
            }
            if fresh {
                remote.reporter.seen(&caller);
            }
        }
        // Last: a token that could not be checked is still a new one at its next call, and then reported.
        if fresh {
            self.verified.insert(key, genuine);
        }
        Ok(caller)
    }

    async fn verify(&self, token: &str) -> Result<Genuine, Fault> {
        let kid = access::key_id(token).ok_or_else(invalid)?;
        let key = self.keys.get(&kid, &self.world).await?.ok_or_else(invalid)?;
        let token = access::verify(token, &key).ok_or_else(invalid)?;
        Ok(Genuine { kid, token })
    }

    /// The session of a genuine refresh token, whether or not it is still good; for counting by session.
    pub async fn session_of_refresh(&self, token: &str) -> Option<String> {
        let kid = refresh::key_id(token)?;
        let key = self.keys.get(&kid, &self.world).await.ok()??;
        refresh::verify(token, &key).map(|claims| claims.sid)
    }

    /// The public keys that verify tokens now.
    ///
    /// # Errors
    /// `UNAVAILABLE` when none was ever fetched and auth does not answer.
    pub async fn keys(&self) -> Result<Keys, Fault> {
        self.keys.all().await
    }

    /// Waits until the caller's session ends or its user is blocked, and says which. For streams, which are
    /// authorised once and stay open.
    pub async fn until_ended(&self, caller: &UserCaller) -> Fault {
        let Some(remote) = &self.remote else { return std::future::pending().await };
        let mut changes = remote.standing.changes();
        let mut missed = false;
        loop {
            match remote.standing.of(caller) {
                Word::Ended => return session_ended(),
                Word::Blocked => return user_blocked(),
                // What happened during the silence may be too old to be sent again.
                Word::Good if !missed => {}
                word => match remote.authority.check(caller).await {
                    Ok(()) => missed = word == Word::Unknown,
                    Err(fault) if fault.kind != Kind::Unavailable => return fault,
                    Err(_) => missed = true,
                },
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return std::future::pending().await },
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// The user, who must have the admin role.
    ///
    /// # Errors
    /// As [`Self::user`], and `PERMISSION_DENIED` for other users.
    pub async fn admin(&self, metadata: &MetadataMap) -> Result<UserCaller, Fault> {
        let user = self.user(metadata).await?;
        user.require_admin()?;
        Ok(user)
    }

    /// The service that calls, which must be one of `allowed`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a genuine service token, `PERMISSION_DENIED` for other services.
    pub fn service(&self, metadata: &MetadataMap, allowed: &[&str]) -> Result<String, Fault> {
        let Some(name) = self.service_name(metadata) else {
            return Err(unauthenticated(
                "SERVICE_TOKEN_REQUIRED",
                "only services of this installation may do this",
            ));
        };
        if allowed.contains(&name.as_str()) {
            Ok(name)
        } else {
            Err(Fault::new(Kind::Forbidden, "SERVICE_NOT_ALLOWED", "this service may not do this"))
        }
    }

    /// Where the call came from. The client's address and user agent are believed only from the gateway.
    pub fn origin(&self, metadata: &MetadataMap) -> Origin {
        let text = |key: &str| {
            let value = metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
            value.chars().filter(|character| !character.is_control()).take(200).collect::<String>()
        };
        let vouched = self.service_name(metadata).as_deref() == Some(GATEWAY);
        Origin {
            client_address: if vouched { text("x-quire-client-address") } else { String::new() },
            user_agent: if vouched { text("x-quire-user-agent") } else { text("user-agent") },
            request_id: text("x-request-id"),
        }
    }

    fn service_name(&self, metadata: &MetadataMap) -> Option<String> {
        let token = metadata.get(SERVICE_TOKEN).and_then(|value| value.to_str().ok())?;
        service::verify(token, self.world.now(), &self.service_key)
    }
}

fn invalid() -> Fault {
    unauthenticated("TOKEN_INVALID", "the access token is not valid or no longer valid")
}

fn unauthenticated(reason: &str, message: &str) -> Fault {
    Fault::new(Kind::Unauthenticated, reason, message)
}

//! Auth as the other processes see it: its keys, its revocations, and its word on a single session.

use std::sync::Arc;
use std::time::Duration;

use quire_clock::World;
use quire_fault::{Fault, Kind};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use quire_serve::client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::keys::{KeySet, KeySource, PublicKey};
use crate::standing::{STALE, Standing};
use crate::{ServiceIdentity, UserCaller};

const DEADLINE: Duration = Duration::from_secs(3);
/// Pauses between two attempts to open the stream of revocations.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// Confirmations that may wait. One that finds no place is left out: its parent token lives a little longer.
const WAITING: usize = 4096;
const BATCH: usize = 500;
/// How often one batch of confirmations is sent before it is left out.
const TRIES: u32 = 3;

/// A client of auth. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authority {
    client: AuthServiceClient<Channel>,
    identity: ServiceIdentity,
}

impl Authority {
    pub(crate) fn new(auth: Channel, identity: ServiceIdentity) -> Self {
        Self { client: AuthServiceClient::new(auth), identity }
    }

    /// Asks auth itself whether the caller's session is still good.
    ///
    /// # Errors
    /// The session is over, its user is blocked, or auth does not answer.
    pub(crate) async fn check(&self, caller: &UserCaller) -> Result<(), Fault> {
        let message = pb::CheckSessionRequest {
            session_id: caller.session_id.clone(),
            user_id: caller.user_id.clone(),
        };
        self.client.clone().check_session(self.request(message)).await.map_err(|status| {
            let fault = Fault::from(&status);
            if matches!(fault.reason.as_str(), "SESSION_ENDED" | "USER_BLOCKED") {
                return fault;
            }
            unavailable(&status)
        })?;
        Ok(())
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = client::outgoing(message, DEADLINE);
        self.identity.authorize(&mut request);
        request
    }
}

#[tonic::async_trait]
impl KeySource for Authority {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        let answer = self.client.clone().list_signing_keys(self.request(pb::ListSigningKeysRequest {})).await;
        let keys = answer.map_err(|status| unavailable(&status))?.into_inner().keys.into_iter();
        Ok(keys.map(|key| PublicKey { kid: key.kid, bytes: key.public_key }).collect())
    }
}

fn unavailable(status: &Status) -> Fault {
    tracing::warn!(code = ?status.code(), "auth does not answer");
    Fault::new(Kind::Unavailable, "AUTH_UNAVAILABLE", "sign-in state cannot be checked right now")
        .with_retry_after(Duration::from_secs(1))
}

/// What the tasks that keep a verifier up to date share.
pub(crate) struct Following {
    pub(crate) authority: Authority,
    pub(crate) keys: Arc<KeySet>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) world: World,
}

impl Following {
    /// Follows auth's stream of revocations until the shutdown, opening it again whenever it breaks.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = RETRY;
        loop {
            let before = self.standing.heard_at();
            let broken = tokio::select! {
                () = shutdown.cancelled() => return,
                broken = self.follow() => broken,
            };
            // A stream that brought something, be it a sign of life, was a good one.
            pause = if self.standing.heard_at() > before { RETRY } else { (pause * 2).min(MAX_RETRY) };
            tracing::debug!(cause = broken, "the stream of revocations broke");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn follow(&self) -> &'static str {
        let message = pb::WatchRevocationsRequest { after_seq: self.standing.seq() };
        let mut request = client::outgoing_stream(message);
        self.authority.identity.authorize(&mut request);
        let mut client = self.authority.client.clone();
        let Ok(Ok(answer)) = tokio::time::timeout(STALE, client.watch_revocations(request)).await else {
            return "auth does not answer";
        };
        let mut stream = answer.into_inner();
        let mut version = None;
        loop {
            let Ok(next) = tokio::time::timeout(STALE, stream.message()).await else { return "silence" };
            let Ok(Some(message)) = next else { return "closed" };
            if version.as_ref() != Some(&message.keys_version) {
                // The keys first: the message counts as heard only when both are known.
                if self.keys.fetch().await.is_err() {
                    return "the keys cannot be fetched";
                }
                version = Some(message.keys_version.clone());
            }
            self.standing.apply(message, self.world.now());
        }
    }
}

/// Tells auth which generations were seen in use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter(mpsc::Sender<pb::SeenGeneration>);

impl Reporter {
    /// Starts reporting, until the shutdown or until nobody reports any more.
    pub(crate) fn start(authority: Authority, shutdown: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(report(authority, receiver, shutdown));
        Self(sender)
    }

    pub(crate) fn seen(&self, caller: &UserCaller) {
        // The first generation has no token before it that could be retired.
        if caller.generation > 1 {
            let (session_id, generation) = (caller.session_id.clone(), caller.generation);
            let _ = self.0.try_send(pb::SeenGeneration { session_id, generation });
        }
    }
}

async fn report(
    authority: Authority,
    mut seen: mpsc::Receiver<pb::SeenGeneration>,
    shutdown: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            count = seen.recv_many(&mut batch, BATCH) => if count == 0 { return },
        }
        for attempt in 1..=TRIES {
            let message = pb::ConfirmGenerationsRequest { seen: batch.clone() };
            match authority.client.clone().confirm_generations(authority.request(message)).await {
                Ok(_) => break,
                Err(status) => {
                    tracing::warn!(code = ?status.code(), attempt, "generations in use are not confirmed")
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY * 2_u32.pow(attempt)) => {}
            }
        }
        batch.clear();
    }
}

//! Auth, played, as far as the services that follow it see it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use quire_clock::World;
use quire_fault::Fault;
use quire_identity::Gatekeeper;
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_server::{AuthService, AuthServiceServer};
use quire_proto::auth::v1::revocation::Subject;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::keys::{KID, Keys};
use crate::stage;

/// Who may follow auth.
const FOLLOWERS: [&str; 1] = ["background-job"];
/// The real auth gives a sign of life every second.
const BEAT: Duration = Duration::from_millis(200);
/// Waits end here; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it was asked, and how it shall answer.
#[derive(Default)]
pub struct Book {
    /// In order; the `seq` of each is its place, counted from 1.
    revocations: Vec<Subject>,
    /// Whether the stream says nothing at all.
    silent: bool,
    /// The answer to whoever asks about a session, if it is not good.
    word: Option<Fault>,
    /// How often it was asked for its keys.
    pub listed: usize,
    /// How often it was asked about a session.
    pub checked: usize,
    pub confirmed: Vec<pb::SeenGeneration>,
}

#[derive(Clone)]
pub struct FakeAuth {
    pub url: String,
    book: Arc<watch::Sender<Book>>,
    keys: Arc<Keys>,
    gatekeeper: Gatekeeper,
    world: World,
}

impl FakeAuth {
    pub async fn start(keys: Arc<Keys>, world: World) -> Self {
        let gatekeeper = Gatekeeper::new(world.clone(), keys.clone(), &stage::master());
        let book = Arc::new(watch::Sender::new(Book::default()));
        let mut auth = Self { url: String::new(), book, keys, gatekeeper, world };
        let router = Server::builder().add_service(AuthServiceServer::new(auth.clone()));
        auth.url = stage::serve(router).await;
        auth
    }

    /// Tells every follower.
    pub fn revoke(&self, subject: Subject) {
        self.book.send_modify(|book| book.revocations.push(subject));
    }

    /// From now on the streams stay open and say nothing.
    pub fn fall_silent(&self) {
        self.book.send_modify(|book| book.silent = true);
    }

    /// From now on whoever asks about a session hears this, or that it is good. No follower is told.
    pub fn answer(&self, word: Option<Fault>) {
        self.book.send_modify(|book| book.word = word);
    }

    pub fn read<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.book.borrow())
    }

    /// Waits until it was asked as described.
    pub async fn was(&self, asked: impl FnMut(&Book) -> bool) {
        let mut book = self.book.subscribe();
        let waiting = tokio::time::timeout(PATIENCE, book.wait_for(asked)).await;
        waiting.expect("auth is asked in time").unwrap();
    }

    /// What comes after a place in the log, as soon as there is something to say.
    async fn next(&self, after: i64, book: &mut watch::Receiver<Book>) -> pb::WatchRevocationsResponse {
        let after = usize::try_from(after).unwrap();
        // Returns at once with news; without, the beat ends the waiting.
        let news = book.wait_for(|book| !book.silent && book.revocations.len() > after);
        let _ = tokio::time::timeout(BEAT, news).await;
        let speaking = book.wait_for(|book| !book.silent).await.unwrap();
        let forget_at = self.world.now().plus(Duration::from_secs(900));
        let forget_at = quire_proto::timestamp(forget_at.unix_micros());
        let news = speaking.revocations.iter().skip(after).cloned();
        let revocations =
            news.map(|subject| pb::Revocation { subject: Some(subject), forget_at: Some(forget_at) });
        pb::WatchRevocationsResponse {
            seq: i64::try_from(speaking.revocations.len()).unwrap(),
            revocations: revocations.collect(),
            keys_version: "1".to_owned(),
        }
    }
}

/// The methods that no follower calls.
macro_rules! auth_service {
    ($($method:ident($request:ident) -> $response:ident,)+) => {
        #[tonic::async_trait]
        impl AuthService for FakeAuth {
            $(
                async fn $method(
                    &self,
                    _: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    Err(Status::unimplemented("no follower calls this"))
                }
            )+

            async fn list_signing_keys(
                &self,
                _: Request<pb::ListSigningKeysRequest>,
            ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
                self.book.send_modify(|book| book.listed += 1);
                let public_key = self.keys.public().bytes;
                let state = pb::SigningKeyState::Active.into();
                let keys = vec![pb::SigningKey { kid: KID.to_owned(), public_key, state }];
                Ok(Response::new(pb::ListSigningKeysResponse { keys }))
            }

            type WatchRevocationsStream =
                Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

            async fn watch_revocations(
                &self,
                request: Request<pb::WatchRevocationsRequest>,
            ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
                self.gatekeeper.service(request.metadata(), &FOLLOWERS)?;
                let (auth, mut book) = (self.clone(), self.book.subscribe());
                let mut after = request.get_ref().after_seq;
                Ok(Response::new(Box::pin(async_stream::stream! {
                    loop {
                        let message = auth.next(after, &mut book).await;
                        after = message.seq;
                        yield Ok(message);
                    }
                })))
            }

            async fn check_session(
                &self,
                request: Request<pb::CheckSessionRequest>,
            ) -> Result<Response<pb::CheckSessionResponse>, Status> {
                self.gatekeeper.service(request.metadata(), &FOLLOWERS)?;
                self.book.send_modify(|book| book.checked += 1);
                match self.read(|book| book.word.clone()) {
                    Some(fault) => Err(fault.into()),
                    None => Ok(Response::new(pb::CheckSessionResponse {})),
                }
            }

            async fn confirm_generations(
                &self,
                request: Request<pb::ConfirmGenerationsRequest>,
            ) -> Result<Response<pb::ConfirmGenerationsResponse>, Status> {
                self.gatekeeper.service(request.metadata(), &FOLLOWERS)?;
                self.book.send_modify(|book| book.confirmed.extend(request.into_inner().seen));
                Ok(Response::new(pb::ConfirmGenerationsResponse {}))
            }
        }
    };
}

auth_service! {
    request_magic_link(RequestMagicLinkRequest) -> RequestMagicLinkResponse,
    verify_magic_link(VerifyMagicLinkRequest) -> VerifyMagicLinkResponse,
    refresh_session(RefreshSessionRequest) -> RefreshSessionResponse,
    logout(LogoutRequest) -> LogoutResponse,
    get_current_user(GetCurrentUserRequest) -> GetCurrentUserResponse,
    list_sessions(ListSessionsRequest) -> ListSessionsResponse,
    rename_session(RenameSessionRequest) -> RenameSessionResponse,
    revoke_session(RevokeSessionRequest) -> RevokeSessionResponse,
    revoke_other_sessions(RevokeOtherSessionsRequest) -> RevokeOtherSessionsResponse,
    list_audit_events(ListAuditEventsRequest) -> ListAuditEventsResponse,
    list_users(ListUsersRequest) -> ListUsersResponse,
    block_user(BlockUserRequest) -> BlockUserResponse,
    unblock_user(UnblockUserRequest) -> UnblockUserResponse,
    explain_mail_limit(ExplainMailLimitRequest) -> ExplainMailLimitResponse,
}

//! The gRPC face of auth: decode, call, encode.

mod convert;

use std::pin::Pin;

use futures::Stream;
use quire_database::Database;
use quire_identity::{GATEWAY, Gatekeeper, UserCaller};
use quire_limit::{Limiter, RouteLimit};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_server::AuthService;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::email::Email;
use crate::error::AuthError;
use crate::keys::Keyring;
use crate::magic_links::{MagicLinks, Proof, mail_keys};
use crate::revocations::Revocations;
use crate::sessions::Sessions;
use crate::users::Users;

/// Everybody who verifies tokens.
const VERIFIERS: [&str; 4] = [GATEWAY, "document", "payment", "background-job"];

pub struct Grpc {
    pub gatekeeper: Gatekeeper,
    pub links: MagicLinks,
    pub sessions: Sessions,
    pub users: Users,
    pub keyring: Keyring,
    pub revocations: Revocations,
    pub database: Database,
    pub limiter: Limiter,
    pub mail_limit: RouteLimit,
}

impl Grpc {
    /// An operator whose session is still good.
    async fn admin(&self, metadata: &MetadataMap) -> Result<UserCaller, Status> {
        let caller = self.gatekeeper.admin(metadata).await?;
        self.sessions.current(&caller).await?;
        Ok(caller)
    }
}

#[tonic::async_trait]
impl AuthService for Grpc {
    async fn request_magic_link(
        &self,
        request: Request<pb::RequestMagicLinkRequest>,
    ) -> Result<Response<pb::RequestMagicLinkResponse>, Status> {
        let origin = self.gatekeeper.origin(request.metadata());
        let pb::RequestMagicLinkRequest { email, verifier } = request.get_ref();
        let requested = self.links.request(email, verifier, &origin).await?;
        let expires_in_seconds = i32::try_from(requested.lifetime.as_secs()).unwrap_or(i32::MAX);
        let verifier = requested.verifier;
        Ok(Response::new(pb::RequestMagicLinkResponse { expires_in_seconds, verifier }))
    }

    async fn verify_magic_link(
        &self,
        request: Request<pb::VerifyMagicLinkRequest>,
    ) -> Result<Response<pb::VerifyMagicLinkResponse>, Status> {
        let origin = self.gatekeeper.origin(request.metadata());
        let pb::VerifyMagicLinkRequest { token, code, verifier } = request.get_ref();
        let proof = if code.is_empty() { Proof::Token(token) } else { Proof::Code(code) };
        let signed_in = self.links.verify(proof, verifier, &origin).await?;
        Ok(Response::new(pb::VerifyMagicLinkResponse {
            tokens: Some(convert::tokens(signed_in.tokens)),
            user: Some(convert::user(signed_in.user, signed_in.role)),
        }))
    }

    async fn refresh_session(
        &self,
        request: Request<pb::RefreshSessionRequest>,
    ) -> Result<Response<pb::RefreshSessionResponse>, Status> {
        let origin = self.gatekeeper.origin(request.metadata());
        let tokens = self.sessions.refresh(&request.get_ref().refresh_token, &origin).await?;
        Ok(Response::new(pb::RefreshSessionResponse { tokens: Some(convert::tokens(tokens)) }))
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        self.sessions.end(&caller, &origin).await?;
        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn get_current_user(
        &self,
        request: Request<pb::GetCurrentUserRequest>,
    ) -> Result<Response<pb::GetCurrentUserResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let (user, session) = self.sessions.current(&caller).await?;
        Ok(Response::new(pb::GetCurrentUserResponse {
            user: Some(convert::user(user, caller.role)),
            session: Some(convert::session(session, &caller)),
        }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let sessions = self.sessions.list(&caller).await?.into_iter();
        let sessions = sessions.map(|session| convert::session(session, &caller)).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions }))
    }

    async fn rename_session(
        &self,
        request: Request<pb::RenameSessionRequest>,
    ) -> Result<Response<pb::RenameSessionResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        let pb::RenameSessionRequest { session_id, name } = request.get_ref();
        let session = self.sessions.rename(&caller, session_id, name, &origin).await?;
        let session = Some(convert::session(session, &caller));
        Ok(Response::new(pb::RenameSessionResponse { session }))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        self.sessions.revoke(&caller, &request.get_ref().session_id, &origin).await?;
        Ok(Response::new(pb::RevokeSessionResponse {}))
    }

    async fn revoke_other_sessions(
        &self,
        request: Request<pb::RevokeOtherSessionsRequest>,
    ) -> Result<Response<pb::RevokeOtherSessionsResponse>, Status> {
        let caller = self.gatekeeper.user(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        let revoked = self.sessions.revoke_others(&caller, &origin).await?;
        let revoked = i32::try_from(revoked).unwrap_or(i32::MAX);
        Ok(Response::new(pb::RevokeOtherSessionsResponse { revoked }))
    }

    async fn list_signing_keys(
        &self,
        _request: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        let keys = self.keyring.get().await.map_err(AuthError::Keys)?;
        Ok(Response::new(convert::keys(&keys)))
    }

    type WatchRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        self.gatekeeper.service(request.metadata(), &VERIFIERS)?;
        Ok(Response::new(Box::pin(self.revocations.watch(request.get_ref().after_seq))))
    }

    async fn check_session(
        &self,
        request: Request<pb::CheckSessionRequest>,
    ) -> Result<Response<pb::CheckSessionResponse>, Status> {
        self.gatekeeper.service(request.metadata(), &VERIFIERS)?;
        let pb::CheckSessionRequest { session_id, user_id } = request.get_ref();
        self.sessions.standing(session_id, user_id).await?;
        Ok(Response::new(pb::CheckSessionResponse {}))
    }

    async fn confirm_generations(
        &self,
        request: Request<pb::ConfirmGenerationsRequest>,
    ) -> Result<Response<pb::ConfirmGenerationsResponse>, Status> {
        self.gatekeeper.service(request.metadata(), &VERIFIERS)?;
        let seen = request.into_inner().seen.into_iter();
        self.sessions.confirm(seen.map(|seen| (seen.session_id, seen.generation)).collect()).await?;
        Ok(Response::new(pb::ConfirmGenerationsResponse {}))
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = match request.get_ref().everybody {
            true => self.admin(request.metadata()).await?,
            false => {
                let caller = self.gatekeeper.user(request.metadata()).await?;
                self.sessions.current(&caller).await?;
                caller
            }
        };
        let mut message = request.into_inner();
        if !message.everybody {
            message.user_id = caller.user_id;
        }
        let page = convert::audit_query(message).page(self.database.reader()).await?;
        Ok(Response::new(convert::page(page)))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        self.admin(request.metadata()).await?;
        let pb::ListUsersRequest { page_size, page_token, email } = request.get_ref();
        let (users, next_page_token) = self.users.list(*page_size, page_token, email).await?;
        let users = users.into_iter().map(|user| {
            let role = self.sessions.role(&user.email);
            convert::user(user, role)
        });
        Ok(Response::new(pb::ListUsersResponse { users: users.collect(), next_page_token }))
    }

    async fn block_user(
        &self,
        request: Request<pb::BlockUserRequest>,
    ) -> Result<Response<pb::BlockUserResponse>, Status> {
        let operator = self.admin(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        let user = self.users.set_blocked(&operator, &request.get_ref().user_id, true, &origin).await?;
        let role = self.sessions.role(&user.email);
        Ok(Response::new(pb::BlockUserResponse { user: Some(convert::user(user, role)) }))
    }

    async fn unblock_user(
        &self,
        request: Request<pb::UnblockUserRequest>,
    ) -> Result<Response<pb::UnblockUserResponse>, Status> {
        let operator = self.admin(request.metadata()).await?;
        let origin = self.gatekeeper.origin(request.metadata());
        let user = self.users.set_blocked(&operator, &request.get_ref().user_id, false, &origin).await?;
        let role = self.sessions.role(&user.email);
        Ok(Response::new(pb::UnblockUserResponse { user: Some(convert::user(user, role)) }))
    }

    async fn explain_mail_limit(
        &self,
        request: Request<pb::ExplainMailLimitRequest>,
    ) -> Result<Response<pb::ExplainMailLimitResponse>, Status> {
        self.admin(request.metadata()).await?;
        let email = Email::parse(&request.get_ref().email).map_err(AuthError::Email)?;
        let explanation = self.limiter.explain(&self.mail_limit, &mail_keys(&email)).await;
        Ok(Response::new(convert::explanation(explanation)))
    }
}

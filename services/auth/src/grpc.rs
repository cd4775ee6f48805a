//! The gRPC face of auth: decode, call, encode.

mod convert;

use quire_identity::Gatekeeper;
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_server::AuthService;
use tonic::{Request, Response, Status};

use crate::audit::Audit;
use crate::error::AuthError;
use crate::keys::Keyring;
use crate::magic_links::MagicLinks;
use crate::sessions::Sessions;

pub struct Grpc {
    pub gatekeeper: Gatekeeper,
    pub links: MagicLinks,
    pub sessions: Sessions,
    pub keyring: Keyring,
    pub audit: Audit,
}

#[tonic::async_trait]
impl AuthService for Grpc {
    async fn request_magic_link(
        &self,
        request: Request<pb::RequestMagicLinkRequest>,
    ) -> Result<Response<pb::RequestMagicLinkResponse>, Status> {
        let origin = self.gatekeeper.origin(request.metadata());
        let lifetime = self.links.request(&request.get_ref().email, &origin).await?;
        let expires_in_seconds = i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX);
        Ok(Response::new(pb::RequestMagicLinkResponse { expires_in_seconds }))
    }

    async fn verify_magic_link(
        &self,
        request: Request<pb::VerifyMagicLinkRequest>,
    ) -> Result<Response<pb::VerifyMagicLinkResponse>, Status> {
        let origin = self.gatekeeper.origin(request.metadata());
        let signed_in = self.links.verify(&request.get_ref().token, &origin).await?;
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

    async fn list_signing_keys(
        &self,
        _request: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        let keys = self.keyring.get().await.map_err(AuthError::Keys)?;
        Ok(Response::new(convert::keys(keys)))
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let everybody = request.get_ref().everybody;
        let caller = match everybody {
            true => self.gatekeeper.admin(request.metadata()).await?,
            false => self.gatekeeper.user(request.metadata()).await?,
        };
        self.sessions.current(&caller).await?;
        let of = (!everybody).then_some(caller.user_id.as_str());
        let page = self.audit.page(of, request.get_ref().page_size, &request.get_ref().page_token).await?;
        Ok(Response::new(convert::page(page)))
    }
}

//! The calls that are repeated.

use anyhow::Context;
use quire::customer::Customer;
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::load::Call;

/// `GET /auth/me` through the gateway.
pub(crate) struct Me(pub(crate) Customer);

impl Call for Me {
    async fn call(&mut self) -> anyhow::Result<()> {
        self.0.get("/auth/me").await.map(drop)
    }
}

/// `POST /auth/refresh` through the gateway, each time with the token of the time before.
pub(crate) struct Refresh(pub(crate) Customer);

impl Call for Refresh {
    async fn call(&mut self) -> anyhow::Result<()> {
        self.0.refresh().await
    }
}

/// `GetCurrentUser` without the gateway.
pub(crate) struct MeDirect {
    pub(crate) client: AuthServiceClient<Channel>,
    pub(crate) authorization: MetadataValue<Ascii>,
}

impl Call for MeDirect {
    async fn call(&mut self) -> anyhow::Result<()> {
        let mut request = tonic::Request::new(pb::GetCurrentUserRequest {});
        request.metadata_mut().insert("authorization", self.authorization.clone());
        self.client.get_current_user(request).await?;
        Ok(())
    }
}

/// `RefreshSession` without the gateway.
pub(crate) struct RefreshDirect {
    pub(crate) client: AuthServiceClient<Channel>,
    pub(crate) refresh_token: String,
}

impl Call for RefreshDirect {
    async fn call(&mut self) -> anyhow::Result<()> {
        let request = pb::RefreshSessionRequest { refresh_token: self.refresh_token.clone() };
        let tokens = self.client.refresh_session(request).await?.into_inner().tokens;
        self.refresh_token = tokens.context("the answer has no tokens")?.refresh_token;
        Ok(())
    }
}

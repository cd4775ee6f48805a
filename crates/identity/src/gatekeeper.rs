//! The check every call passes: which user, or which service.

use std::sync::Arc;

use quire_clock::World;
use quire_fault::{Fault, Kind};
use tonic::metadata::MetadataMap;

use crate::MasterSecret;
use crate::access::{self, UserCaller};
use crate::keys::{KeySet, KeySource};
use crate::service::{self, SERVICE_TOKEN};

/// The gateway's name in its service token.
const GATEWAY: &str = "gateway";

/// Verifies callers. Cheap to clone.
#[derive(Clone)]
pub struct Gatekeeper {
    world: World,
    keys: Arc<KeySet>,
    service_key: [u8; 32],
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
    pub fn new(world: World, source: Arc<dyn KeySource>, master: &MasterSecret) -> Self {
        Self { world, keys: Arc::new(KeySet::new(source)), service_key: service::service_key(master) }
    }

    /// The user whose access token the call carries.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a valid token; `UNAVAILABLE` when a key is unknown and auth does not answer.
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
        let invalid = || unauthenticated("TOKEN_INVALID", "the access token is not valid or no longer valid");
        let kid = access::key_id(token).ok_or_else(invalid)?;
        let key = self.keys.get(&kid, &self.world).await?.ok_or_else(invalid)?;
        access::verify(token, &key, self.world.now()).ok_or_else(invalid)
    }

    /// The user, who must have the admin role.
    ///
    /// # Errors
    /// As [`Self::user`], and `PERMISSION_DENIED` for other users.
    pub async fn admin(&self, metadata: &MetadataMap) -> Result<UserCaller, Fault> {
        let user = self.user(metadata).await?;
        if user.is_admin() {
            Ok(user)
        } else {
            Err(Fault::new(Kind::Forbidden, "ADMIN_REQUIRED", "only an operator may do this"))
        }
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

fn unauthenticated(reason: &str, message: &str) -> Fault {
    Fault::new(Kind::Unauthenticated, reason, message)
}

//! Idempotency keys: a repeated request gets the first answer, through crashes and races.
//!
//! Semantics of the IETF draft "The Idempotency-Key HTTP Header Field" (-07): the same key and request replay the
//! answer; the same key while the first request still runs is a conflict; the same key with another request is
//! refused. Keys belong to a caller and a route, so that nobody gets another's answer. Only answers of requests that
//! succeeded are kept: after a failure the same request may be tried again under its key.
//!
//! A request whose process died is taken over by the next try once its lease is over, with the same resource id, so
//! that the work can find what it made before.

mod call;
mod entity;
mod error;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use quire_clock::World;
use quire_database::Database;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter};
use tonic::Response;
use tonic::metadata::MetadataValue;

pub use call::Call;
pub use error::IdempotencyError;

/// Longer than any work under a key takes: its outside calls all have shorter deadlines.
const LEASE: Duration = Duration::from_secs(45);

/// The keys of one service. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    database: Database,
    world: World,
}

/// An answer and whether it is a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub message: T,
    pub replayed: bool,
}

/// Metadata that says that an answer is a repetition.
pub const REPLAYED: &str = "idempotency-replayed";

impl<T> Answer<T> {
    /// As a gRPC answer, with [`REPLAYED`] if it is a repetition.
    pub fn into_response(self) -> Response<T> {
        let mut response = Response::new(self.message);
        if self.replayed {
            response.metadata_mut().insert(REPLAYED, MetadataValue::from_static("true"));
        }
        response
    }
}

/// The right to answer under a key.
struct Claim {
    resource_id: String,
    epoch: i64,
}

enum Begin<T> {
    Work(Claim),
    Replay(T),
}

impl Keys {
    /// The table `idempotency_keys` of this database.
    pub fn new(database: Database, world: World) -> Self {
        Self { database, world }
    }

    /// Does the work unless its answer is known. `work` is given the id for what it makes: the same at every try of the
    /// same request. It goes on if the caller hangs up. Without a key it is simply done.
    ///
    /// # Errors
    /// The key is not acceptable, is in use, or was used for another request; or the work's own error, after which the
    /// key is free for the same request.
    pub async fn run<T, E, F, Fut>(&self, call: Call, work: F) -> Result<Answer<T>, E>
    where
        T: Message + Default + 'static,
        E: From<IdempotencyError> + Send + 'static,
        F: FnOnce(String) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if call.key.is_empty() {
            return work(self.world.id()).await.map(|message| Answer { message, replayed: false });
        }
        let call = call.checked()?;
        let claim = match self.begin(&call).await? {
            Begin::Replay(message) => return Ok(Answer { message, replayed: true }),
            Begin::Work(claim) => claim,
        };
        let keys = self.clone();
        let running = tokio::spawn(async move {
            let outcome = work(claim.resource_id.clone()).await;
            let stored = match &outcome {
                Ok(message) => keys.finish(&call, claim.epoch, Some(message.encode_to_vec())).await,
                Err(_) => keys.finish(&call, claim.epoch, None).await,
            };
            if let Err(error) = stored {
                // The work stands; the next try finds it by its resource id.
                tracing::warn!(%error, route = call.route, "the answer under an idempotency key cannot be stored");
            }
            outcome
        });
        let outcome = running.await.map_err(|_| IdempotencyError::Broken)?;
        outcome.map(|message| Answer { message, replayed: false })
    }

    /// Drops the keys that are older than this.
    ///
    /// # Errors
    /// The database is gone.
    pub async fn prune(&self, retention: Duration) -> Result<(), DbErr> {
        let txn = self.database.begin_write().await?;
        entity::Entity::delete_many()
            .filter(entity::Column::CreatedAt.lt(self.world.now().minus(retention).unix_micros()))
            .exec(&txn)
            .await?;
        txn.commit().await
    }

    async fn begin<T: Message + Default>(&self, call: &Call) -> Result<Begin<T>, IdempotencyError> {
        let txn = self.database.begin_write().await?;
        let now = quire_database::now(&txn).await?;
        let fresh = entity::Model {
            caller: call.caller.clone(),
            route: call.route.to_owned(),
            key: call.key.clone(),
            request_hash: call.request_hash.clone(),
            resource_id: self.world.id(),
            response: None,
            epoch: 1,
            lease_until: now.plus(LEASE).unix_micros(),
            created_at: self.world.now().unix_micros(),
        };
        let conflict = OnConflict::new().do_nothing().to_owned();
        let insert = entity::Entity::insert(fresh.clone().into_active_model()).on_conflict(conflict);
        if insert.exec_without_returning(&txn).await? == 1 {
            txn.commit().await?;
            return Ok(Begin::Work(Claim { resource_id: fresh.resource_id, epoch: 1 }));
        }
        // On PostgreSQL a concurrent insert was waited for, so the row is there unless it was just pruned.
        let place = (call.caller.clone(), call.route.to_owned(), call.key.clone());
        let row = entity::Entity::find_by_id(place).one(&txn).await?;
        let row = row.ok_or(IdempotencyError::InUse { retry_after: Duration::from_secs(1) })?;
        if row.request_hash != call.request_hash {
            return Err(IdempotencyError::OtherRequest);
        }
        if let Some(response) = &row.response {
            let bytes = BASE64_STANDARD.decode(response).map_err(|_| IdempotencyError::Broken)?;
            return T::decode(&*bytes).map(Begin::Replay).map_err(|_| IdempotencyError::Broken);
        }
        let left = row.lease_until - now.unix_micros();
        if left > 0 {
            let left = Duration::from_micros(u64::try_from(left).unwrap_or_default());
            return Err(IdempotencyError::InUse { retry_after: left.min(Duration::from_secs(5)) });
        }
        let columns = entity::ActiveModel {
            epoch: Set(row.epoch + 1),
            lease_until: Set(now.plus(LEASE).unix_micros()),
            ..Default::default()
        };
        if !self.update(&txn, call, row.epoch, columns).await? {
            return Err(IdempotencyError::InUse { retry_after: Duration::from_secs(1) });
        }
        txn.commit().await?;
        Ok(Begin::Work(Claim { resource_id: row.resource_id, epoch: row.epoch + 1 }))
    }

    /// Stores the answer, or frees the key for another try.
    async fn finish(&self, call: &Call, epoch: i64, response: Option<Vec<u8>>) -> Result<(), DbErr> {
        let txn = self.database.begin_write().await?;
        let columns = entity::ActiveModel {
            response: Set(response.map(|bytes| BASE64_STANDARD.encode(bytes))),
            lease_until: Set(0),
            ..Default::default()
        };
        self.update(&txn, call, epoch, columns).await?;
        txn.commit().await
    }

    /// Fenced: changes the row only in the epoch in which it was read.
    async fn update(
        &self,
        txn: &sea_orm::DatabaseTransaction,
        call: &Call,
        epoch: i64,
        columns: entity::ActiveModel,
    ) -> Result<bool, DbErr> {
        let updated = entity::Entity::update_many()
            .set(columns)
            .filter(entity::Column::Caller.eq(&call.caller))
            .filter(entity::Column::Route.eq(call.route))
            .filter(entity::Column::Key.eq(&call.key))
            .filter(entity::Column::Epoch.eq(epoch))
            .exec(txn)
            .await?;
        Ok(updated.rows_affected == 1)
    }
}

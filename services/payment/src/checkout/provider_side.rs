//! What pays an order at the provider: a checkout session or a payment intent.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{Checkout, Found};
use crate::error::PaymentError;
use crate::inbox::event::Notice;
use crate::provider::{CheckoutSession, PaymentIntent, ProviderError};
use crate::store;
use crate::store::entity::orders::{self, Method, Model as Order};

/// How it stands now.
pub(super) enum Look {
    /// The provider does not know it.
    Unknown,
    /// It can be paid.
    Open,
    Says(Notice),
}

impl Look {
    fn of_session(session: CheckoutSession) -> Self {
        Notice::of_session(session).map_or(Self::Open, Self::Says)
    }

    fn of_intent(intent: PaymentIntent) -> Self {
        Notice::of_intent(intent).map_or(Self::Open, Self::Says)
    }
}

impl Order {
    /// The id of the session or intent; none before the provider has answered.
    pub(crate) fn provider_object(&self) -> Option<&str> {
        match self.method {
            Method::Checkout => self.checkout_session_id.as_deref(),
            Method::Intent => self.intent_id.as_deref(),
        }
    }
}

impl Checkout {
    pub(super) async fn look(&self, order: &Order) -> Result<Look, ProviderError> {
        let id = order.provider_object().unwrap_or_default();
        Ok(match order.method {
            Method::Checkout => {
                self.provider.find_checkout_session(id).await?.map_or(Look::Unknown, Look::of_session)
            }
            Method::Intent => {
                self.provider.find_payment_intent(id).await?.map_or(Look::Unknown, Look::of_intent)
            }
        })
    }

    /// Keeps it from being paid from now on, if it is not too late, and tells how it stands then.
    pub(super) async fn close(&self, order: &Order) -> Result<Look, ProviderError> {
        let id = order.provider_object().unwrap_or_default();
        let closed = match order.method {
            Method::Checkout => self.provider.expire_checkout_session(id).await.map(Look::of_session),
            Method::Intent => self.provider.cancel_payment_intent(id).await.map(Look::of_intent),
        };
        match closed {
            Err(error) if !error.retryable() => self.look(order).await,
            closed => closed,
        }
    }

    /// Calls the provider, always with the same key and body for the same order, and stores what it answers.
    pub(super) async fn open(&self, order: Order) -> Result<Found, PaymentError> {
        let made = match order.method {
            Method::Checkout => {
                let key = format!("checkout:{}", order.id);
                self.provider.create_checkout_session(&key, &order.provider_request).await.map(|session| {
                    let expires_at = session.expires_at.map(|seconds| seconds.saturating_mul(1_000_000));
                    orders::ActiveModel {
                        checkout_session_id: Set(Some(session.id)),
                        checkout_url: Set(session.url),
                        expires_at: Set(expires_at.unwrap_or(order.expires_at)),
                        ..Default::default()
                    }
                })
            }
            Method::Intent => {
                let key = format!("intent:{}", order.id);
                self.provider.create_payment_intent(&key, &order.provider_request).await.map(|intent| {
                    orders::ActiveModel { intent_id: Set(Some(intent.id)), ..Default::default() }
                })
            }
        };
        let columns = match made {
            Ok(columns) => columns,
            Err(ProviderError::KeySpent) => return Ok(Found::Dead(order)),
            Err(error) => return Err(error.into()),
        };
        self.world.reach("payment.checkout.opened");
        let txn = self.database.begin_write().await?;
        orders::Entity::update_many()
            .set(columns)
            .filter(orders::Column::Id.eq(&order.id))
            .filter(orders::Column::CheckoutSessionId.is_null())
            .filter(orders::Column::IntentId.is_null())
            .exec(&txn)
            .await?;
        let stored = store::order(&txn, &order.id).await?;
        txn.commit().await?;
        stored.map(Found::Ready).ok_or(PaymentError::OrderNotFound)
    }
}

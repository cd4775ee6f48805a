//! Events that the provider has and that never arrived.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde_json::Value;

use super::{Finding, Kind, Run, Scope};
use crate::books::payments;
use crate::error::PaymentError;
use crate::inbox::event::{Event, KINDS, Subject};
use crate::store::entity::inbox;

impl Run<'_> {
    pub(super) async fn events(&self) -> Result<(), PaymentError> {
        let reconciler = self.reconciler;
        let mut missed: Vec<(Event, Value)> = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let since = self.since() / 1_000_000;
            let page = reconciler.provider.list_events(&KINDS, since, before.as_deref()).await?;
            let read = page.data.into_iter().filter_map(|value| {
                let event = Event::parse(value.to_string().as_bytes()).ok()?;
                Some((event, value))
            });
            let read: Vec<(Event, Value)> = read.collect();
            let Some((last, _)) = read.last() else { break };
            before = Some(last.id.clone());
            let known = self.known(&read).await?;
            for (event, value) in read {
                if !known.contains(&event.id) && self.is_due(&event) && self.is_ours(&event).await? {
                    missed.push((event, value));
                }
            }
            if !page.has_more {
                break;
            }
        }
        // The provider lists the newest first.
        for (event, value) in missed.into_iter().rev() {
            self.missed(event, &value).await?;
        }
        Ok(())
    }

    async fn missed(&self, event: Event, value: &Value) -> Result<(), PaymentError> {
        let order_id = match &event.subject {
            Subject::Order { order_id, .. } => order_id.clone(),
            Subject::Payment { payment_id, .. } => {
                let payment = payments::find(self.reconciler.database.reader(), payment_id).await?;
                payment.map(|payment| payment.order_id).unwrap_or_default()
            }
            Subject::Ignored(_) => String::new(),
        };
        if !self.dry_run {
            self.reconciler.inbox.take_in(value.to_string().as_bytes()).await?;
        }
        let (subject, detail) = (event.id, event.kind);
        let mended = !self.dry_run;
        self.tell(Finding { kind: Kind::EventMissed, order_id, subject, detail, mended }).await;
        Ok(())
    }

    async fn known(&self, events: &[(Event, Value)]) -> Result<HashSet<String>, PaymentError> {
        let ids: Vec<&str> = events.iter().map(|(event, _)| event.id.as_str()).collect();
        let known: Vec<String> = inbox::Entity::find()
            .select_only()
            .column(inbox::Column::EventId)
            .filter(inbox::Column::EventId.is_in(ids))
            .into_tuple()
            .all(self.reconciler.database.reader())
            .await?;
        Ok(known.into_iter().collect())
    }

    /// The janitor leaves an event its time to arrive by itself; whoever asks wants all of it now.
    fn is_due(&self, event: &Event) -> bool {
        let settled = self.settled_before() / 1_000_000;
        self.scope == Scope::Everything || event.created.is_none_or(|created| created <= settled)
    }

    /// Whether it is about an order or payment of ours. Others may share the account.
    async fn is_ours(&self, event: &Event) -> Result<bool, PaymentError> {
        if let (Some(ours), Some(its)) = (self.reconciler.inbox.livemode, event.livemode)
            && ours != its
        {
            return Ok(false);
        }
        Ok(match &event.subject {
            Subject::Ignored(_) => false,
            Subject::Order { .. } => true,
            Subject::Payment { payment_id, .. } => {
                payments::find(self.reconciler.database.reader(), payment_id).await?.is_some()
            }
        })
    }
}

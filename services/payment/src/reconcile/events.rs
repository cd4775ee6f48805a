//! Events that the provider has and that never arrived.

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde_json::Value;

use super::{Finding, Kind, Run, Scope};
use crate::books::payments;
use crate::error::PaymentError;
use crate::inbox::Verdict;
use crate::inbox::event::{Event, KINDS, Notice, Subject};
use crate::store::entity::inbox;

impl Run<'_> {
    pub(super) async fn events(&self) -> Result<(), PaymentError> {
        let reconciler = self.reconciler;
        let mut missed: Vec<(Event, Value)> = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let since = self.since() / 1_000_000;
            let page = reconciler.provider.list_events(&KINDS, since, before.as_deref()).await?;
            let last = page.data.last().and_then(|event| event.get("id")?.as_str().map(str::to_owned));
            let read = page.data.into_iter().filter_map(|value| {
                let event = Event::parse(value.to_string().as_bytes()).ok()?;
                Some((event, value))
            });
            let read: Vec<(Event, Value)> = read.collect();
            let known = self.known(&read).await?;
            missed.extend(
                read.into_iter().filter(|(event, _)| !known.contains(&event.id) && self.is_due(event)),
            );
            before = last;
            if !page.has_more || before.is_none() {
                break;
            }
        }
        // The provider lists the newest first. What is about a payment comes after what makes the payment known.
        let mut coming: HashMap<String, String> = HashMap::new();
        for (event, value) in missed.into_iter().rev() {
            if let Some(order_id) = self.order_of(&event, &coming).await? {
                if let Subject::Order {
                    notice: Notice::Paid(payment) | Notice::Refunded(payment, _), ..
                } = &event.subject
                {
                    coming.insert(payment.id.clone(), order_id.clone());
                }
                self.missed(event, &value, order_id).await?;
            }
        }
        Ok(())
    }

    async fn missed(&self, event: Event, value: &Value, order_id: String) -> Result<(), PaymentError> {
        let mut mended = false;
        if !self.dry_run {
            let verdict = self.reconciler.inbox.take_in(value.to_string().as_bytes()).await?;
            mended = verdict != Verdict::Deferred;
        }
        let (subject, detail) = (event.id, event.kind);
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

    /// The order of ours that it is about, if any: others may share the account. `coming`: payments that a missed event
    /// makes known, by their ids.
    async fn order_of(
        &self,
        event: &Event,
        coming: &HashMap<String, String>,
    ) -> Result<Option<String>, PaymentError> {
        if let (Some(ours), Some(its)) = (self.reconciler.inbox.livemode, event.livemode)
            && ours != its
        {
            return Ok(None);
        }
        Ok(match &event.subject {
            Subject::Ignored(_) => None,
            // An operator must look at it, whosever it is.
            Subject::Suspect(_) => Some(String::new()),
            Subject::Order { order_id, .. } => Some(order_id.clone()),
            Subject::Payment { payment_id, .. } => {
                let payment = payments::find(self.reconciler.database.reader(), payment_id).await?;
                payment.map(|payment| payment.order_id).or_else(|| coming.get(payment_id).cloned())
            }
        })
    }
}

//! What a program that runs a provider can do with it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::attempts::Attempt;
use crate::bank::{Bank, Decision};
use crate::behaviour::Behaviour;
use crate::disputes::{self, DisputeUpdate, NewDispute, Verdict};
use crate::faults::WriteFaults;
use crate::provider::Provider;
use crate::refusal::Refusal;
use crate::transit::Transit;
use crate::{SandboxError, payments, refunds};

/// Something that a provider does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the payment sandbox refused: {message}")]
pub struct ControlError {
    /// The code that the API would answer, such as `resource_missing`.
    pub code: &'static str,
    pub message: String,
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.message().to_owned() }
    }
}

/// A running provider.
pub struct SandboxHandle {
    url: String,
    provider: Arc<Provider>,
    task: JoinHandle<io::Result<()>>,
}

impl SandboxHandle {
    pub(crate) fn new(url: String, provider: Arc<Provider>, task: JoinHandle<io::Result<()>>) -> Self {
        Self { url, provider, task }
    }

    /// The address that is listened on, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends events to this address from now on, and those that have waited for one too.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        self.provider.courier.set_target(url.into());
    }

    /// Enables or disables the webhook. While it is disabled nothing is sent, and what happens then or was under way
    /// is given up: the list of events still has it.
    pub fn set_webhook_enabled(&self, enabled: bool) {
        self.provider.courier.set_enabled(enabled);
    }

    /// Changes how deliveries misbehave. Whatever was held goes out if `hold` is off.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.provider.courier.set_behaviour(behaviour);
    }

    /// Changes what happens to deliveries on their way, for the events from now on.
    pub fn set_transit(&self, transit: Transit) {
        self.provider.courier.set_transit(transit);
    }

    /// Changes what happens to the next writes, in place of what was still to come.
    pub fn set_write_faults(&self, faults: WriteFaults) {
        self.provider.faults.set(faults);
    }

    /// Changes how the banks behave.
    pub fn set_bank(&self, bank: Bank) {
        self.provider.set_bank(bank);
    }

    /// Replaces the webhook secrets. The old ones sign along for the overlap, at most a day by the clock.
    ///
    /// # Errors
    /// There is no secret or an empty one, or the overlap is too long.
    pub fn rotate_secrets(&self, secrets: Vec<String>, overlap: Duration) -> Result<(), ControlError> {
        let overlap = u32::try_from(overlap.as_secs()).unwrap_or(u32::MAX);
        Ok(self.provider.courier.rotate(secrets, overlap)?)
    }

    /// Delivers the events that are held, and tells how many they are.
    pub fn release(&self) -> usize {
        self.provider.courier.release()
    }

    /// Delivers an event once more that was acknowledged or given up.
    ///
    /// # Errors
    /// There is no such event, it is being delivered, or the state cannot be written.
    pub async fn resend(&self, event: &str) -> Result<(), ControlError> {
        Ok(self.provider.command(|desk| desk.resend(event)).await?)
    }

    /// Decides a payment that is processing, or whose buyer is asked to authenticate it. Gives the payment intent.
    ///
    /// # Errors
    /// There is no such payment, it does not wait for anything, or the state cannot be written.
    pub async fn decide_payment(&self, intent: &str, decision: Decision) -> Result<Value, ControlError> {
        Ok(self.provider.command(|desk| payments::decide(desk, intent, decision)).await?)
    }

    /// Decides a pending refund, or has one fail that seemed to have succeeded. Gives the refund.
    ///
    /// # Errors
    /// There is no such refund, it cannot end like this, or the state cannot be written.
    pub async fn decide_refund(&self, refund: &str, decision: Decision) -> Result<Value, ControlError> {
        Ok(self.provider.command(|desk| refunds::decide(desk, refund, decision)).await?)
    }

    /// The buyer disputes a payment. Gives the dispute.
    ///
    /// # Errors
    /// There is no such payment, so much of it cannot be disputed, the reason is unknown, or the state cannot be
    /// written.
    pub async fn open_dispute(&self, dispute: &NewDispute) -> Result<Value, ControlError> {
        Ok(self.provider.command(|desk| disputes::open(desk, dispute)).await?)
    }

    /// Something about an open dispute changes. Gives the dispute.
    ///
    /// # Errors
    /// There is no such dispute, it is closed, the reason is unknown, or the state cannot be written.
    pub async fn update_dispute(&self, dispute: &str, update: &DisputeUpdate) -> Result<Value, ControlError> {
        Ok(self.provider.command(|desk| disputes::update(desk, dispute, update)).await?)
    }

    /// Decides an open dispute. Gives the dispute.
    ///
    /// # Errors
    /// There is no such dispute, it is closed, or the state cannot be written.
    pub async fn close_dispute(&self, dispute: &str, verdict: Verdict) -> Result<Value, ControlError> {
        Ok(self.provider.command(|desk| disputes::close(desk, dispute, verdict)).await?)
    }

    /// The latest attempts to deliver, oldest first; at most 10 000, none from before the start.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.provider.courier.attempts()
    }

    /// Does what is due by the clock, as happens once a second anyway. For tests that turn the clock.
    pub async fn tick(&self) {
        self.provider.tick().await;
    }

    /// Returns once every event is acknowledged or given up.
    pub async fn drained(&self) {
        self.provider.courier.drained().await;
    }

    /// Returns once the server has stopped after the shutdown.
    ///
    /// # Errors
    /// The server failed.
    pub async fn join(self) -> Result<(), SandboxError> {
        self.task.await.map_err(io::Error::other).flatten().map_err(SandboxError::Serve)
    }
}

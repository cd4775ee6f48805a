//! The calls that more than one test makes.

use quire_fault::Fault;
use quire_proto::payment::v1 as pb;
use tonic::Status;

use crate::stage::{Client, Stage};

fn answered<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Fault> {
    answer.map(tonic::Response::into_inner).map_err(|status| Fault::from(&status))
}

impl Stage {
    /// Ada wants to pay on a page of her own.
    pub async fn intent(
        &self,
        client: &Client,
        document_id: &str,
    ) -> Result<pb::CreateIntentResponse, Fault> {
        let message = pb::CreateIntentRequest { document_id: document_id.to_owned(), ..Default::default() };
        answered(client.clone().create_intent(self.as_user("ada", message)).await)
    }

    /// Ada wants so much back, or all that is left.
    pub async fn request_refund(
        &self,
        client: &Client,
        order_id: &str,
        amount_minor: Option<i64>,
    ) -> Result<pb::Refund, Fault> {
        let message = pb::RequestRefundRequest {
            order_id: order_id.to_owned(),
            amount_minor,
            reason: "it is about wasps".to_owned(),
            ..Default::default()
        };
        let answer = answered(client.clone().request_refund(self.as_user("ada", message)).await);
        answer.map(|answer| answer.refund.unwrap())
    }

    /// An administrator decides.
    pub async fn decide(&self, client: &Client, refund_id: &str, approve: bool) -> Result<pb::Refund, Fault> {
        let note = "looked into it".to_owned();
        let message = pb::DecideRefundRequest { refund_id: refund_id.to_owned(), approve, note };
        let answer = answered(client.clone().decide_refund(self.as_admin(message)).await);
        answer.map(|answer| answer.refund.unwrap())
    }

    /// All refunds, newest first.
    pub async fn refunds(&self, client: &Client) -> Vec<pb::Refund> {
        let message = pb::ListRefundsRequest { page_size: 100, ..Default::default() };
        answered(client.clone().list_refunds(self.as_admin(message)).await).unwrap().refunds
    }

    /// The operator compares all records.
    pub async fn reconcile(&self, client: &Client, dry_run: bool) -> Vec<pb::Finding> {
        let request = self.as_service("operator", pb::ReconcileRequest { dry_run });
        let mut stream = client.clone().reconcile(request).await.unwrap().into_inner();
        let mut findings = Vec::new();
        while let Some(answer) = stream.message().await.unwrap() {
            findings.push(answer.finding.unwrap());
        }
        findings
    }

    pub async fn dead_letters(&self, client: &Client) -> Vec<pb::DeadLetter> {
        let request = self.as_admin(pb::ListDeadLettersRequest {});
        answered(client.clone().list_dead_letters(request).await).unwrap().dead_letters
    }

    pub async fn redrive(&self, client: &Client, kind: pb::DeadLetterKind, id: &str) -> bool {
        let message = pb::RedriveDeadLetterRequest { kind: kind.into(), id: id.to_owned() };
        answered(client.clone().redrive_dead_letter(self.as_admin(message)).await).unwrap().redriven
    }
}

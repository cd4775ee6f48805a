//! The gRPC face of payment: decode, call, encode.

mod convert;

use std::pin::Pin;

use futures::Stream;
use quire_fault::{Rule, Violation};
use quire_idempotency::{Call, Keys};
use quire_identity::Gatekeeper;
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::payment_service_server::PaymentService;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::checkout::Checkout;
use crate::dead_letters::DeadLetters;
use crate::error::PaymentError;
use crate::inbox::webhook::Webhook;
use crate::orders::{Orders, PageRequest};
use crate::pricing::Pricing;
use crate::reconcile::{Reconciler, Run, Scope};
use crate::refund_requests::{self, Listing, RefundRequests};
use crate::settle::{Report, Settlement};
use crate::store::entity::orders::Method;

/// The one service that may settle orders.
const SETTLERS: [&str; 1] = ["background-job"];
/// The operator's own name, for commands at a terminal.
const OPERATORS: [&str; 1] = ["operator"];
/// Findings on their way to whoever asked.
const FINDINGS: usize = 64;

pub(crate) struct Grpc {
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) pricing: Pricing,
    pub(crate) checkout: Checkout,
    pub(crate) webhook: Webhook,
    pub(crate) orders: Orders,
    pub(crate) settlement: Settlement,
    pub(crate) keys: Keys,
    pub(crate) refunds: RefundRequests,
    pub(crate) reconciler: Reconciler,
    pub(crate) dead_letters: DeadLetters,
}

impl Grpc {
    /// An administrator, or the operator at a terminal.
    async fn administrator(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.gatekeeper.service(metadata, &OPERATORS).is_ok() {
            return Ok(());
        }
        self.gatekeeper.admin(metadata).await?;
        Ok(())
    }
}

#[tonic::async_trait]
impl PaymentService for Grpc {
    async fn get_pricing(
        &self,
        _request: Request<pb::GetPricingRequest>,
    ) -> Result<Response<pb::GetPricingResponse>, Status> {
        Ok(Response::new(convert::pricing(&self.pricing)))
    }

    async fn calculate_price(
        &self,
        request: Request<pb::CalculatePriceRequest>,
    ) -> Result<Response<pb::CalculatePriceResponse>, Status> {
        let quote = self.pricing.quote(request.into_inner().pages)?;
        Ok(Response::new(convert::quote(&quote)))
    }

    async fn create_checkout(
        &self,
        request: Request<pb::CreateCheckoutRequest>,
    ) -> Result<Response<pb::CreateCheckoutResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&user.user_id, "create_checkout", &key, &request);
        let checkout = self.checkout.clone();
        let work = async move |_id| {
            let order = checkout.create(&user.user_id, &request.document_id, Method::Checkout).await?;
            Ok(pb::CreateCheckoutResponse { order: Some(convert::order(order)) })
        };
        Ok(self.keys.run::<_, PaymentError, _, _>(call, work).await?.into_response())
    }

    async fn create_intent(
        &self,
        request: Request<pb::CreateIntentRequest>,
    ) -> Result<Response<pb::CreateIntentResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&user.user_id, "create_intent", &key, &request);
        let checkout = self.checkout.clone();
        let (user_id, document_id) = (user.user_id.clone(), request.document_id);
        let work = async move |_id| {
            let order = checkout.create(&user_id, &document_id, Method::Intent).await?;
            // The secret is asked for each time instead of being kept with the answer.
            Ok(pb::CreateIntentResponse { order: Some(convert::order(order)), client_secret: String::new() })
        };
        let mut kept = self.keys.run::<pb::CreateIntentResponse, PaymentError, _, _>(call, work).await?;
        let order_id = kept.message.order.as_ref().map(|order| order.id.clone()).unwrap_or_default();
        let order = self.orders.get(&user.user_id, &order_id).await?;
        kept.message.client_secret = self.checkout.client_secret(&order).await?;
        Ok(kept.into_response())
    }

    async fn handle_webhook(
        &self,
        request: Request<pb::HandleWebhookRequest>,
    ) -> Result<Response<pb::HandleWebhookResponse>, Status> {
        let request = request.get_ref();
        let verdict = self.webhook.handle(&request.payload, request.signature.as_deref()).await?;
        Ok(Response::new(convert::verdict(verdict)))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let order = self.orders.get(&user.user_id, &request.get_ref().order_id).await?;
        Ok(Response::new(pb::GetOrderResponse { order: Some(convert::order(order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let request = request.get_ref();
        let page = PageRequest { page_size: request.page_size, token: &request.page_token };
        let page = self.orders.list(&user.user_id, page).await?;
        Ok(Response::new(convert::page(page)))
    }

    async fn settle_order(
        &self,
        request: Request<pb::SettleOrderRequest>,
    ) -> Result<Response<pb::SettleOrderResponse>, Status> {
        self.gatekeeper.service(request.metadata(), &SETTLERS)?;
        let request = request.get_ref();
        let outcome = convert::outcome(request.outcome())
            .ok_or_else(|| PaymentError::Invalid(vec![Violation::new("outcome", Rule::Missing)]))?;
        let report = Report {
            order_id: &request.order_id,
            job_id: &request.job_id,
            outcome,
            delivered_pages: request.delivered_pages,
        };
        let status = self.settlement.settle(report).await?;
        Ok(Response::new(pb::SettleOrderResponse { status: convert::status(status).into() }))
    }

    async fn request_refund(
        &self,
        request: Request<pb::RequestRefundRequest>,
    ) -> Result<Response<pb::RequestRefundResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&user.user_id, "request_refund", &key, &request);
        let refunds = self.refunds.clone();
        let work = async move |id| {
            let wish = refund_requests::Request {
                order_id: request.order_id,
                amount_minor: request.amount_minor,
                reason: request.reason,
            };
            let refund = refunds.request(&user.user_id, id, wish).await?;
            Ok(pb::RequestRefundResponse { refund: Some(convert::refund(refund)) })
        };
        Ok(self.keys.run::<_, PaymentError, _, _>(call, work).await?.into_response())
    }

    async fn list_refunds(
        &self,
        request: Request<pb::ListRefundsRequest>,
    ) -> Result<Response<pb::ListRefundsResponse>, Status> {
        let user = self.gatekeeper.user(request.metadata()).await?;
        let request = request.get_ref();
        let listing = Listing {
            page: PageRequest { page_size: request.page_size, token: &request.page_token },
            order_id: &request.order_id,
            status: convert::refund_status_wanted(request.status()),
        };
        let (refunds, next) = self.refunds.list(&user, listing).await?;
        Ok(Response::new(pb::ListRefundsResponse {
            refunds: refunds.into_iter().map(convert::refund).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn decide_refund(
        &self,
        request: Request<pb::DecideRefundRequest>,
    ) -> Result<Response<pb::DecideRefundResponse>, Status> {
        let admin = self.gatekeeper.admin(request.metadata()).await?;
        let request = request.get_ref();
        let decision = (request.approve, request.note.as_str());
        let refund = self.refunds.decide(&admin.user_id, &request.refund_id, decision).await?;
        Ok(Response::new(pb::DecideRefundResponse { refund: Some(convert::refund(refund)) }))
    }

    async fn list_mismatches(
        &self,
        request: Request<pb::ListMismatchesRequest>,
    ) -> Result<Response<pb::ListMismatchesResponse>, Status> {
        self.administrator(request.metadata()).await?;
        let findings = self.reconciler.collect(Scope::OwnRecords, false).await?;
        let findings = findings.into_iter().map(convert::finding).collect();
        Ok(Response::new(pb::ListMismatchesResponse { findings }))
    }

    type ReconcileStream = Pin<Box<dyn Stream<Item = Result<pb::ReconcileResponse, Status>> + Send>>;

    async fn reconcile(
        &self,
        request: Request<pb::ReconcileRequest>,
    ) -> Result<Response<Self::ReconcileStream>, Status> {
        self.administrator(request.metadata()).await?;
        let dry_run = request.get_ref().dry_run;
        let (findings, mut told) = mpsc::channel(FINDINGS);
        let reconciler = self.reconciler.clone();
        let running = tokio::spawn(async move {
            let scope = Scope::Everything;
            Run { reconciler: &reconciler, scope, dry_run, findings }.go().await
        });
        let stream = async_stream::try_stream! {
            while let Some(finding) = told.recv().await {
                yield pb::ReconcileResponse { finding: Some(convert::finding(finding)) };
            }
            running.await.map_err(|_| quire_fault::Fault::internal())??;
        };
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        self.administrator(request.metadata()).await?;
        let letters = self.dead_letters.list().await?;
        let dead_letters = letters.into_iter().map(convert::dead_letter).collect();
        Ok(Response::new(pb::ListDeadLettersResponse { dead_letters }))
    }

    async fn redrive_dead_letter(
        &self,
        request: Request<pb::RedriveDeadLetterRequest>,
    ) -> Result<Response<pb::RedriveDeadLetterResponse>, Status> {
        self.administrator(request.metadata()).await?;
        let request = request.get_ref();
        let what = convert::dead_letter_kind(request.kind())
            .ok_or_else(|| PaymentError::Invalid(vec![Violation::new("kind", Rule::Missing)]))?;
        let redriven = self.dead_letters.redrive(what, &request.id).await?;
        Ok(Response::new(pb::RedriveDeadLetterResponse { redriven }))
    }
}

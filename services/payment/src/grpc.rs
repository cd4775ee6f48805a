//! The gRPC face of payment: decode, call, encode.

mod convert;

use quire_fault::{Rule, Violation};
use quire_identity::Gatekeeper;
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::payment_service_server::PaymentService;
use tonic::{Request, Response, Status};

use crate::checkout::Checkout;
use crate::error::PaymentError;
use crate::orders::Orders;
use crate::pricing::Pricing;
use crate::settle::Settlement;
use crate::webhook::Webhook;

/// The one service that may settle orders.
const SETTLERS: [&str; 1] = ["background-job"];

pub(crate) struct Grpc {
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) pricing: Pricing,
    pub(crate) checkout: Checkout,
    pub(crate) webhook: Webhook,
    pub(crate) orders: Orders,
    pub(crate) settlement: Settlement,
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
        let order = self.checkout.create(&user.user_id, &request.get_ref().document_id).await?;
        Ok(Response::new(pb::CreateCheckoutResponse { order: Some(convert::order(order)) }))
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
        let page = self.orders.list(&user.user_id, request.page_size, &request.page_token).await?;
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
        let status = self.settlement.settle(&request.order_id, &request.job_id, outcome).await?;
        Ok(Response::new(pb::SettleOrderResponse { status: convert::status(status).into() }))
    }
}

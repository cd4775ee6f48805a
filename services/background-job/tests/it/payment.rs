//! The payment service, played: it hears how orders end.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::payment_service_server::PaymentService;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub struct FakePayment {
    /// Every settlement that was taken.
    settled: watch::Sender<Vec<pb::SettleOrderRequest>>,
    /// Answers of the next calls instead of taking them.
    pub refuse: Arc<Mutex<VecDeque<Status>>>,
}

impl FakePayment {
    pub fn new() -> Self {
        Self { settled: watch::channel(Vec::new()).0, refuse: Arc::default() }
    }

    pub fn settled(&self) -> Vec<pb::SettleOrderRequest> {
        self.settled.borrow().clone()
    }

    /// Waits until `count` settlements were taken.
    pub async fn has_settled(&self, count: usize) {
        let mut settled = self.settled.subscribe();
        settled.wait_for(|settled| settled.len() >= count).await.unwrap();
    }

    /// Waits until it heard of the ends of `count` jobs; of one perhaps twice, if a process ended meanwhile.
    pub async fn has_settled_jobs(&self, count: usize) {
        let jobs = |settled: &[pb::SettleOrderRequest]| {
            settled.iter().map(|settled| settled.job_id.clone()).collect::<HashSet<_>>().len()
        };
        let mut settled = self.settled.subscribe();
        settled.wait_for(|settled| settled.len() >= count && jobs(settled) >= count).await.unwrap();
    }

    /// Waits until `count` settlements were taken, and gives them, the oldest first.
    pub async fn wait_settled(&self, count: usize) -> Vec<pb::SettleOrderRequest> {
        let mut settled = self.settled.subscribe();
        settled.wait_for(|settled| settled.len() >= count).await.unwrap().clone()
    }
}

/// As `#[tonic::async_trait]` would write it, which does not see inside macros.
macro_rules! not_played {
    ($($name:ident: $request:ty => $response:ty;)+) => {
        $(
            fn $name<'life0, 'async_trait>(
                &'life0 self,
                _: Request<$request>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async { Err(Status::unimplemented("not played")) })
            }
        )+
    };
}

type Findings = Pin<Box<dyn Stream<Item = Result<pb::ReconcileResponse, Status>> + Send>>;

#[tonic::async_trait]
impl PaymentService for FakePayment {
    type ReconcileStream = Findings;

    async fn settle_order(
        &self,
        request: Request<pb::SettleOrderRequest>,
    ) -> Result<Response<pb::SettleOrderResponse>, Status> {
        if let Some(refusal) = self.refuse.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        self.settled.send_modify(|settled| settled.push(request.into_inner()));
        Ok(Response::new(pb::SettleOrderResponse { status: pb::OrderStatus::Delivered.into() }))
    }

    not_played! {
        get_pricing: pb::GetPricingRequest => pb::GetPricingResponse;
        calculate_price: pb::CalculatePriceRequest => pb::CalculatePriceResponse;
        create_checkout: pb::CreateCheckoutRequest => pb::CreateCheckoutResponse;
        handle_webhook: pb::HandleWebhookRequest => pb::HandleWebhookResponse;
        get_order: pb::GetOrderRequest => pb::GetOrderResponse;
        list_orders: pb::ListOrdersRequest => pb::ListOrdersResponse;
        create_intent: pb::CreateIntentRequest => pb::CreateIntentResponse;
        request_refund: pb::RequestRefundRequest => pb::RequestRefundResponse;
        list_refunds: pb::ListRefundsRequest => pb::ListRefundsResponse;
        decide_refund: pb::DecideRefundRequest => pb::DecideRefundResponse;
        list_mismatches: pb::ListMismatchesRequest => pb::ListMismatchesResponse;
        reconcile: pb::ReconcileRequest => Findings;
        list_dead_letters: pb::ListDeadLettersRequest => pb::ListDeadLettersResponse;
        redrive_dead_letter: pb::RedriveDeadLetterRequest => pb::RedriveDeadLetterResponse;
    }
}

//! Customers who buy one document after another, and the provider's deliveries, each to some replica.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_proto::payment::v1::{CreateCheckoutRequest, GetOrderRequest, HandleWebhookRequest, Order};
use quire_serve::client::channel;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::record::{Act, Phase, Recorder};
use crate::answer::Answer;
use crate::customer::{Client, Customer};
use crate::road::Parcel;
use crate::till::Till;
use crate::wait::eventually;

/// Whoever gets no answer by then asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Whoever has waited so long for a job buys the next document.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The payment replicas, of which each call takes one. Clones share the dice.
#[derive(Clone)]
pub struct Replicas {
    clients: Arc<Vec<PaymentServiceClient<Channel>>>,
    dice: Arc<Mutex<Rng>>,
}

impl Replicas {
    pub fn new(urls: &[String], seed: u64) -> Self {
        let clients = urls.iter().map(|url| PaymentServiceClient::new(channel(url).unwrap()));
        Self { clients: Arc::new(clients.collect()), dice: Arc::new(Mutex::new(Rng::with_seed(seed))) }
    }

    fn any(&self) -> PaymentServiceClient<Channel> {
        self.clients[self.below(self.clients.len())].clone()
    }

    /// A random number below `end`.
    pub fn below(&self, end: usize) -> usize {
        self.dice.lock().unwrap().usize(0..end)
    }
}

/// Whether an answer leaves open if anything was done.
fn is_unknown(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown};
    matches!(
        code,
        Aborted | Cancelled | DeadlineExceeded | Internal | ResourceExhausted | Unavailable | Unknown
    )
}

/// Delivers events by gRPC to some replica, and now and then through the gateway.
pub fn carrier(
    replicas: Replicas,
    gateway: Client,
    recorder: Recorder,
) -> impl Fn(Parcel) -> Pin<Box<dyn Future<Output = u16> + Send>> + Clone + Send + Sync + 'static {
    move |parcel| {
        let (replicas, gateway, recorder) = (replicas.clone(), gateway.clone(), recorder.clone());
        Box::pin(async move {
            let delivery = recorder.invoke(Act::Deliver { event: parcel.event.clone() });
            let status = if replicas.below(4) == 0 {
                through_gateway(&gateway, parcel).await
            } else {
                by_grpc(replicas.any(), parcel).await
            };
            delivery.ends(match status {
                200..300 => Phase::Ok,
                400..500 => Phase::Fail,
                _ => Phase::Info,
            });
            status
        })
    }
}

async fn through_gateway(gateway: &Client, parcel: Parcel) -> u16 {
    let request = gateway.request(reqwest::Method::POST, "/payment/webhook").timeout(PATIENCE);
    let request = request.header("stripe-signature", parcel.signature).body(parcel.body);
    Answer::heard(request).await.map_or(502, |answer| answer.status.as_u16())
}

async fn by_grpc(mut replica: PaymentServiceClient<Channel>, parcel: Parcel) -> u16 {
    let message = HandleWebhookRequest { payload: parcel.body.into(), signature: Some(parcel.signature) };
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    match replica.handle_webhook(request).await {
        Ok(_) => 200,
        Err(status) if is_unknown(status.code()) => 502,
        Err(_) => 400,
    }
}

/// One customer, with what they need.
#[derive(Clone)]
pub struct Buyer {
    pub customer: Customer,
    pub replicas: Replicas,
    pub till: Arc<Till>,
    pub recorder: Recorder,
}

impl Buyer {
    /// Buys until it is enough. Every purchase that was begun is paid.
    pub async fn shop(self, enough: CancellationToken) {
        while !enough.is_cancelled() {
            let document = self.customer.short_document().await;
            let order = self.open(&document).await;
            let payment = self.recorder.invoke(Act::Pay { order: order.id.clone() });
            self.till.pay(&order.checkout_url).await;
            payment.ends(Phase::Ok);
            // Nobody buys the next one before this one is on its way; but all its events may be lost for good.
            let started = tokio::time::timeout(LONGEST_WAIT, self.started(&order.id));
            let _ = enough.run_until_cancelled(started).await;
        }
    }

    /// Opens the checkout, again and again until somebody answers.
    async fn open(&self, document: &str) -> Order {
        eventually("a checkout is opened", || async {
            let opening = self.recorder.invoke(Act::Open { document: document.to_owned(), order: None });
            let message = CreateCheckoutRequest { document_id: document.to_owned(), ..Default::default() };
            match self.replicas.any().create_checkout(self.signed(message)).await {
                Ok(answer) => {
                    let order = answer.into_inner().order.unwrap();
                    opening.opened(&order.id);
                    Some(order)
                }
                Err(status) => {
                    assert!(is_unknown(status.code()), "{status:?}");
                    opening.ends(Phase::Info);
                    None
                }
            }
        })
        .await
    }

    async fn started(&self, order: &str) {
        eventually("the order has a job", || async {
            let message = GetOrderRequest { order_id: order.to_owned() };
            let answer = self.replicas.any().get_order(self.signed(message)).await.ok()?;
            answer.into_inner().order.filter(|order| !order.job_id.is_empty()).map(drop)
        })
        .await;
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        let bearer = format!("Bearer {}", self.customer.access).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }
}

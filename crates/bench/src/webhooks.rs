//! The payment provider's events: how fast they are acknowledged durably, how soon a payment has its job, and what a storm
//! of repetitions does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use quire::customer::{Customer, text};
use quire_clock::{Timestamp, World};
use quire_payment::config::DEVELOPMENT_WEBHOOK_SECRET;
use serde_json::{Value, json};

use crate::load::{Call, Load, Measured, percentiles};
use crate::server::Server;

/// Orders that are paid one after another, while nothing else goes on.
const CALM: usize = 40;
/// Orders that are paid in the storm.
const ORDERS: usize = 200;
/// How often each of their events comes in the storm.
const REPETITIONS: usize = 50;

/// Settings under which jobs start and then wait, since nobody has said what their model costs: their work is not measured
/// here.
pub(crate) const SETTINGS: [(&str, &str); 2] =
    [("QUIRE_MODEL_BASE_URL", "http://127.0.0.1:9"), ("QUIRE_MODEL", "nobody")];

/// What one provider sends.
#[derive(Clone)]
struct Sender {
    http: reqwest::Client,
    url: String,
    world: World,
}

impl Sender {
    async fn send(&self, body: &[u8]) -> anyhow::Result<()> {
        let now = self.world.now().unix_seconds();
        let signature = quire_sandbox::signature::sign(DEVELOPMENT_WEBHOOK_SECRET, now, body);
        let request = self.http.post(&self.url).header("stripe-signature", signature).body(body.to_vec());
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "the webhook answered {}", answer.status());
        answer.bytes().await?;
        Ok(())
    }
}

/// An order that waits for its payment.
struct Order {
    id: String,
    document_id: String,
    total: i64,
    currency: String,
}

impl Order {
    fn paid(&self, event: &str, kind: &str) -> Vec<u8> {
        let payment = format!("pi_{}", self.id.replace('-', ""));
        let object = json!({
            "id": payment, "amount": self.total, "amount_received": self.total, "currency": self.currency,
            "paid": true, "payment_intent": payment, "metadata": { "order_id": self.id },
        });
        let event = json!({ "id": event, "object": "event", "type": kind, "data": { "object": object } });
        event.to_string().into_bytes()
    }
}

/// Prints the rows by `row`.
pub(crate) async fn measure(server: &Server, load: Load, row: impl Fn(&str, &str)) -> anyhow::Result<()> {
    let mut customer = Customer::new(&server.gateway)?;
    customer.sign_in("storm@example.org", &server.mail_dir()).await?;
    let mut orders = Vec::new();
    for number in 0..CALM + ORDERS {
        orders.push(order(&customer, number).await?);
    }
    let sender = Sender {
        http: reqwest::Client::builder().no_proxy().build()?,
        url: format!("{}/api/v1/payment/webhook", server.gateway),
        world: World::system(),
    };
    let calm = orders.split_off(ORDERS);
    for (number, order) in calm.iter().enumerate() {
        sender.send(&order.paid(&format!("evt_calm_{number}"), "payment_intent.succeeded")).await?;
        customer.job_of(&order.document_id).await?;
    }
    let before = server.resident_mib()?;
    let bodies = orders.iter().enumerate();
    let bodies =
        bodies.map(|(number, order)| order.paid(&format!("evt_{number}"), "payment_intent.succeeded"));
    let storm = storm(&sender, bodies.collect(), load.callers).await?;
    let deliveries = ORDERS * REPETITIONS;
    row(&format!("storm: {deliveries} deliveries of {ORDERS} events"), &storm.to_string());
    row(
        "memory before and after the storm (VmRSS)",
        &format!("{before:.1} and {:.1} MiB", server.resident_mib()?),
    );
    let jobs = jobs(&customer).await?;
    let all = CALM + ORDERS;
    row("paid orders and their jobs", &format!("{all} and {}, duplicates {}", jobs.len(), jobs.len() - all));
    let waits = |orders: &[Order]| {
        let mut waits: Vec<Duration> = orders
            .iter()
            .filter_map(|order| jobs.iter().find(|job| job.0 == order.id))
            .map(|job| job.1)
            .collect();
        waits.sort_unstable();
        percentiles(&waits)
    };
    row("from the payment's commit to the job's row, calm", &waits(&calm));
    row("the same in the storm", &waits(&orders));

    let events = Arc::new(AtomicUsize::new(0));
    let orders = Arc::new(orders);
    let fresh = |_| Fresh { sender: sender.clone(), orders: orders.clone(), events: events.clone() };
    row("new events acknowledged durably, through the gateway", &load.run(fresh).await?.to_string());
    Ok(())
}

/// A document that is ordered and not paid.
async fn order(customer: &Customer, number: usize) -> anyhow::Result<Order> {
    let body = json!({
        "title": format!("Document {number}"), "topic": "anything", "target_pages": 3, "writer": "openai",
    });
    let document = customer.post("/documents", &body).await?;
    let body = json!({ "document_id": text(&document, "id")? });
    let order = customer.post("/payment/create-checkout", &body).await?;
    Ok(Order {
        id: text(&order, "id")?.to_owned(),
        document_id: text(&document, "id")?.to_owned(),
        total: order["total"]["amount_minor"].as_i64().context("the order has no total")?,
        currency: order["total"]["currency"].as_str().unwrap_or_default().to_lowercase(),
    })
}

/// Sends every body many times, a fixed number of deliveries in all, as fast as they are taken.
async fn storm(sender: &Sender, bodies: Vec<Vec<u8>>, callers: usize) -> anyhow::Result<Measured> {
    let all = bodies.len() * REPETITIONS;
    let (bodies, next) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)));
    let repetition = |_| Repetition { sender: sender.clone(), bodies: bodies.clone(), next: next.clone() };
    Load::times(callers, all, repetition).await
}

struct Repetition {
    sender: Sender,
    bodies: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
}

impl Call for Repetition {
    async fn call(&mut self) -> anyhow::Result<()> {
        // Repetitions of one event come close together, as a provider's and a proxy's do.
        let place = self.next.fetch_add(1, Ordering::Relaxed) / REPETITIONS % self.bodies.len();
        self.sender.send(&self.bodies[place]).await
    }
}

/// Each time an event that was never seen, about a payment that is known.
struct Fresh {
    sender: Sender,
    orders: Arc<Vec<Order>>,
    events: Arc<AtomicUsize>,
}

impl Call for Fresh {
    async fn call(&mut self) -> anyhow::Result<()> {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let order = &self.orders[number % self.orders.len()];
        self.sender.send(&order.paid(&format!("evt_fresh_{number}"), "charge.succeeded")).await
    }
}

/// The order of every job of the customer, and how long after its payment the job was made.
async fn jobs(customer: &Customer) -> anyhow::Result<Vec<(String, Duration)>> {
    loop {
        let jobs = all(customer, "/jobs", "jobs").await?;
        if jobs.len() < CALM + ORDERS {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let orders = all(customer, "/payment/orders", "orders").await?;
        let moment = |value: &Value| Timestamp::parse_rfc3339(value.as_str().unwrap_or_default());
        let wait = |job: &Value| {
            let order = orders.iter().find(|order| order["id"] == job["order_id"]);
            let order = order.context("a job has no order")?;
            let wait = moment(&job["created_at"])?.unix_micros() - moment(&order["paid_at"])?.unix_micros();
            let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
            anyhow::Ok((text(order, "id")?.to_owned(), wait))
        };
        return jobs.iter().map(wait).collect();
    }
}

async fn all(customer: &Customer, path: &str, name: &str) -> anyhow::Result<Vec<Value>> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page = customer.get(&format!("{path}?page_size=100&page_token={token}")).await?;
        rows.extend(page[name].as_array().context("no list")?.iter().cloned());
        token = text(&page, "next_page_token")?.to_owned();
        if token.is_empty() {
            return Ok(rows);
        }
    }
}

//! What a customer does in a case, again and again until it is answered, whatever dies meanwhile.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::answer::Answer;
use crate::books::Books;
use crate::customer::{Client, Customer, text};
use crate::model;
use crate::till::Till;
use crate::wait::eventually;

/// How a paid order ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Journey {
    /// The document is delivered.
    Delivered,
    /// The job fails, whichever model is asked: everything is refunded.
    Failed,
    /// The customer pauses the job, resumes and ends it: what is finished is delivered, the rest is refunded.
    Cancelled,
    /// The document is delivered with the outline that the customer has seen before the order, and approved.
    Reviewed,
}

impl Journey {
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::Cancelled, Self::Reviewed];

    /// Title, writer and pages of the document.
    pub fn order(self) -> (&'static str, &'static str, i32) {
        match self {
            Self::Delivered => ("Keeping books", "digest", 4),
            Self::Failed => (model::FAILS, "openai", 4),
            // More than one section fills.
            Self::Cancelled => (model::NEVER_ENDS, "openai", 20),
            Self::Reviewed => ("Keeping paper", "digest", 4),
        }
    }

    /// Who may step in for the writer.
    pub fn fallbacks(self) -> &'static [&'static str] {
        match self {
            Self::Failed => &["anthropic"],
            Self::Delivered | Self::Cancelled | Self::Reviewed => &[],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Reviewed => "reviewed",
        }
    }

    /// The order's last status.
    pub fn ends_as(self) -> &'static str {
        match self {
            Self::Delivered | Self::Cancelled | Self::Reviewed => "delivered",
            Self::Failed => "refunded",
        }
    }
}

/// A customer on the way, and whom they deal with.
pub struct Walk<'a> {
    pub ada: &'a Customer,
    pub document: &'a str,
    /// Where the gateway is at present; nowhere while the system is down.
    pub place: watch::Receiver<Option<Client>>,
    pub till: &'a Till,
    pub books: &'a Books,
}

impl Walk<'_> {
    /// From the checkout to the rest after the last message.
    pub async fn run(&self, journey: Journey) {
        let chosen = json!({ "document_id": self.document });
        if journey == Journey::Reviewed {
            self.preview(&chosen).await;
        }
        let order = self.ask(Method::POST, "/payment/create-checkout", Some(&chosen)).await;
        let order = order.with_status(201).json();
        self.till.pay(&text(&order["checkout_url"])).await;
        if journey == Journey::Cancelled {
            self.cancel().await;
        }
        if journey == Journey::Reviewed {
            self.review().await;
        }
        let order_id = text(&order["id"]);
        let settled = format!("the order is settled as {}", journey.name());
        eventually(&settled, || async {
            let orders = self.books.orders().await;
            orders.iter().any(|one| one.id == order_id && one.status == journey.ends_as()).then_some(())
        })
        .await;
        self.at_rest().await;
        // The last task may have caused an event, and that one another task.
        self.at_rest().await;
    }

    async fn at_rest(&self) {
        self.till.sandbox.drained().await;
        eventually("nothing waits", || async { self.books.waiting().await.is_empty().then_some(()) }).await;
    }

    /// Looks at the outline before the order.
    async fn preview(&self, chosen: &Value) {
        let job = self.ask(Method::POST, "/generate/outline", Some(chosen)).await.with_status(202).json();
        let path = format!("/jobs/{}", text(&job["id"]));
        eventually("the outline is planned", || async {
            let job = self.ask(Method::GET, &path, None).await.with_status(200).json();
            (job["status"] == "completed").then_some(())
        })
        .await;
        let path = format!("/documents/{}/outline", self.document);
        assert_eq!(self.ask(Method::GET, &path, None).await.with_status(200).json()["preview"], true);
    }

    /// Pauses the job once its first section is finished, lets it go on, and ends it.
    async fn cancel(&self) {
        let path = format!("/jobs?document_id={}", self.document);
        let job = eventually("a section is finished", || async {
            let jobs = self.ask(Method::GET, &path, None).await.with_status(200).json();
            let job: Value = jobs["jobs"][0].clone();
            (job["sections_done"].as_i64() == Some(1)).then(|| text(&job["id"]))
        })
        .await;
        for wish in ["pause", "resume", "cancel"] {
            self.ask(Method::POST, &format!("/jobs/{job}/{wish}"), None).await.with_status(200);
        }
    }

    /// Changes the outline that is proposed, and approves it.
    async fn review(&self) {
        let path = format!("/documents/{}/outline", self.document);
        let proposed = eventually("an outline is proposed", || async {
            let outline = self.ask(Method::GET, &path, None).await.with_status(200).json();
            (outline["awaits_approval"] == true).then_some(outline)
        })
        .await;
        let mut chapters = proposed["chapters"].clone();
        chapters[0]["title"] = json!("As I like it");
        let edited = json!({ "chapters": chapters });
        self.ask(Method::PUT, &path, Some(&edited)).await.with_status(200);
        self.ask(Method::POST, &format!("{path}/approve"), None).await.with_status(200);
        let written = eventually("the outline is written", || async {
            let outline = self.ask(Method::GET, &path, None).await.with_status(200).json();
            (outline["awaits_approval"] == false).then_some(outline)
        })
        .await;
        assert_eq!(written["chapters"][0]["title"], "As I like it");
    }

    /// The first answer that is one: not a broken connection, nor that some part is away.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        eventually(path, || async {
            let client = self.place.borrow().clone()?;
            let request = Customer { client, ..self.ada.clone() }.request(method.clone(), path);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            Answer::heard(request).await.filter(|answer| answer.status.as_u16() < 500)
        })
        .await
    }
}

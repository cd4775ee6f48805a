//! A customer with an HTTP client, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::mailbox;
use crate::samples;
use crate::sse::{Event, Reader};
use crate::wait::{LAST_RESORT, eventually};

/// Somebody who is not signed in.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub gateway: String,
    mail: PathBuf,
}

/// Somebody who is.
#[derive(Clone)]
pub struct Customer {
    pub client: Client,
    pub id: String,
    pub access: String,
    pub refresh: String,
}

impl Client {
    pub fn new(gateway: &str, mail: PathBuf) -> Self {
        // As a browser would, but redirects are looked at.
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { http: http.unwrap(), gateway: gateway.to_owned(), mail }
    }

    /// A request to the API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anywhere(method, &format!("{}/api/v1{path}", self.gateway))
    }

    pub fn anywhere(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).timeout(Duration::from_secs(60))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// Asks for a link and waits for its mail: what signs in with the link, and the whole mail.
    pub async fn magic_mail(&self, email: &str) -> (Value, String) {
        self.magic_mail_with(email, |request| request).await
    }

    /// The same with something added to the request.
    pub async fn magic_mail_with(
        &self,
        email: &str,
        add: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> (Value, String) {
        let before = mailbox::present(&self.mail);
        let request = self.request(Method::POST, "/auth/magic-link").json(&json!({ "email": email }));
        let asked = Answer::to(add(request)).await.with_status(202).json();
        let mail = mailbox::next(&self.mail, email, &before).await;
        (json!({ "token": mailbox::token(&mail), "verifier": asked["verifier"] }), mail)
    }

    /// What signs in with a fresh link.
    pub async fn magic_link(&self, email: &str) -> Value {
        self.magic_mail(email).await.0
    }

    pub async fn sign_in(&self, email: &str) -> Customer {
        let link = self.magic_link(email).await;
        let answer = self.post("/auth/verify-magic-link", &link).await.with_status(200).json();
        Customer {
            client: self.clone(),
            id: text(&answer["user"]["id"]),
            access: text(&answer["access_token"]),
            refresh: text(&answer["refresh_token"]),
        }
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", &json!({ "refresh_token": token })).await
    }

    /// An event of the payment provider, as its servers would send it.
    pub async fn webhook(&self, body: Vec<u8>, signature: Option<&str>) -> Answer {
        let request = self
            .request(Method::POST, "/payment/webhook")
            .header("content-type", "application/json")
            .body(body);
        Answer::to(match signature {
            Some(signature) => request.header("stripe-signature", signature),
            None => request,
        })
        .await
    }
}

impl Customer {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, path).bearer_auth(&self.access)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(method, path).json(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::DELETE, path)).await
    }

    /// The id of a new document.
    pub async fn create_document(&self, spec: &Value) -> String {
        text(&self.post("/documents", spec).await.with_status(201).json()["id"])
    }

    pub async fn document(&self, document_id: &str) -> Value {
        self.get(&format!("/documents/{document_id}")).await.with_status(200).json()
    }

    pub async fn upload(&self, document_id: &str, file_name: &str, bytes: Vec<u8>) -> Answer {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(file_name.to_owned()));
        Answer::to(self.request(Method::POST, &format!("/documents/{document_id}/sources")).multipart(form))
            .await
    }

    pub async fn upload_sample(&self, document_id: &str, name: &str) {
        self.upload(document_id, name, samples::read(name)).await.with_status(201);
    }

    /// A document of few pages out of one source: as fast as a real one can be.
    pub async fn short_document(&self) -> String {
        let id = self.create_document(&json!({ "title": "Keeping books", "target_pages": 4 })).await;
        self.upload_sample(&id, samples::TEXT).await;
        id
    }

    /// The order of a fresh checkout.
    pub async fn checkout(&self, document_id: &str) -> Value {
        let body = json!({ "document_id": document_id });
        self.post("/payment/create-checkout", &body).await.with_status(201).json()
    }

    pub async fn order(&self, order_id: &str) -> Value {
        self.get(&format!("/payment/orders/{order_id}")).await.with_status(200).json()
    }

    /// Presses the button on the provider's page, and goes where it leads.
    pub async fn pay(&self, order: &Value) {
        let url = text(&order["checkout_url"]);
        Answer::to(self.client.anywhere(Method::GET, &url)).await.with_status(200);
        let pressed = self.client.anywhere(Method::POST, &url).form(&[("action", "pay")]);
        let pressed = Answer::to(pressed).await.with_status(303);
        let back = pressed.headers[LOCATION].to_str().unwrap().to_owned();
        assert!(back.starts_with(&self.client.gateway), "{back} is not on {}", self.client.gateway);
        Answer::to(self.client.anywhere(Method::GET, &back)).await.with_status(200);
    }

    /// The job that the payment of an order starts.
    pub async fn job_of(&self, order_id: &str) -> String {
        eventually("the paid order has a job", || async {
            self.order(order_id).await["job_id"].as_str().map(str::to_owned)
        })
        .await
    }

    pub async fn jobs_of(&self, document_id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/jobs?document_id={document_id}")).await.with_status(200).json();
        answer["jobs"].as_array().unwrap().clone()
    }

    pub async fn job(&self, job_id: &str) -> Value {
        self.get(&format!("/jobs/{job_id}/status")).await.with_status(200).json()
    }

    /// Every event after a number, to the last one. Comes back after a broken connection, as browsers do.
    pub async fn follow(&self, job_id: &str, after: u64) -> Vec<Event> {
        let events = self.follow_until(job_id, after, Event::is_last).await;
        assert!(events.last().is_some_and(Event::is_last), "the stream ended early: {events:?}");
        events
    }

    /// Every event after a number, to the first one that is enough.
    pub async fn follow_until(
        &self,
        job_id: &str,
        after: u64,
        enough: impl Fn(&Event) -> bool,
    ) -> Vec<Event> {
        let following = async {
            let mut events: Vec<Event> = Vec::new();
            loop {
                let cursor = events.last().map_or(after, |event| event.id);
                let request =
                    self.request(Method::GET, &format!("/jobs/{job_id}/events")).timeout(LAST_RESORT);
                let response = request.header("last-event-id", cursor.to_string()).send().await.unwrap();
                if response.status() == 204 {
                    return events;
                }
                assert_eq!(response.status(), 200);
                let mut reader = Reader::new(response);
                while let Some(event) = reader.next().await {
                    let done = enough(&event) || event.is_last();
                    events.push(event);
                    if done {
                        return events;
                    }
                }
            }
        };
        tokio::time::timeout(LAST_RESORT, following).await.expect("the job goes on")
    }

    /// Pays for a document and waits for it; the id of its job.
    pub async fn buy(&self, document_id: &str) -> String {
        let order = self.checkout(document_id).await;
        self.pay(&order).await;
        let job_id = self.job_of(&text(&order["id"])).await;
        let last = self.follow(&job_id, 0).await.pop().unwrap();
        assert_eq!(last.kind, "completed", "{last:?}");
        job_id
    }

    pub async fn export(&self, document_id: &str, format: &str) -> Answer {
        self.get(&format!("/documents/{document_id}/export/{format}")).await
    }
}

/// A text that must be there.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

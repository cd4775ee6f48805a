//! The services that the job service calls, as far as it calls them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use quire_clock::World;
use quire_identity::{MasterSecret, ServiceIdentity};
use quire_proto::document::v1::{AttachJobRequest, AttachJobResponse};
use quire_proto::payment::v1::{SettleOrderRequest, SettleOrderResponse};
use quire_testkit::unary;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What all services of the benchmark share.
pub(super) const MASTER: &str = "the-master-secret-of-a-benchmark-0123456789";

/// When calls came for each document.
type Attached = HashMap<String, Vec<Instant>>;

#[derive(Clone)]
pub(super) struct Peers {
    /// Of both services.
    pub(super) url: String,
    /// Who starts jobs.
    pub(super) payment: ServiceIdentity,
    attached: Arc<Mutex<Attached>>,
    /// Changes with each call for a document.
    calls: watch::Sender<usize>,
    settled: watch::Sender<usize>,
    answering: watch::Sender<bool>,
    work: watch::Sender<Duration>,
}

impl Peers {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let master = MasterSecret::new(MASTER.to_owned().into())?;
        let peers = Self {
            url: format!("http://{}", listener.local_addr()?),
            payment: ServiceIdentity::new("payment", World::system(), &master),
            attached: Arc::default(),
            calls: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            answering: watch::Sender::new(true),
            work: watch::Sender::default(),
        };
        let (documents, payments) = (peers.clone(), peers.clone());
        let router = Router::new()
            .route(
                "/quire.document.v1.DocumentService/AttachJob",
                unary(move |request| documents.clone().attach(request)),
            )
            .route(
                "/quire.payment.v1.PaymentService/SettleOrder",
                unary(move |request| payments.clone().settle(request)),
            )
            .fallback(async || Status::not_found("nothing is there").into_http::<String>().into_response());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(peers)
    }

    /// Whether calls for a document are answered, or wait until they are given up.
    pub(super) fn answer(&self, answering: bool) {
        self.answering.send_replace(answering);
    }

    /// How long calls for a document take that are answered.
    pub(super) fn take(&self, time: Duration) {
        self.work.send_replace(time);
    }

    /// Waits for the `time`th call for a document, counted from 1, and gives its moment.
    pub(super) async fn attached(&self, document_id: &str, time: usize) -> Instant {
        let mut calls = self.calls.subscribe();
        loop {
            let known = self.known(|attached| attached.get(document_id)?.get(time - 1).copied());
            if let Some(moment) = known {
                return moment;
            }
            // The sender is ours.
            let _ = calls.changed().await;
        }
    }

    pub(super) fn settled(&self) -> usize {
        *self.settled.borrow()
    }

    /// Waits until so many jobs are settled.
    pub(super) async fn settles(&self, count: usize) {
        // The sender is ours.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= count).await;
    }

    fn known<T>(&self, read: impl FnOnce(&mut Attached) -> T) -> T {
        read(&mut self.attached.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn attach(self, request: Request<AttachJobRequest>) -> Result<Response<AttachJobResponse>, Status> {
        let document_id = request.into_inner().document_id;
        self.known(|attached| attached.entry(document_id).or_default().push(Instant::now()));
        self.calls.send_modify(|calls| *calls += 1);
        if !*self.answering.borrow() {
            // Whoever asked is to be killed: it gets no answer even when all others do again.
            std::future::pending::<()>().await;
        }
        let work = *self.work.borrow();
        tokio::time::sleep(work).await;
        Err(Status::not_found("there is no such document"))
    }

    async fn settle(self, _: Request<SettleOrderRequest>) -> Result<Response<SettleOrderResponse>, Status> {
        self.settled.send_modify(|settled| *settled += 1);
        Ok(Response::new(SettleOrderResponse::default()))
    }
}

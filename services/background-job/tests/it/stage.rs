//! A job service with everything around it, and ways to start, stop and kill it.

use std::sync::Arc;
use std::time::Duration;

use quire_background_job::{Config, ModelConfig, ModelSettings, Parts, Press};
use quire_clock::World;
use quire_identity::{Gatekeeper, MasterSecret, Role, ServiceIdentity};
use quire_proto::document::v1 as doc;
use quire_proto::document::v1::document_service_server::DocumentServiceServer;
use quire_proto::job::v1 as pb;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use quire_proto::payment::v1::payment_service_server::PaymentServiceServer;
use quire_testkit::{Backend, TestDatabase};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status, Streaming};

use crate::document::FakeDocument;
use crate::keys::Keys;
use crate::model::FakeModel;
use crate::payment::FakePayment;
use crate::press::FixedPress;

pub const OWNER: &str = "owner";
pub const DOCUMENT: &str = "document-1";
pub const ORDER: &str = "order-1";

/// What a job service must know to stand on a stage, also in another process.
#[derive(Serialize, Deserialize)]
pub struct Directions {
    database_url: String,
    document_url: String,
    payment_url: String,
    model_url: Option<String>,
    sections_at_once: usize,
    pkcs8: Vec<u8>,
}

impl Directions {
    pub fn keys(&self) -> Keys {
        Keys::from_pkcs8(self.pkcs8.clone())
    }

    fn model(&self) -> Option<ModelSettings> {
        self.model_url.as_ref().map(|url| ModelSettings {
            base_url: url.parse().unwrap(),
            model: "test-model".to_owned(),
            api_key: Some("key".to_owned().into()),
        })
    }

    pub fn config(&self) -> Config {
        Config {
            database: quire_database::Settings {
                url: self.database_url.clone(),
                schema: "job".to_owned(),
                max_connections: 8,
            },
            migrate: true,
            master: master(),
            auth_url: String::new(),
            document_url: self.document_url.clone(),
            payment_url: self.payment_url.clone(),
            concurrency: 2,
            jobs_per_user: 2,
            jobs_global: 0,
            sections_at_once: self.sections_at_once,
            events_retention: Duration::from_secs(3600),
            outline_review: Duration::from_secs(3600),
            outlines_per_day: 10,
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            retry_base: Duration::from_millis(2),
            models: ModelConfig {
                openai: self.model(),
                anthropic: self.model(),
                prices: "test-model=0".parse().unwrap(),
                ..ModelConfig::default()
            },
            redis_url: None,
            // A busy machine must not make a test decide without it.
            redis_patience: Duration::from_secs(10),
            typesetter: "none".into(),
            exclusive_data_dir: true,
            metrics: Default::default(),
            metrics_pause: Duration::from_millis(50),
        }
    }
}

/// Everything but the job service itself. Outlives its crashes.
pub struct Stage {
    database: TestDatabase,
    pub document: FakeDocument,
    pub payment: FakePayment,
    pub press: Arc<dyn Press>,
    pub keys: Arc<Keys>,
    document_url: String,
    payment_url: String,
    pub model: Option<FakeModel>,
    sections_at_once: usize,
}

/// A running job service.
pub struct Service {
    pub client: JobServiceClient<Channel>,
    /// The address that the client calls.
    pub url: String,
    /// Its users' tokens are from there too.
    world: World,
    keys: Arc<Keys>,
    shutdown: CancellationToken,
    runtime: Option<Runtime>,
    done: tokio::sync::oneshot::Receiver<()>,
}

impl Stage {
    /// With the sources of the samples, for the writer `digest`.
    pub async fn digest(backend: Backend) -> Self {
        Self::new(backend, "digest", None).await
    }

    /// With a model and one short source, for the writer `openai`.
    pub async fn openai(backend: Backend, model: FakeModel) -> Self {
        Self::new(backend, "openai", Some(model)).await
    }

    pub async fn new(backend: Backend, writer: &str, model: Option<FakeModel>) -> Self {
        const TEXTS: [(&str, &str); 2] = [
            ("from-sheet-to-page.md", include_str!("../../../../samples/from-sheet-to-page.md")),
            ("keeping-books-and-paper.txt", include_str!("../../../../samples/keeping-books-and-paper.txt")),
        ];
        let source = |(name, text): &(&str, &str)| doc::Source {
            id: format!("source-{name}"),
            document_id: DOCUMENT.to_owned(),
            file_name: (*name).to_owned(),
            media_type: "text/plain".to_owned(),
            sha256: format!("{:x}", text.len()),
            ..Default::default()
        };
        let page = |(name, text): &(&str, &str)| doc::ReadSourcesResponse {
            source_id: format!("source-{name}"),
            page: 1,
            text: (*text).to_owned(),
        };
        let document = doc::Document {
            id: DOCUMENT.to_owned(),
            user_id: OWNER.to_owned(),
            title: "Paper and ink".to_owned(),
            language: "en".to_owned(),
            target_pages: 6,
            writer: writer.to_owned(),
            status: doc::DocumentStatus::Draft.into(),
            ..Default::default()
        };
        let brief = doc::GetBriefResponse {
            document: Some(document),
            chapter_titles: Vec::new(),
            sources: TEXTS.iter().map(source).collect(),
            revision: "revision of Paper and ink".to_owned(),
            previewed: false,
        };
        let document = FakeDocument::new(brief, TEXTS.iter().map(page).collect());
        let payment = FakePayment::new();
        let router = Server::builder().add_service(DocumentServiceServer::new(document.clone()));
        let document_url = serve(router).await;
        let router = Server::builder().add_service(PaymentServiceServer::new(payment.clone()));
        let payment_url = serve(router).await;
        Self {
            database: backend.create().await,
            document,
            payment,
            press: Arc::new(FixedPress::pages(6)),
            keys: Arc::new(Keys::new()),
            document_url,
            payment_url,
            model,
            sections_at_once: 4,
        }
    }

    /// Sections are written one after the other: the order is what is looked at.
    pub fn in_order(self) -> Self {
        Self { sections_at_once: 1, ..self }
    }

    /// Adds the token of a service to a call.
    pub fn sign<T>(&self, service: &'static str, request: &mut Request<T>) {
        ServiceIdentity::new(service, World::system(), &master()).authorize(request);
    }

    pub fn directions(&self) -> Directions {
        Directions {
            database_url: self.database.url().to_owned(),
            document_url: self.document_url.clone(),
            payment_url: self.payment_url.clone(),
            model_url: self.model.as_ref().map(|model| model.url.clone()),
            sections_at_once: self.sections_at_once,
            pkcs8: self.keys.pkcs8().to_vec(),
        }
    }

    /// Makes every lease run out, as time would.
    pub async fn expire_leases(&self) {
        self.update("job_leases", "expires_at = 0").await;
    }

    /// Changes every job as time, or what happened before, would have.
    pub async fn change_jobs(&self, assignments: &str) {
        self.update("jobs", assignments).await;
    }

    /// Changes the recorded calls in the same way.
    pub async fn change_recordings(&self, assignments: &str) {
        self.update("job_recordings", assignments).await;
    }

    /// Changes the steps in the same way.
    pub async fn change_steps(&self, assignments: &str) {
        self.update("job_steps", assignments).await;
    }

    /// Changes the messages in the outbox in the same way.
    pub async fn change_outbox(&self, assignments: &str) {
        self.update("job_outbox", assignments).await;
    }

    /// The text columns `columns` of every row of a table, in this order.
    pub async fn rows(&self, table: &str, columns: &[&str], order: &str) -> Vec<Vec<String>> {
        let connection = self.connect().await;
        let texts: Vec<String> =
            columns.iter().map(|column| format!("CAST({column} AS TEXT) AS {column}_text")).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY {order}", texts.join(", "));
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.unwrap();
        connection.close().await.unwrap();
        let read = |row: &QueryResult| {
            let values = columns.iter().map(|column| row.try_get("", &format!("{column}_text")).unwrap());
            values.collect()
        };
        rows.iter().map(read).collect()
    }

    /// A connection to the service's tables.
    pub async fn connect(&self) -> DatabaseConnection {
        let mut options = ConnectOptions::new(self.database.url().to_owned());
        options.max_connections(1);
        if self.database.url().starts_with("postgres") {
            options.set_schema_search_path("job");
        }
        Database::connect(options).await.unwrap()
    }

    async fn update(&self, table: &str, assignments: &str) {
        self.execute(&format!("UPDATE {table} SET {assignments}")).await;
    }

    /// A statement on the service's tables.
    pub async fn execute(&self, sql: &str) {
        let connection = self.connect().await;
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Starts the service as it is by default.
    pub async fn start(&self) -> Service {
        self.start_with(World::system(), |_| {}).await
    }

    /// Starts the service in a runtime of its own, so that it can be killed like a process. With an `auth_url` it runs
    /// without parts of the test's and follows the auth there.
    pub async fn start_with(&self, world: World, tweak: impl FnOnce(&mut Config)) -> Service {
        let mut config = self.directions().config();
        tweak(&mut config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let gatekeeper = Gatekeeper::new(world.clone(), self.keys.clone(), &config.master);
        let parts = Parts { gatekeeper, press: self.press.clone() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (ended, done) = tokio::sync::oneshot::channel();
        let (token, its_world) = (shutdown.clone(), world.clone());
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let served = if config.auth_url.is_empty() {
                quire_background_job::serve_with(config, parts, world, listener, token).await
            } else {
                quire_background_job::serve(config, world, listener, token).await
            };
            served.unwrap();
            let _ = ended.send(());
        });
        let (client, keys) = (client(&url), self.keys.clone());
        Service { client, url, world: its_world, keys, shutdown, runtime: Some(runtime), done }
    }
}

pub fn client(url: &str) -> JobServiceClient<Channel> {
    JobServiceClient::new(quire_serve::client::channel(url).unwrap())
}

impl Service {
    /// One that runs in another process, which ends by itself.
    pub fn elsewhere(url: &str, keys: Arc<Keys>) -> Self {
        let (_, done) = tokio::sync::oneshot::channel();
        let shutdown = CancellationToken::new();
        let world = World::system();
        Self { client: client(url), url: url.to_owned(), world, keys, shutdown, runtime: None, done }
    }

    /// Stops it as an operator does.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.done).await.unwrap();
        self.kill();
    }

    /// Stops it as a power cut does: nothing is stored, nobody is told.
    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts the job of [`ORDER`] as payment does.
    pub async fn start_paid(&mut self) -> String {
        self.start_order(ORDER, DOCUMENT, 6).await.unwrap().job_id
    }

    pub async fn start_order(
        &mut self,
        order_id: &str,
        document_id: &str,
        pages: i32,
    ) -> Result<pb::StartJobResponse, Status> {
        let request = as_payment(pb::StartJobRequest {
            order_id: order_id.to_owned(),
            document_id: document_id.to_owned(),
            user_id: OWNER.to_owned(),
            pages,
        });
        Ok(self.client.start_job(request).await?.into_inner())
    }

    /// The job of [`ORDER`] as payment sees it.
    pub async fn order_job(&mut self) -> pb::OrderJob {
        let request = as_payment(pb::FindOrderJobsRequest { order_ids: vec![ORDER.to_owned()] });
        self.client.find_order_jobs(request).await.unwrap().into_inner().jobs.remove(0)
    }

    /// Stops the job of an order as payment does when the money goes back.
    pub async fn cancel_order(&mut self, order_id: &str) -> Result<pb::OrderJob, Status> {
        let request = as_payment(pb::CancelOrderJobRequest { order_id: order_id.to_owned() });
        Ok(self.client.cancel_order_job(request).await?.into_inner().job.unwrap())
    }

    pub fn as_user<T>(&self, user: &str, message: T) -> Request<T> {
        self.keys.authorize(&self.world, user, Role::User, message)
    }

    pub fn as_admin<T>(&self, message: T) -> Request<T> {
        self.keys.authorize(&self.world, "operator", Role::Admin, message)
    }

    pub async fn job(&mut self, job_id: &str) -> pb::Job {
        let request = self.as_user(OWNER, pb::GetJobRequest { job_id: job_id.to_owned() });
        self.client.get_job(request).await.unwrap().into_inner().job.unwrap()
    }

    pub async fn cancel(&mut self, job_id: &str) -> pb::Job {
        let request = self.as_user(OWNER, pb::CancelJobRequest { job_id: job_id.to_owned() });
        self.client.cancel_job(request).await.unwrap().into_inner().job.unwrap()
    }

    pub async fn watch(&mut self, job_id: &str, after_seq: i64) -> Streaming<pb::WatchJobResponse> {
        let request = self.as_user(OWNER, pb::WatchJobRequest { job_id: job_id.to_owned(), after_seq });
        self.client.watch_job(request).await.unwrap().into_inner()
    }

    /// Follows the job to its end.
    pub async fn events(&mut self, job_id: &str, after_seq: i64) -> Vec<pb::JobEvent> {
        let mut stream = self.watch(job_id, after_seq).await;
        let mut events = Vec::new();
        while let Some(answer) = stream.message().await.unwrap() {
            events.push(answer.event.unwrap());
        }
        events
    }

    /// Follows the job until an event of this kind has come `count` times.
    pub async fn wait_for(&mut self, job_id: &str, kind: &str, count: usize) -> Vec<pb::JobEvent> {
        self.wait_until(job_id, |events| of_kind(events, kind).len() == count).await
    }

    /// Follows the job until its events so far are enough.
    pub async fn wait_until(
        &mut self,
        job_id: &str,
        enough: impl Fn(&[pb::JobEvent]) -> bool,
    ) -> Vec<pb::JobEvent> {
        let mut stream = self.watch(job_id, 0).await;
        let mut events = Vec::new();
        while let Some(answer) = stream.message().await.unwrap() {
            events.push(answer.event.unwrap());
            if enough(&events) {
                return events;
            }
        }
        panic!("the job ended before its time: {events:#?}");
    }
}

/// How much of something a test does: what the environment says, or the default, which is quick.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A call of the payment service.
pub fn as_payment<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    ServiceIdentity::new("payment", World::system(), &master()).authorize(&mut request);
    request
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The data of all events of a kind.
pub fn of_kind(events: &[pb::JobEvent], kind: &str) -> Vec<serde_json::Value> {
    let those = events.iter().filter(|event| event.kind == kind);
    those.map(|event| serde_json::from_str(&event.data_json).unwrap()).collect()
}

/// Fails unless the events are numbered from `first` without gaps and end with `last`.
pub fn assert_whole(events: &[pb::JobEvent], first: i64, last: &str) {
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<i64> = (first..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    assert_eq!(events.last().map(|event| event.kind.as_str()), Some(last), "{events:#?}");
    let percents: Vec<i64> = events
        .iter()
        .filter_map(|event| {
            serde_json::from_str::<serde_json::Value>(&event.data_json).unwrap()["percent"].as_i64()
        })
        .collect();
    assert!(percents.windows(2).all(|pair| pair[0] <= pair[1]), "{percents:?}");
}

/// The text of a section as a follower sees it in the end: what came before a restart is dropped.
pub fn followed_text(events: &[pb::JobEvent], key: &str) -> String {
    let mut text = String::new();
    for event in events {
        let data: serde_json::Value = serde_json::from_str(&event.data_json).unwrap();
        if data["key"] != key {
            continue;
        }
        match event.kind.as_str() {
            "section_started" => text.clear(),
            "text" => {
                assert_eq!(data["offset"], text.len(), "section {key}");
                text.push_str(data["text"].as_str().unwrap());
            }
            _ => {}
        }
    }
    text
}

pub async fn serve(router: tonic::transport::server::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

pub fn master() -> MasterSecret {
    MasterSecret::new("0123456789abcdef0123456789abcdef".to_owned().into()).unwrap()
}

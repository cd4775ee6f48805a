//! Sets up one installation: the payment service, its peers and the provider.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quire_clock::{ManualClock, Timestamp, World};
use quire_database::Database;
use quire_fault::Fault;
use quire_identity::{ACCESS, AccessClaims, ISSUER, MasterSecret, Role, ServiceIdentity};
use quire_payment::Config;
use quire_payment::config::{DEVELOPMENT_API_KEY, DEVELOPMENT_WEBHOOK_SECRET};
use quire_proto::auth::v1::{SigningKey, SigningKeyState};
use quire_proto::payment::v1 as pb;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_sandbox::{Sandbox, SandboxConfig, SandboxHandle};
use quire_serve::metrics::Metrics;
use quire_serve::settings::{Common, Settings};
use quire_testkit::{Backend, TestDatabase};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::peers::{self, Book, Shared};

pub type Client = PaymentServiceClient<Channel>;

/// Waits end here; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for: the machine has other things to do meanwhile.
const LOOK: Duration = Duration::from_millis(5);
pub const KID: &str = "test-key";
const MASTER: &str = "a master secret for tests, 32 characters or more";

/// Everything but the payment servers.
pub struct Stage {
    pub world: World,
    pub clock: Arc<ManualClock>,
    pub sandbox: SandboxHandle,
    pub book: watch::Receiver<Book>,
    peers: Shared,
    peers_url: String,
    /// Where servers that are started from now on find the job service.
    pub job_url: String,
    signing: EncodingKey,
    master: MasterSecret,
    settings: HashMap<String, String>,
    bridge: Bridge,
    pub http: reqwest::Client,
    database: TestDatabase,
    /// A connection beside the servers, for those who look into the tables.
    beside: OnceCell<Database>,
    /// The sandbox ends with the stage.
    shutdown: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A payment server in a runtime of its own, so that a crash takes all of it at once.
pub struct Server {
    pub client: Client,
    /// The address that the client calls.
    pub url: String,
    metrics: Metrics,
    runtime: Option<Runtime>,
}

impl Server {
    /// Ends the process, so to speak: nothing in it runs on.
    pub fn crash(mut self) {
        self.end();
    }

    /// Whether its metrics have this line, but for the names' common beginning.
    pub fn measures(&self, line: &str) -> bool {
        let text = self.metrics.text().unwrap();
        let line = format!("quire_payment_{line}");
        text.lines().any(|there| there == line)
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stage {
    pub async fn new(backend: Backend) -> Self {
        Self::with_settings(backend, &[]).await
    }

    pub async fn with_settings(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let clock = ManualClock::at(Timestamp::from_unix_seconds(1_795_467_200));
        let world = World::with_clock(clock.clone());
        let master = MasterSecret::new(SecretString::from(MASTER)).unwrap();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = SigningKey {
            kid: KID.to_owned(),
            public_key: pair.public_key().as_ref().to_vec(),
            state: SigningKeyState::Active.into(),
        };
        let (peers, book) = watch::channel(Book::default());
        let peers_url = peers::serve(peers.clone(), world.clone(), &master, public).await;

        let shutdown = CancellationToken::new();
        let bridge = Bridge::default();
        let config = SandboxConfig {
            api_keys: vec![DEVELOPMENT_API_KEY.to_owned()],
            webhook_secrets: vec![DEVELOPMENT_WEBHOOK_SECRET.to_owned()],
            webhook_url: Some(bridge.serve().await),
            ..SandboxConfig::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener, config, world.clone(), shutdown.clone()).await.unwrap();
        let mut values: HashMap<String, String> = HashMap::new();
        values.insert("QUIRE_STRIPE_URL".to_owned(), sandbox.url().to_owned());
        values.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let redirects = reqwest::redirect::Policy::none();
        Self {
            world,
            clock,
            sandbox,
            book,
            peers,
            job_url: peers_url.clone(),
            peers_url,
            signing: EncodingKey::from_ed_der(pkcs8.as_ref()),
            master,
            settings: values,
            bridge,
            http: reqwest::Client::builder().no_proxy().redirect(redirects).build().unwrap(),
            database: backend.create().await,
            beside: OnceCell::new(),
            shutdown,
        }
    }

    /// Starts a payment server on the stage's database and waits until it answers. The provider's webhooks reach
    /// every server in turn.
    pub async fn start(&self) -> Server {
        self.start_with(&[]).await
    }

    pub async fn start_with(&self, settings: &[(&str, &str)]) -> Server {
        self.start_in(self.world.clone(), settings).await
    }

    /// As [`Self::start_with`], in another world: another clock, or places where something happens.
    pub async fn start_in(&self, world: World, settings: &[(&str, &str)]) -> Server {
        let server = self.start_unreached(world, settings).await;
        self.bridge.0.lock().unwrap().clients.push(server.client.clone());
        server
    }

    /// As [`Self::start_in`], but the provider's webhooks do not reach it.
    pub async fn start_unreached(&self, world: World, settings: &[(&str, &str)]) -> Server {
        let mut values = self.settings.clone();
        values.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut settings = Settings::from_map(values);
        let common = Common {
            database_url: self.database.url().to_owned(),
            data_dir: PathBuf::new(),
            migrate: true,
            master_secret: SecretString::from(MASTER),
            auth_url: self.peers_url.clone(),
            document_url: self.peers_url.clone(),
            payment_url: String::new(),
            job_url: self.job_url.clone(),
        };
        let config = Config::read(&mut settings, &common);
        settings.finish().unwrap();
        let config = config.unwrap();
        let metrics = config.metrics.clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            quire_payment::serve(config, world, listener, CancellationToken::new()).await.unwrap();
        });
        let mut client = Client::new(quire_serve::client::channel(&url).unwrap());
        client.get_pricing(pb::GetPricingRequest {}).await.unwrap();
        Server { client, url, metrics, runtime: Some(runtime) }
    }

    /// The provider's webhooks no longer reach the servers started so far.
    pub fn forget_servers(&self) {
        self.bridge.0.lock().unwrap().clients.clear();
    }

    pub fn change_peers(&self, change: impl FnOnce(&mut Book)) {
        self.peers.send_modify(change);
    }

    /// Waits until the peers were asked as described.
    pub async fn peers_were(&self, asked: impl FnMut(&Book) -> bool) -> Book {
        let mut book = self.book.clone();
        let waiting = tokio::time::timeout(PATIENCE, book.wait_for(asked)).await;
        waiting.expect("the peers are asked in time").unwrap().clone()
    }

    /// Asks for an order until it is as described.
    pub async fn order_is(
        &self,
        client: &Client,
        id: &str,
        as_described: impl Fn(&pb::Order) -> bool,
    ) -> pb::Order {
        let asking = async {
            loop {
                let order = self.order(client, id).await;
                if as_described(&order) {
                    return order;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("the order gets there in time")
    }

    /// Looks until it is so.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let looking = async {
            while !is_so().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        assert!(looked.is_ok(), "not so in time: {what}");
    }

    pub async fn order(&self, client: &Client, id: &str) -> pb::Order {
        let request = self.as_user("ada", pb::GetOrderRequest { order_id: id.to_owned() });
        client.clone().get_order(request).await.unwrap().into_inner().order.unwrap()
    }

    pub async fn checkout(&self, client: &Client, document_id: &str) -> Result<pb::Order, Fault> {
        let message = pb::CreateCheckoutRequest { document_id: document_id.to_owned(), ..Default::default() };
        let request = self.as_user("ada", message);
        let answer = client.clone().create_checkout(request).await;
        answer.map(|answer| answer.into_inner().order.unwrap()).map_err(|status| Fault::from(&status))
    }

    /// The customer pays on the provider's page.
    pub async fn pay(&self, order: &pb::Order) {
        self.pay_at(&order.checkout_url).await;
    }

    pub async fn pay_at(&self, url: &str) {
        let answer = self.http.post(url).body("action=pay").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 303, "{}", answer.text().await.unwrap());
    }

    /// Asks the provider's API.
    pub async fn provider(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox.url());
        let answer = self.http.get(url).bearer_auth(DEVELOPMENT_API_KEY).send().await.unwrap();
        answer.json().await.unwrap()
    }

    pub async fn provider_post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.sandbox.url());
        let request = self.http.post(url).bearer_auth(DEVELOPMENT_API_KEY).form(form);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Delivers a signed event.
    pub async fn deliver(&self, client: &Client, event: &Value) -> Result<pb::HandleWebhookResponse, Status> {
        self.deliver_raw(client, event.to_string().into_bytes()).await
    }

    /// Delivers a signed body, byte for byte.
    pub async fn deliver_raw(
        &self,
        client: &Client,
        payload: Vec<u8>,
    ) -> Result<pb::HandleWebhookResponse, Status> {
        let now = self.world.now().unix_seconds();
        let signature = quire_sandbox::signature::sign(DEVELOPMENT_WEBHOOK_SECRET, now, &payload);
        let request = pb::HandleWebhookRequest { payload, signature: Some(signature) };
        client.clone().handle_webhook(request).await.map(tonic::Response::into_inner)
    }

    pub fn as_user<T>(&self, user_id: &str, message: T) -> Request<T> {
        self.signed(user_id, Role::User, message)
    }

    pub fn as_admin<T>(&self, message: T) -> Request<T> {
        self.signed("root", Role::Admin, message)
    }

    fn signed<T>(&self, user_id: &str, role: Role, message: T) -> Request<T> {
        let now = self.world.now();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: ACCESS.audience.to_owned(),
            sub: user_id.to_owned(),
            sid: "session".to_owned(),
            generation: 1,
            jti: self.world.id(),
            iat: now.unix_seconds(),
            nbf: None,
            exp: now.plus(Duration::from_secs(900)).unix_seconds(),
            role,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(KID.to_owned());
        header.typ = Some(ACCESS.kind.to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing).unwrap();
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }

    pub fn as_service<T>(&self, name: &'static str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        ServiceIdentity::new(name, self.world.clone(), &self.master).authorize(&mut request);
        request
    }

    /// The payment database, beside the servers.
    pub async fn database(&self) -> &Database {
        let open = async || quire_database::open(&self.database_settings()).await.unwrap();
        self.beside.get_or_init(open).await
    }

    pub fn is_postgres(&self) -> bool {
        self.database.url().starts_with("postgres")
    }

    pub fn database_settings(&self) -> quire_database::Settings {
        quire_database::Settings {
            url: self.database.url().to_owned(),
            schema: "payment".to_owned(),
            max_connections: 2,
        }
    }
}

/// Takes the provider's webhooks over HTTP, as the gateway does, and hands them to the servers in turn.
#[derive(Clone, Default)]
struct Bridge(Arc<Mutex<Targets>>);

#[derive(Default)]
struct Targets {
    clients: Vec<Client>,
    next: usize,
}

impl Bridge {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let router =
            axum::Router::new().route("/webhook", axum::routing::post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }
}

async fn receive(State(bridge): State<Bridge>, headers: HeaderMap, body: axum::body::Bytes) -> StatusCode {
    let client = {
        let mut targets = bridge.0.lock().unwrap();
        targets.next += 1;
        let next = targets.next;
        let count = targets.clients.len().max(1);
        targets.clients.get(next % count).cloned()
    };
    let Some(mut client) = client else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    let signature = headers.get("stripe-signature").map(|value| value.to_str().unwrap().to_owned());
    let request = pb::HandleWebhookRequest { payload: body.to_vec(), signature };
    match client.handle_webhook(request).await {
        Ok(_) => StatusCode::OK,
        Err(status) => Fault::from(&status).kind.http(),
    }
}

//! A running auth service, its clock, its mail folder and its client.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quire_auth::{Config, StartError};
use quire_clock::{ManualClock, Timestamp, World};
use quire_fault::Fault;
use quire_identity::{MasterSecret, ServiceIdentity};
use quire_proto::auth::v1 as pb;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use quire_serve::settings::{Common, Settings};
use quire_testkit::{Backend, TestDatabase};
use sea_orm::{ConnectionTrait, Statement};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

pub const SECRET: &str = "a master secret of more than 32 characters";
/// The verifier of the device that the tests sign in from.
pub const DEVICE: &str = "the-device-of-the-tests-AAAAAAAAAAAAAAAAAAA";

/// What outlives a restart: the database, the data folder, the clock.
pub struct Place {
    pub database: TestDatabase,
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
}

impl Place {
    pub async fn new(backend: Backend) -> Self {
        Self {
            database: backend.create().await,
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(Timestamp::from_unix_seconds(1_700_000_000)),
        }
    }

    pub fn world(&self) -> World {
        World::with_clock(self.clock.clone())
    }

    pub fn common(&self, migrate: bool, secret: &str) -> Common {
        Common {
            database_url: self.database.url().to_owned(),
            data_dir: self.folder.path().to_owned(),
            migrate,
            master_secret: SecretString::from(secret.to_owned()),
            auth_url: String::new(),
            document_url: String::new(),
            payment_url: String::new(),
            job_url: String::new(),
        }
    }

    pub fn config(&self, migrate: bool, secret: &str, settings: &[(&str, &str)]) -> Config {
        let pairs = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_map(pairs.collect::<HashMap<_, _>>());
        let config = Config::read(&mut settings, &self.common(migrate, secret));
        settings.finish().unwrap();
        config
    }

    pub async fn database(&self) -> quire_database::Database {
        let url = self.database.url().to_owned();
        let settings = quire_database::Settings { url, schema: "auth".to_owned(), max_connections: 2 };
        quire_database::open(&settings).await.unwrap()
    }

    /// The first column of the first row.
    pub async fn number(&self, sql: &str) -> i64 {
        let database = self.database().await;
        let reader = database.reader();
        let statement =
            Statement::from_string(reader.get_database_backend(), format!("SELECT ({sql}) AS number"));
        reader.query_one_raw(statement).await.unwrap().unwrap().try_get("", "number").unwrap()
    }
}

/// One running auth service.
pub struct Auth {
    pub client: AuthServiceClient<Channel>,
    pub address: String,
    links: Mutex<mpsc::UnboundedReceiver<String>>,
    gateway: ServiceIdentity,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), StartError>>,
}

impl Auth {
    pub async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    pub async fn start_with(place: &Place, settings: &[(&str, &str)]) -> Self {
        Self::start_config(place, place.config(true, SECRET, settings)).await
    }

    pub async fn start_config(place: &Place, mut config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, links) = mpsc::unbounded_channel();
        config.show_links(Arc::new(move |line: &str| {
            let _ = sender.send(line.to_owned());
        }));
        let shutdown = CancellationToken::new();
        let world = place.world();
        let master = MasterSecret::new(SecretString::from(SECRET.to_owned())).unwrap();
        let gateway = ServiceIdentity::new("gateway", world.clone(), &master);
        let server = tokio::spawn(quire_auth::serve(config, world, listener, shutdown.clone()));
        // Connections wait in the listener's queue until the server takes them.
        let client = AuthServiceClient::new(quire_serve::client::channel(&address).unwrap());
        Self { client, address, links: Mutex::new(links), gateway, shutdown, server }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        drop(self.client);
        self.server.await.unwrap().unwrap();
    }

    pub async fn request_link(&self, email: &str) -> Result<i32, Status> {
        let request = pb::RequestMagicLinkRequest { email: email.to_owned(), verifier: DEVICE.to_owned() };
        Ok(self.client.clone().request_magic_link(request).await?.into_inner().expires_in_seconds)
    }

    /// The console's next line.
    pub async fn next_line(&self) -> String {
        self.links.lock().await.recv().await.expect("auth is running")
    }

    /// Asks for a link and takes its token from the console.
    pub async fn link_token(&self, email: &str) -> String {
        self.request_link(email).await.unwrap();
        token_of(&self.next_line().await)
    }

    pub async fn verify(&self, token: &str) -> Result<pb::VerifyMagicLinkResponse, Status> {
        self.verify_as(DEVICE, token, "").await
    }

    pub async fn verify_code(&self, code: &str) -> Result<pb::VerifyMagicLinkResponse, Status> {
        self.verify_as(DEVICE, "", code).await
    }

    pub async fn verify_as(
        &self,
        verifier: &str,
        token: &str,
        code: &str,
    ) -> Result<pb::VerifyMagicLinkResponse, Status> {
        let (token, code, verifier) = (token.to_owned(), code.to_owned(), verifier.to_owned());
        let mut request = Request::new(pb::VerifyMagicLinkRequest { token, code, verifier });
        self.as_gateway(&mut request);
        Ok(self.client.clone().verify_magic_link(request).await?.into_inner())
    }

    pub async fn sign_in(&self, email: &str) -> pb::TokenPair {
        let token = self.link_token(email).await;
        self.verify(&token).await.unwrap().tokens.unwrap()
    }

    pub async fn refresh(&self, token: &str) -> Result<pb::TokenPair, Status> {
        let mut request = Request::new(pb::RefreshSessionRequest { refresh_token: token.to_owned() });
        self.as_gateway(&mut request);
        Ok(self.client.clone().refresh_session(request).await?.into_inner().tokens.unwrap())
    }

    pub async fn me(&self, access: &str) -> Result<pb::GetCurrentUserResponse, Status> {
        let request = bearer(access, pb::GetCurrentUserRequest {});
        Ok(self.client.clone().get_current_user(request).await?.into_inner())
    }

    pub async fn logout(&self, access: &str) -> Result<(), Status> {
        self.client.clone().logout(bearer(access, pb::LogoutRequest {})).await.map(|_| ())
    }

    pub async fn sessions(&self, access: &str) -> Result<Vec<pb::Session>, Status> {
        let request = bearer(access, pb::ListSessionsRequest {});
        Ok(self.client.clone().list_sessions(request).await?.into_inner().sessions)
    }

    pub async fn block(&self, access: &str, user_id: &str) -> Result<pb::User, Status> {
        let request = bearer(access, pb::BlockUserRequest { user_id: user_id.to_owned() });
        Ok(self.client.clone().block_user(request).await?.into_inner().user.unwrap())
    }

    pub async fn unblock(&self, access: &str, user_id: &str) -> Result<pb::User, Status> {
        let request = bearer(access, pb::UnblockUserRequest { user_id: user_id.to_owned() });
        Ok(self.client.clone().unblock_user(request).await?.into_inner().user.unwrap())
    }

    /// A call of the gateway itself.
    pub fn service<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.gateway.authorize(&mut request);
        request
    }

    pub async fn watch(&self, after_seq: i64) -> Streaming<pb::WatchRevocationsResponse> {
        let request = self.service(pb::WatchRevocationsRequest { after_seq });
        self.client.clone().watch_revocations(request).await.unwrap().into_inner()
    }

    pub async fn keys(&self) -> Vec<pb::SigningKey> {
        let answer = self.client.clone().list_signing_keys(pb::ListSigningKeysRequest {}).await;
        answer.unwrap().into_inner().keys
    }

    pub async fn events(
        &self,
        access: &str,
        request: pb::ListAuditEventsRequest,
    ) -> Result<pb::ListAuditEventsResponse, Status> {
        Ok(self.client.clone().list_audit_events(bearer(access, request)).await?.into_inner())
    }

    /// What the gateway adds to every call.
    fn as_gateway<T>(&self, request: &mut Request<T>) {
        self.gateway.authorize(request);
        let metadata = request.metadata_mut();
        metadata.insert("x-quire-client-address", "203.0.113.7".parse().unwrap());
        metadata.insert("x-quire-user-agent", "Browser/1.0".parse().unwrap());
        metadata.insert("x-request-id", "request-of-the-test".parse().unwrap());
    }
}

pub fn token_of(line: &str) -> String {
    line.rsplit_once("#token=").expect("the line ends with the link").1.trim().to_owned()
}

pub fn bearer<T>(access: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {access}").parse().unwrap());
    request
}

/// The code in a line of the console, as it stands in the mail.
pub fn code_of(line: &str) -> String {
    line.split_once("(code ").and_then(|(_, rest)| rest.get(..9)).expect("the line has a code").to_owned()
}

/// The machine-readable reason of a refusal.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    Fault::from(&outcome.unwrap_err()).reason
}

pub fn mails(place: &Place) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(place.folder.path().join("mail"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

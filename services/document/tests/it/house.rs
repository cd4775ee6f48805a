//! A running document service, and callers with real tokens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quire_clock::{ManualClock, World};
use quire_document::{Config, PageRule, SpecRules, Writer};
use quire_fault::Fault;
use quire_identity::{
    ACCESS, AccessClaims, Gatekeeper, ISSUER, KeySource, MasterSecret, PublicKey, Role, ServiceIdentity,
};
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_testkit::{Backend, TestDatabase};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub const KEY_ID: &str = "test-key";
const MASTER: &str = "a master secret that only tests know of";
/// Where the reader process writes its answer: standard output belongs to the test runner.
const READER_ANSWER: &str = "QUIRE_TEST_READER_ANSWER";

pub type Client = DocumentServiceClient<Channel>;

pub struct House {
    pub clock: Arc<ManualClock>,
    pub data: tempfile::TempDir,
    pub client: Client,
    /// The address that the client calls.
    pub url: String,
    /// Of all sources of a document; valid from the next start on.
    pub max_characters: i64,
    database: TestDatabase,
    rules: SpecRules,
    key: Arc<Ed25519KeyPair>,
    pub world: World,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

struct OneKey(PublicKey);

#[tonic::async_trait]
impl KeySource for OneKey {
    async fn fetch(&self) -> Result<Vec<PublicKey>, Fault> {
        Ok(vec![self.0.clone()])
    }
}

impl House {
    /// With the usual rules and no model.
    pub async fn open(backend: Backend) -> Self {
        let rules = SpecRules {
            pages: PageRule::default(),
            writers: vec![Writer::Digest],
            default_writer: Writer::Digest,
        };
        Self::open_with(backend, rules).await
    }

    pub async fn open_with(backend: Backend, rules: SpecRules) -> Self {
        // The age of files is measured against this clock, so it starts with the machine's.
        let clock = ManualClock::at(World::system().now());
        let mut house = Self {
            world: World::with_clock(clock.clone()),
            clock,
            data: tempfile::tempdir().unwrap(),
            client: Client::new(Channel::from_static("http://127.0.0.1:1").connect_lazy()),
            url: String::new(),
            max_characters: 20_000_000,
            database: backend.create().await,
            rules,
            key: Arc::new(Ed25519KeyPair::generate().unwrap()),
            running: None,
        };
        house.start().await;
        house
    }

    async fn start(&mut self) {
        let config = Config {
            database: quire_database::Settings {
                url: self.database.url().to_owned(),
                schema: "document".to_owned(),
                max_connections: 8,
            },
            migrate: true,
            master_secret: MASTER.to_owned().into(),
            auth_url: String::new(),
            data_dir: self.data.path().join("quire"),
            rules: self.rules.clone(),
            source_max_bytes: 256 * 1024,
            sources_max_characters: self.max_characters,
            reader_program: self.reader_program(),
            metrics: Default::default(),
        };
        let public = PublicKey { kid: KEY_ID.to_owned(), bytes: self.key.public_key().as_ref().to_vec() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let world = self.world.clone();
        let master = MasterSecret::new(MASTER.to_owned().into()).unwrap();
        let gatekeeper = Gatekeeper::new(world.clone(), Arc::new(OneKey(public)), &master);
        let service = quire_document::serve_with(config, gatekeeper, world, listener, shutdown.clone());
        let running = tokio::spawn(async move { service.await.unwrap() });
        self.client = Client::new(quire_serve::client::channel(&url).unwrap());
        self.url = url;
        self.running = Some((shutdown, running));
    }

    /// Ends the process's part of the service and starts it again on what is stored.
    pub async fn restart(&mut self) {
        let (shutdown, running) = self.running.take().unwrap();
        // An open connection would hold the drain up.
        self.client = Client::new(Channel::from_static("http://127.0.0.1:1").connect_lazy());
        shutdown.cancel();
        running.await.unwrap();
        self.start().await;
    }

    /// A program that answers `read-source`: this test program, told to be the reader.
    fn reader_program(&self) -> PathBuf {
        let program = self.data.path().join("reader.sh");
        let runner = std::env::current_exe().unwrap();
        let text = format!(
            "#!/bin/sh\nanswer=\"$0.$$\"\n{READER_ANSWER}=\"$answer\" '{}' --exact {} >/dev/null\ncode=$?\n\
             cat \"$answer\"; rm -f \"$answer\"; exit $code\n",
            runner.display(),
            "house::acts_as_the_reader_process_when_asked_to",
        );
        // Another process writes it: see the tests of the reader's parent.
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf '%s' "$2" > "$1" && chmod +x "$1""#, "sh"])
            .arg(&program)
            .arg(text)
            .status();
        assert!(written.unwrap().success());
        program
    }

    /// A call of that user.
    pub fn user<T>(&self, user_id: &str, message: T) -> Request<T> {
        let now = self.world.now().unix_seconds();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: ACCESS.audience.to_owned(),
            sub: user_id.to_owned(),
            sid: "session".to_owned(),
            generation: 1,
            jti: "token".to_owned(),
            iat: now,
            nbf: None,
            exp: now + 900,
            role: Role::User,
        };
        let header = Header {
            typ: Some(ACCESS.kind.to_owned()),
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        let key = EncodingKey::from_ed_der(self.key.to_pkcs8v1().unwrap().as_ref());
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// A call of the service of that name.
    pub fn service<T>(&self, name: &'static str, message: T) -> Request<T> {
        let master = MasterSecret::new(MASTER.to_owned().into()).unwrap();
        let mut request = Request::new(message);
        ServiceIdentity::new(name, self.world.clone(), &master).authorize(&mut request);
        request
    }

    /// A call of the job service.
    pub fn job<T>(&self, message: T) -> Request<T> {
        self.service("background-job", message)
    }

    pub async fn create(&self, user_id: &str, spec: pb::DocumentSpec) -> Result<pb::Document, Status> {
        let message =
            pb::CreateDocumentRequest { spec: Some(spec), validate_only: false, ..Default::default() };
        let answer = self.client.clone().create_document(self.user(user_id, message)).await?;
        Ok(answer.into_inner().document.unwrap())
    }

    pub async fn update(
        &self,
        user_id: &str,
        id: &str,
        spec: pb::DocumentSpec,
    ) -> Result<pb::Document, Status> {
        let message =
            pb::UpdateDocumentRequest { document_id: id.to_owned(), spec: Some(spec), validate_only: false };
        let answer = self.client.clone().update_document(self.user(user_id, message)).await?;
        Ok(answer.into_inner().document.unwrap())
    }

    /// A draft of Ada's with that many pages.
    pub async fn draft(&self, pages: i32) -> pb::Document {
        self.create("ada", pb::DocumentSpec { target_pages: Some(pages), ..titled("On paper") })
            .await
            .unwrap()
    }

    pub async fn get(&self, user_id: &str, id: &str) -> Result<pb::Document, Status> {
        let message = pb::GetDocumentRequest { document_id: id.to_owned() };
        Ok(self
            .client
            .clone()
            .get_document(self.user(user_id, message))
            .await?
            .into_inner()
            .document
            .unwrap())
    }

    pub async fn status(&self, id: &str) -> pb::DocumentStatus {
        self.get("ada", id).await.unwrap().status()
    }

    /// Uploads a file of Ada's in chunks of that many bytes.
    pub async fn upload_in(
        &self,
        chunk: usize,
        id: &str,
        name: &str,
        bytes: &[u8],
    ) -> Result<pb::Source, Status> {
        use pb::upload_source_request::Part;
        let header = pb::SourceHeader { document_id: id.to_owned(), file_name: name.to_owned() };
        let chunks = bytes.chunks(chunk).map(|chunk| Part::Chunk(chunk.to_vec()));
        let parts: Vec<_> = [Part::Header(header)].into_iter().chain(chunks).collect();
        let messages = parts.into_iter().map(|part| pb::UploadSourceRequest { part: Some(part) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        Ok(self.client.clone().upload_source(self.user("ada", stream)).await?.into_inner().source.unwrap())
    }

    pub async fn upload(&self, id: &str, name: &str, bytes: &[u8]) -> Result<pb::Source, Status> {
        self.upload_in(64 * 1024, id, name, bytes).await
    }

    pub async fn sources(&self, id: &str) -> pb::ListSourcesResponse {
        let message = pb::ListSourcesRequest { document_id: id.to_owned() };
        self.client.clone().list_sources(self.user("ada", message)).await.unwrap().into_inner()
    }

    pub async fn prepare(&self, user_id: &str, id: &str) -> Result<pb::Document, Status> {
        let message = pb::PrepareOrderRequest { document_id: id.to_owned(), user_id: user_id.to_owned() };
        let answer = self.client.clone().prepare_order(self.service("payment", message)).await?;
        Ok(answer.into_inner().document.unwrap())
    }

    pub async fn attach(&self, id: &str, job: &str) -> Result<(), Status> {
        self.attach_job(id, job, false).await
    }

    /// Only if no other job has had the document.
    pub async fn attach_unwritten(&self, id: &str, job: &str) -> Result<(), Status> {
        self.attach_job(id, job, true).await
    }

    async fn attach_job(&self, id: &str, job: &str, only_unwritten: bool) -> Result<(), Status> {
        let message =
            pb::AttachJobRequest { document_id: id.to_owned(), job_id: job.to_owned(), only_unwritten };
        self.client.clone().attach_job(self.job(message)).await.map(|_| ())
    }

    pub async fn report(&self, id: &str, fence: pb::Fence, status: pb::DocumentStatus) -> Result<(), Status> {
        let completed = status == pb::DocumentStatus::Completed;
        self.report_pages(id, fence, status, if completed { 12 } else { 0 }).await
    }

    pub async fn report_pages(
        &self,
        id: &str,
        fence: pb::Fence,
        status: pb::DocumentStatus,
        counted_pages: i32,
    ) -> Result<(), Status> {
        let message = pb::ReportJobRequest {
            document_id: id.to_owned(),
            fence: Some(fence),
            status: status.into(),
            counted_pages,
            failure: "the model did not answer".to_owned(),
        };
        self.client.clone().report_job(self.job(message)).await.map(|_| ())
    }

    pub async fn put_export(
        &self,
        id: &str,
        fence: pb::Fence,
        format: pb::ExportFormat,
        bytes: &[u8],
    ) -> Result<pb::Export, Status> {
        use pb::put_export_request::Part;
        let header =
            pb::ExportHeader { document_id: id.to_owned(), fence: Some(fence), format: format.into() };
        let chunks = bytes.chunks(100_000).map(|chunk| Part::Chunk(chunk.to_vec()));
        let parts: Vec<_> = [Part::Header(header)].into_iter().chain(chunks).collect();
        let messages = parts.into_iter().map(|part| pb::PutExportRequest { part: Some(part) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        Ok(self.client.clone().put_export(self.job(stream)).await?.into_inner().export.unwrap())
    }

    /// A document of Ada's whose job `job-1` is at work in its first epoch.
    pub async fn generating(&self) -> pb::Document {
        let document = self.draft(12).await;
        self.attach(&document.id, "job-1").await.unwrap();
        self.report(&document.id, fence("job-1", 1), pb::DocumentStatus::Generating).await.unwrap();
        document
    }

    /// Every file in the file store, without its folder.
    pub fn stored_files(&self) -> Vec<PathBuf> {
        fn walk(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.data.path().join("quire"), &mut found);
        found
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some((shutdown, _)) = &self.running {
            shutdown.cancel();
        }
    }
}

pub fn titled(title: &str) -> pb::DocumentSpec {
    pb::DocumentSpec { title: Some(title.to_owned()), ..pb::DocumentSpec::default() }
}

pub fn fence(job: &str, epoch: i64) -> pb::Fence {
    pb::Fence { job_id: job.to_owned(), epoch }
}

/// What a refused call says, beside its code.
pub fn fault(outcome: Result<impl Sized, Status>) -> Fault {
    match outcome {
        Ok(_) => panic!("the call was accepted"),
        Err(status) => Fault::from(&status),
    }
}

/// The broken rules of a refused call, as `field: message`.
pub fn violations(outcome: Result<impl Sized, Status>) -> Vec<String> {
    let fault = fault(outcome);
    fault.violations.iter().map(|broken| format!("{}: {}", broken.field, broken.rule.message())).collect()
}

/// Not a test of its own: the program of [`House::reader_program`] runs it, and only it, in a process of
/// its own, which then is the reader that the service starts.
#[test]
fn acts_as_the_reader_process_when_asked_to() {
    let Some(answer) = std::env::var_os(READER_ANSWER) else {
        return;
    };
    let answer = std::fs::File::create(answer).unwrap();
    assert_eq!(quire_document::reader::run_child(std::io::stdin(), answer), ExitCode::SUCCESS);
}

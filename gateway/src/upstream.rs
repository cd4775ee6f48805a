//! The services behind the gateway: clients, deadlines, and who a call is made for.

use std::future::Future;
use std::time::Duration;

use quire_clock::World;
use quire_fault::{Fault, Kind};
use quire_identity::{GATEWAY, Gatekeeper, ServiceIdentity};
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_serve::client::{self, AddressError};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::client_address::ClientAddress;
use crate::config::Config;

/// For calls that only touch a database.
const QUICK: Duration = Duration::from_secs(10);
/// For calls that wait for a payment provider, read many source files, or write a job once more.
const SLOW: Duration = Duration::from_secs(60);
/// For uploads: as long as the client keeps sending. Silence is bounded by the body's own time limit.
const UPLOAD: Duration = Duration::from_secs(900);
/// The sections of a thousand pages come in one answer; tonic would stop at 4 MiB.
const LARGEST_ANSWER: usize = 64 << 20;
/// Pause before the one repetition of a read.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections to all services. Clients are cheap to clone and share their connection.
pub(crate) struct Upstream {
    pub(crate) auth: AuthServiceClient<Channel>,
    pub(crate) document: DocumentServiceClient<Channel>,
    pub(crate) payment: PaymentServiceClient<Channel>,
    pub(crate) job: JobServiceClient<Channel>,
    pub(crate) gatekeeper: Gatekeeper,
    /// For health checks.
    pub(crate) channels: [(&'static str, Channel); 4],
    identity: ServiceIdentity,
}

/// For whom a call is made.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The access token, when it is a user.
    pub(crate) token: Option<String>,
    pub(crate) address: ClientAddress,
    pub(crate) user_agent: String,
}

impl Upstream {
    /// Follows auth's revocations until the shutdown.
    ///
    /// # Errors
    /// An address in the settings cannot be used.
    pub(crate) fn connect(
        config: &Config,
        world: World,
        shutdown: CancellationToken,
    ) -> Result<Self, AddressError> {
        let auth = client::channel(&config.auth_url)?;
        let document = client::channel(&config.document_url)?;
        let payment = client::channel(&config.payment_url)?;
        let job = client::channel(&config.job_url)?;
        let identity = ServiceIdentity::new(GATEWAY, world.clone(), &config.master);
        let gatekeeper =
            Gatekeeper::following(auth.clone(), identity.clone(), world, &config.master, shutdown);
        Ok(Self {
            auth: AuthServiceClient::new(auth.clone()),
            document: DocumentServiceClient::new(document.clone()).max_decoding_message_size(LARGEST_ANSWER),
            payment: PaymentServiceClient::new(payment.clone()),
            job: JobServiceClient::new(job.clone()),
            gatekeeper,
            channels: [("auth", auth), ("document", document), ("payment", payment), ("job", job)],
            identity,
        })
    }

    /// A call that answers quickly.
    pub(crate) fn quick<T>(&self, caller: &Caller, message: T) -> tonic::Request<T> {
        self.on_behalf(caller, client::outgoing(message, QUICK))
    }

    /// A call that may take a while.
    pub(crate) fn slow<T>(&self, caller: &Caller, message: T) -> tonic::Request<T> {
        self.on_behalf(caller, client::outgoing(message, SLOW))
    }

    /// A call that carries a file.
    pub(crate) fn upload<T>(&self, caller: &Caller, message: T) -> tonic::Request<T> {
        self.on_behalf(caller, client::outgoing(message, UPLOAD))
    }

    /// A call whose answer may stream for hours.
    pub(crate) fn stream<T>(&self, caller: &Caller, message: T) -> tonic::Request<T> {
        self.on_behalf(caller, client::outgoing_stream(message))
    }

    fn on_behalf<T>(&self, caller: &Caller, mut request: tonic::Request<T>) -> tonic::Request<T> {
        self.identity.authorize(&mut request);
        let mut set = |key: &'static str, value: String| {
            let value: Result<MetadataValue<Ascii>, _> = MetadataValue::try_from(value);
            if let Ok(value) = value {
                request.metadata_mut().insert(key, value);
            }
        };
        if let Some(token) = &caller.token {
            set("authorization", format!("Bearer {token}"));
        }
        set("x-quire-client-address", caller.address.to_string());
        set("x-quire-user-agent", caller.user_agent.clone());
        request
    }
}

/// Makes a call that changes nothing, once more if the service did not answer the first time.
///
/// # Errors
/// Those of the last try.
pub(crate) async fn read<T, Fut>(call: impl Fn() -> Fut) -> Result<T, Status>
where
    Fut: Future<Output = Result<tonic::Response<T>, Status>>,
{
    match call().await {
        Err(status) if Fault::from(&status).kind == Kind::Unavailable => {
            tokio::time::sleep(PAUSE).await;
            call().await
        }
        other => other,
    }
    .map(tonic::Response::into_inner)
}

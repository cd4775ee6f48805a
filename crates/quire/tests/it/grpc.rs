//! The services' own doors, as a developer with grpcurl meets them.

use quire_clock::World;
use quire_identity::{MasterSecret, ServiceIdentity};
use quire_proto::auth::v1::RefreshSessionRequest;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_proto::document::v1::{CreateDocumentRequest, DocumentSpec};
use quire_proto::job::v1::StartJobRequest;
use quire_proto::job::v1::job_service_client::JobServiceClient;
use quire_testkit::Backend;
use secrecy::SecretString;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::customer::Customer;
use crate::system::{OPERATOR, System};

quire_testkit::on_both_databases!(
    every_service_lists_and_describes_itself,
    every_service_says_that_it_serves,
    a_broken_rule_comes_with_its_field,
    only_a_service_starts_a_job,
);

const SECRET: &str = "the-master-secret-of-a-test-0123456789";

/// The address of each service and the name of what it serves.
fn doors(system: &System) -> [(String, &'static str); 4] {
    let urls = &system.embedded.urls;
    [
        (urls.auth.clone(), "quire.auth.v1.AuthService"),
        (urls.document.clone(), "quire.document.v1.DocumentService"),
        (urls.payment.clone(), "quire.payment.v1.PaymentService"),
        (urls.job.clone(), "quire.job.v1.JobService"),
    ]
}

async fn channel(url: &str) -> Channel {
    Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap()
}

fn as_user<T>(customer: &Customer, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", customer.access).parse().unwrap());
    request
}

/// Asks one question of the reflection service of one version.
macro_rules! reflection {
    ($version:ident, $url:expr, $kind:ident, $text:expr) => {{
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_request::MessageRequest,
        };
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$kind(String::from(&*$text))),
        };
        let mut client = ServerReflectionClient::new(channel($url).await);
        let answers = client.server_reflection_info(tokio_stream::iter([question])).await.unwrap();
        answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    }};
}

macro_rules! listed {
    ($version:ident, $url:expr) => {{
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        match reflection!($version, $url, ListServices, "") {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<String>>()
            }
            other => panic!("{other:?}"),
        }
    }};
}

macro_rules! described {
    ($version:ident, $url:expr, $symbol:expr) => {{
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        match reflection!($version, $url, FileContainingSymbol, $symbol) {
            MessageResponse::FileDescriptorResponse(files) => files.file_descriptor_proto.concat(),
            other => panic!("{}: {other:?}", $symbol),
        }
    }};
}

async fn every_service_lists_and_describes_itself(backend: Backend) {
    let system = System::start(backend, &[]).await;
    for (url, name) in doors(&system) {
        for list in [listed!(v1, &url), listed!(v1alpha, &url)] {
            assert!(list.iter().any(|listed| listed == name), "{name} is not in {list:?}");
            assert!(list.iter().any(|listed| listed == "grpc.health.v1.Health"), "{list:?}");
        }
        // What `describe` prints, and what grpcurl needs to show the details of an error.
        for symbol in [name, "google.rpc.BadRequest", "google.rpc.ErrorInfo", "google.rpc.RetryInfo"] {
            let descriptor = described!(v1, &url, symbol);
            let short = symbol.rsplit('.').next().unwrap();
            assert!(String::from_utf8_lossy(&descriptor).contains(short), "{symbol}");
            assert_eq!(descriptor, described!(v1alpha, &url, symbol));
        }
    }
    let (url, name) = &doors(&system)[1];
    let comment = "All broken rules are reported at once";
    assert!(
        String::from_utf8_lossy(&described!(v1, url, *name)).contains(comment),
        "comments are not described"
    );
    system.stop().await;
}

async fn every_service_says_that_it_serves(backend: Backend) {
    let system = System::start(backend, &[]).await;
    for (url, name) in doors(&system) {
        let mut client = HealthClient::new(channel(&url).await);
        for service in ["", name, "live"] {
            let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
            assert_eq!(answer.get_ref().status(), ServingStatus::Serving, "{name} {service:?}");
        }
        let unknown = client.check(HealthCheckRequest { service: "nothing".to_owned() }).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
    }
    system.stop().await;
}

async fn a_broken_rule_comes_with_its_field(backend: Backend) {
    let system = System::start(backend, &[]).await;
    let ada = system.sign_in("ada@example.org").await;
    let mut documents = DocumentServiceClient::new(channel(&system.embedded.urls.document).await);
    let spec =
        DocumentSpec { title: Some("On paper".to_owned()), target_pages: Some(2), ..Default::default() };
    let message = CreateDocumentRequest { spec: Some(spec), validate_only: false, ..Default::default() };

    let anonymous = documents.create_document(message.clone()).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let refused = documents.create_document(as_user(&ada, message.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, "target_pages");
    assert_eq!(violations[0].description, "Input should be greater than or equal to 3");
    let info = details.error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quire", "VALIDATION_FAILED"));

    let spec = DocumentSpec { target_pages: Some(3), ..message.spec.unwrap() };
    let message = CreateDocumentRequest { spec: Some(spec), validate_only: false, ..Default::default() };
    let made =
        documents.create_document(as_user(&ada, message)).await.unwrap().into_inner().document.unwrap();
    assert_eq!(ada.document(&made.id).await["target_pages"], 3);
    system.stop().await;
}

async fn only_a_service_starts_a_job(backend: Backend) {
    let system = System::start(backend, &[("QUIRE_SECRET", SECRET)]).await;
    let ada = system.sign_in("ada@example.org").await;
    let document = ada.short_document().await;
    let mut jobs = JobServiceClient::new(channel(&system.embedded.urls.job).await);
    let message = StartJobRequest {
        order_id: "018bcfe5-6800-7000-8000-000000000001".to_owned(),
        document_id: document.clone(),
        user_id: ada.id.clone(),
        pages: 4,
    };
    let as_service = |name: &'static str, secret: &str| {
        let master = MasterSecret::new(SecretString::from(secret)).unwrap();
        let mut request = Request::new(message.clone());
        ServiceIdentity::new(name, World::system(), &master).authorize(&mut request);
        request
    };
    let forged = "another-master-secret-0123456789-0123456789";
    for (request, code) in [
        (Request::new(message.clone()), Code::Unauthenticated),
        (as_user(&ada, message.clone()), Code::Unauthenticated),
        (as_service("payment", forged), Code::Unauthenticated),
        (as_service("gateway", SECRET), Code::PermissionDenied),
    ] {
        assert_eq!(jobs.start_job(request).await.unwrap_err().code(), code);
    }
    assert!(ada.jobs_of(&document).await.is_empty());

    // Nor is a caller believed who says whom the call is from.
    let mut auth = AuthServiceClient::new(channel(&system.embedded.urls.auth).await);
    let mut request = Request::new(RefreshSessionRequest { refresh_token: "nonsense".to_owned() });
    request.metadata_mut().insert("x-quire-client-address", "6.6.6.6".parse().unwrap());
    request.metadata_mut().insert("x-request-id", "straight-to-auth".parse().unwrap());
    assert_eq!(auth.refresh_session(request).await.unwrap_err().code(), Code::Unauthenticated);
    let audit = system.sign_in(OPERATOR).await.get("/admin/audit").await.with_status(200);
    assert!(audit.text().contains("straight-to-auth"), "{}", audit.text());
    assert!(!audit.text().contains("6.6.6.6"), "{}", audit.text());

    // The payment service's own call, by contrast, is answered with one job however often it comes.
    let first = jobs.start_job(as_service("payment", SECRET)).await.unwrap().into_inner();
    let second = jobs.start_job(as_service("payment", SECRET)).await.unwrap().into_inner();
    assert_eq!((first.created, second.created), (true, false));
    assert_eq!(first.job_id, second.job_id);
    assert_eq!(ada.follow(&first.job_id, 0).await.last().unwrap().kind, "completed");
    system.stop().await;
}

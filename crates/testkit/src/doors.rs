//! Knocking at every door of a service: no method may be forgotten when callers are checked.
//!
//! ```ignore
//! for (who, metadata) in doors::strangers("test-key", &world) {
//!     for (method, code) in doors::knock(&address, "quire.job.v1.JobService", &metadata).await {
//!         assert_eq!(code, Code::Unauthenticated, "{method} for {who}");
//!     }
//! }
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message;
use prost_types::FileDescriptorSet;
use quire_clock::World;
use quire_identity::{ACCESS, AccessClaims, ISSUER, MasterSecret, Role, ServiceIdentity};
use secrecy::SecretString;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// A call that is neither answered nor refused by then gets `DEADLINE_EXCEEDED`.
const PATIENCE: Duration = Duration::from_secs(60);
/// Services whose names open some door.
const SERVICES: [&str; 5] = ["gateway", "auth", "document", "payment", "background-job"];

/// Calls every method of a service, such as `quire.job.v1.JobService`, with an empty message, and tells what came of
/// it. A stream that opens counts as `OK`.
pub async fn knock(address: &str, service: &str, metadata: &MetadataMap) -> BTreeMap<String, Code> {
    let channel = quire_serve::client::channel(address).expect("it is an address");
    let mut answers = BTreeMap::new();
    for (method, streams) in methods(service) {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("a channel is always ready");
        // A single message is sent like a stream of one, so this serves all four kinds of methods.
        let mut request = Request::new(futures::stream::iter([()]));
        *request.metadata_mut() = metadata.clone();
        request.set_timeout(PATIENCE);
        let path = format!("/{service}/{method}").parse().expect("it is a path");
        let answer = match client.streaming(request, path, ProstCodec::<(), ()>::default()).await {
            Ok(answer) if !streams => answer.into_inner().message().await.map(drop),
            Ok(_) => Ok(()),
            Err(status) => Err(status),
        };
        answers.insert(method, answer.map_or_else(|status| status.code(), |()| Code::Ok));
    }
    answers
}

/// What callers send who are nobody: nothing, rubbish, an operator's token that somebody else signed and that names
/// the key `kid` of auth, and service tokens of another installation.
pub fn strangers(kid: &str, world: &World) -> Vec<(String, MetadataMap)> {
    let bearer = |token: &str| {
        let mut metadata = MetadataMap::new();
        let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token is plain ASCII");
        metadata.insert("authorization", value);
        metadata
    };
    let mut strangers = vec![
        ("nobody".to_owned(), MetadataMap::new()),
        ("rubbish".to_owned(), bearer("garbage")),
        ("a forger".to_owned(), bearer(&forged(kid, world))),
    ];
    let secret = SecretString::from("the master secret of some other installation");
    let master = MasterSecret::new(secret).expect("it is long enough");
    strangers.extend(SERVICES.map(|name| {
        let mut request = Request::new(());
        ServiceIdentity::new(name, world.clone(), &master).authorize(&mut request);
        (format!("another installation's {name}"), request.into_parts().0)
    }));
    strangers
}

/// Right in everything but the signature.
fn forged(kid: &str, world: &World) -> String {
    let now = world.now().unix_seconds();
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        aud: ACCESS.audience.to_owned(),
        sub: world.id(),
        sid: world.id(),
        generation: 1,
        jti: world.id(),
        iat: now,
        nbf: None,
        exp: now + 600,
        role: Role::Admin,
    };
    let header = Header {
        typ: Some(ACCESS.kind.to_owned()),
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let pair = Ed25519KeyPair::generate().expect("a key can be made");
    let key = pair.to_pkcs8v1().expect("the key can be written down");
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(key.as_ref()));
    token.expect("claims can be signed")
}

/// The methods of a service, and whether each answers with a stream.
fn methods(service: &str) -> Vec<(String, bool)> {
    let files = FileDescriptorSet::decode(quire_proto::FILE_DESCRIPTOR_SET).expect("it is a descriptor set");
    let found = files.file.iter().find_map(|file| {
        let there = |one: &&prost_types::ServiceDescriptorProto| {
            format!("{}.{}", file.package(), one.name()) == service
        };
        file.service.iter().find(there)
    });
    let methods = &found.unwrap_or_else(|| panic!("there is no service {service}")).method;
    methods.iter().map(|method| (method.name().to_owned(), method.server_streaming())).collect()
}

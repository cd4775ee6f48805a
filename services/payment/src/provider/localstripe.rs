//! The client against a second opinion: localstripe, a stand-in for the provider by other people. It runs as a process of
//! its own where it is installed: `QUIRE_TEST_LOCALSTRIPE`, or `localstripe` on PATH. It knows no checkouts, no idempotency
//! keys and few parameters; where it differs from the real one on purpose, the test says so.

use std::path::PathBuf;

use quire_testkit::Process;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::inbox::event::{Event, KINDS, Notice, Subject};

const ORDER: &str = "018bcfe5-6800-7000-8000-000000000001";

/// A running localstripe and a client of it.
struct Local {
    client: Stripe,
    process: Process,
    _folder: TempDir,
}

impl Local {
    /// Nothing where it is not installed.
    async fn start() -> Option<Self> {
        let program = find()?;
        let folder = tempfile::tempdir().unwrap();
        let port = quire_testkit::free_port();
        let arguments = ["--from-scratch", "--port", &port.to_string()];
        let process = Process::start(&program, &arguments, [], &folder.path().join("log"));
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let settings = ProviderSettings { url, api_key: SecretString::from("sk_test_of_quire") };
        let mut local =
            Self { client: Stripe::new(&settings, World::system()).unwrap(), process, _folder: folder };
        while local.client.list_refunds("pi_unknown").await.is_err_and(|error| error.retryable()) {
            assert_eq!(local.process.ended(), None, "{}", local.process.said());
        }
        Some(local)
    }

    /// What the customer's side and the account's owner do, not payment.
    async fn post(&self, path: &str, form: &str) -> Value {
        let request = self.client.post(path, "unused", form.to_owned());
        self.client.call("post", request).await.unwrap()
    }

    async fn card(&self) -> String {
        let form =
            "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2030&card[cvc]=123";
        self.post("/v1/payment_methods", form).await["id"].as_str().unwrap().to_owned()
    }
}

fn find() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("QUIRE_TEST_LOCALSTRIPE") {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("localstripe")).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: localstripe is not installed");
    }
    found
}

#[tokio::test]
async fn localstripe_and_the_client_understand_each_other() {
    let Some(local) = Local::start().await else { return };
    let client = &local.client;

    // The whole request has parameters that the real provider takes and localstripe does not know.
    let form = format!("amount=600&currency=eur&metadata[order_id]={ORDER}");
    let whole = format!("{form}&description=A+document&automatic_payment_methods[enabled]=true");
    let refused = client.create_payment_intent("key", &whole).await.unwrap_err();
    assert!(matches!(&refused, ProviderError::Refused { status: 400, .. }), "{refused}");
    assert!(!refused.retryable());

    let open = client.create_payment_intent("key", &form).await.unwrap();
    assert!(open.client_secret.as_ref().unwrap().starts_with(&open.id));
    assert_eq!(open.status, Some(IntentStatus::Payable));
    // The same key is the same intent at the real provider; localstripe does not read it.
    let second = client.create_payment_intent("key", &form).await.unwrap();
    assert_ne!(second.id, open.id);
    let found = client.find_payment_intent(&open.id).await.unwrap().unwrap();
    assert_eq!(
        (found.id.as_str(), found.status, found.refunded_minor()),
        (open.id.as_str(), open.status, None)
    );
    assert_eq!(Notice::of_intent(found), None);
    let canceled = client.cancel_payment_intent(&open.id).await.unwrap();
    assert_eq!(Notice::of_intent(canceled), Some(Notice::Expired { object_id: open.id.clone() }));
    // It does not say `resource_missing` as the real one does, so this is no "there is no such intent".
    let unknown = client.find_payment_intent("pi_unknown").await.unwrap_err();
    assert!(matches!(&unknown, ProviderError::Refused { status: 404, .. }), "{unknown}");

    let paid =
        local.post("/v1/payment_intents", &format!("{form}&payment_method={}", local.card().await)).await;
    let paid = paid["id"].as_str().unwrap();
    local.post(&format!("/v1/payment_intents/{paid}/confirm"), "").await;
    let found = client.find_payment_intent(paid).await.unwrap().unwrap();
    assert_eq!((found.status, found.refunded_minor()), (Some(IntentStatus::Succeeded), Some(0)));
    assert!(matches!(
        client.cancel_payment_intent(paid).await,
        Err(ProviderError::Refused { status: 400, .. })
    ));

    let part = RefundRequest { payment_id: paid, amount_minor: 150, order_id: ORDER, refund_id: ORDER };
    let word = client.refund("refund-key", part).await.unwrap().unwrap();
    assert_eq!((word.amount_minor, word.currency.as_str(), word.word), (150, "EUR", RefundWord::Succeeded));
    assert_eq!(word.refund_id.as_deref(), Some(ORDER));
    let listed = client.list_refunds(paid).await.unwrap();
    assert_eq!(listed, [word]);
    let found = client.find_payment_intent(paid).await.unwrap().unwrap();
    assert_eq!(found.refunded_minor(), Some(150));
}

#[tokio::test]
async fn localstripe_lists_events_that_can_be_read() {
    let Some(local) = Local::start().await else { return };
    let client = &local.client;
    let form = format!(
        "amount=600&currency=eur&metadata[order_id]={ORDER}&confirm=true&payment_method={}",
        local.card().await
    );
    let paid = local.post("/v1/payment_intents", &form).await;
    // It filters by one type only.
    let refused = client.list_events(&KINDS, 0, None).await;
    assert!(matches!(refused, Err(ProviderError::Refused { status: 400, .. })));
    let since = World::system().now().unix_seconds() - 3600;
    let events = client.list_events(&[], since, None).await.unwrap();
    assert!(!events.has_more);
    let read = events.data.iter().map(|event| Event::parse(event.to_string().as_bytes()).unwrap());
    let read: Vec<Event> = read.filter(|event| event.kind == "payment_intent.succeeded").collect();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].livemode, Some(false));
    assert!(read[0].created.is_some_and(|created| created >= since));
    // Its intents do not say how much was received: an operator would have to look.
    assert!(paid.get("amount_received").is_none());
    assert_eq!(read[0].subject, Subject::Order { order_id: ORDER.to_owned(), notice: Notice::Incomplete });
    assert!(client.list_events(&[], since + 7200, None).await.unwrap().data.is_empty());
}

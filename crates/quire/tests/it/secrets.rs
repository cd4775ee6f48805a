//! No secret and no address of a person gets where it does not belong: neither into the log of any process, however
//! much it says, nor into a database.

use std::path::Path;

use quire::installation::Context;
use quire_database::{Database, Settings};
use quire_testkit::Backend;
use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::customer::{Client, Customer, text};
use crate::fleet::{Fleet, Member};
use crate::mailbox;
use crate::socket::Socket;
use crate::wait::eventually;

quire_testkit::on_both_databases!(a_whole_sign_in_leaves_no_secret_behind);

const EMAIL: &str = "ada.of.the.secrets@example.org";
/// The tables that hold addresses by design: whose account it is, and whom a link was mailed to.
const WITH_ADDRESSES: [&str; 2] = ["auth.users", "auth.magic_links"];

/// What must not be found, and what it is.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 8, "{what} is too short to be looked for");
        self.0.push((what, secret));
    }

    /// A token is given away by its signature, too.
    fn add_token(&mut self, what: &'static str, token: &str) {
        self.add(what, token);
        self.add(what, token.rsplit('.').next().unwrap());
    }

    /// A code is the same in other words.
    fn add_code(&mut self, code: &str) {
        self.add("a code", code);
        self.add("a code", code.replace('-', ""));
        self.add("a code", code.to_lowercase());
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].lines().count().max(1);
                let shown = text.lines().nth(line - 1).unwrap_or_default().replace(secret.as_str(), "(here)");
                panic!("{what} is in {place}, line {line}: {shown}");
            }
        }
    }
}

async fn a_whole_sign_in_leaves_no_secret_behind(backend: Backend) {
    // Nobody pays here.
    let fleet = Fleet::new(backend, "http://127.0.0.1:9").await;
    let mut members = ["auth", "document", "payment", "background-job", "gateway"]
        .map(|role| fleet.member(role, &[("QUIRE_LOG", "trace"), ("QUIRE_REFRESH_GRACE_SECONDS", "0")]));
    let urls = members.each_ref().map(Member::url);
    let [auth, document, payment, job, _] = urls.each_ref().map(String::as_str);
    let known = [
        ("QUIRE_AUTH_URL", auth),
        ("QUIRE_DOCUMENT_URL", document),
        ("QUIRE_PAYMENT_URL", payment),
        ("QUIRE_JOB_URL", job),
        ("REDIS_URL", quire_testkit::redis().unwrap_or_default()),
    ];
    members = members.map(|member| member.knowing(&known));
    members.iter_mut().for_each(Member::launch);
    for member in &mut members {
        member.serves().await;
    }
    let mail = fleet.folder().join("mail");
    let secrets = journey(&fleet.client(members.last().unwrap()), &mail).await;

    for member in &members {
        let (role, log) = (member.role, member.said());
        assert!(log.contains("TRACE"), "{role} says too little: {log}");
        secrets.assert_absent(&format!("the log of {role}"), &log);
        assert!(!log.contains(EMAIL), "the log of {role} has the address");
    }
    for context in Context::ALL {
        for (table, rows) in tables(context, fleet.database_url(context)).await {
            secrets.assert_absent(&table, &rows);
            let address = rows.contains(EMAIL);
            assert_eq!(address, WITH_ADDRESSES.contains(&table.as_str()), "an address in {table}");
        }
    }
    if backend == Backend::Sqlite {
        // Also what was deleted or not yet written to its place.
        for file in std::fs::read_dir(fleet.folder()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().contains(".db") {
                let bytes = std::fs::read(&path).unwrap();
                secrets.assert_absent(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
            }
        }
    }
}

/// Sign-in by link, refresh, reuse, sign-in by code, logout, and what goes wrong on the way.
async fn journey(client: &Client, mail: &Path) -> Secrets {
    let mut secrets = Secrets::default();
    let (link, letter) = client.magic_mail(EMAIL).await;
    let token = text(&link["token"]);
    secrets.add("a link", &token);
    secrets.add("a verifier", text(&link["verifier"]));
    secrets.add_code(&mailbox::code(&letter));
    // A scanner, somebody who guesses, and a client that is broken in every way.
    let verify = async |body: Value| client.post("/auth/verify-magic-link", &body).await;
    verify(json!({ "token": token, "verifier": "A".repeat(43) })).await.with_status(401);
    verify(json!({ "code": "0000-0000", "verifier": link["verifier"] })).await.with_status(401);
    verify(json!({ "token": token, "code": mailbox::code(&letter) })).await.with_status(422);
    let broken = client.request(Method::POST, "/auth/verify-magic-link");
    let broken = broken.header("content-type", "application/json").body(format!("{{\"token\": \"{token}\""));
    Answer::to(broken).await.with_status(422);

    let ada = signed_in(client, &link, &mut secrets).await;
    for path in ["/auth/me", "/documents", "/jobs", "/payment/orders"] {
        ada.get(path).await.with_status(200);
    }
    // A page's token, among the subprotocols.
    let nothing = "018bcfe5-6800-7000-8000-000000000001";
    assert!(Socket::open(&ada, nothing, 0).await.is_none(), "nothing is written");
    let strayed = client.request(Method::GET, &format!("/documents?access_token={}", ada.access));
    Answer::to(strayed).await.with_status(401);
    let renewed = client.refresh(&ada.refresh).await.with_status(200).json();
    let successor = Customer { access: text(&renewed["access_token"]), ..ada.clone() };
    secrets.add_token("an access token", &successor.access);
    secrets.add_token("a refresh token", renewed["refresh_token"].as_str().unwrap());
    successor.get("/auth/me").await.with_status(200);
    let before = mailbox::present(mail);
    let reused = client.refresh(&ada.refresh).await.with_status(401);
    assert_eq!(reused.reason(), "REFRESH_TOKEN_REUSED");
    let told = mailbox::next(mail, EMAIL, &before).await;
    assert!(told.contains("A sign-in of yours was ended"), "{told}");

    let (link, letter) = client.magic_mail(EMAIL).await;
    secrets.add("a link", text(&link["token"]));
    secrets.add("a verifier", text(&link["verifier"]));
    secrets.add_code(&mailbox::code(&letter));
    let typed = json!({ "code": mailbox::code(&letter), "verifier": link["verifier"] });
    let ada = signed_in(client, &typed, &mut secrets).await;
    Answer::to(ada.request(Method::POST, "/auth/logout")).await.with_status(204);
    eventually("every verifier has heard of the logout", || async {
        (ada.get("/documents").await.status == 401).then_some(())
    })
    .await;
    secrets
}

async fn signed_in(client: &Client, proof: &Value, secrets: &mut Secrets) -> Customer {
    let answer = client.post("/auth/verify-magic-link", proof).await.with_status(200).json();
    let (access, refresh) = (text(&answer["access_token"]), text(&answer["refresh_token"]));
    secrets.add_token("an access token", &access);
    secrets.add_token("a refresh token", &refresh);
    Customer { client: client.clone(), id: text(&answer["user"]["id"]), access, refresh }
}

/// Every table of a context, as `context.table`, and all that stands in it.
async fn tables(context: Context, url: String) -> Vec<(String, String)> {
    let schema = context.name();
    let settings = Settings { url, schema: schema.to_owned(), max_connections: 1 };
    let database = quire_database::open(&settings).await.unwrap();
    let names = match database.is_postgres() {
        true => format!("SELECT tablename AS text FROM pg_tables WHERE schemaname = '{schema}'"),
        false => "SELECT name AS text FROM sqlite_master WHERE type = 'table'".to_owned(),
    };
    let mut tables = Vec::new();
    for table in texts(&database, names).await {
        let row = match database.is_postgres() {
            true => "row_to_json(t)::text".to_owned(),
            false => {
                let columns = format!("SELECT name AS text FROM pragma_table_info('{table}')");
                let columns = texts(&database, columns).await;
                columns.iter().map(|column| format!("quote(\"{column}\")")).collect::<Vec<_>>().join(" || ")
            }
        };
        let rows = texts(&database, format!("SELECT {row} AS text FROM \"{table}\" AS t")).await;
        tables.push((format!("{schema}.{table}"), rows.join("\n")));
    }
    database.close().await.unwrap();
    assert!(tables.len() > 1, "{schema} has no tables");
    tables
}

async fn texts(database: &Database, sql: String) -> Vec<String> {
    let reader = database.reader();
    let statement = Statement::from_string(reader.get_database_backend(), sql);
    let rows = reader.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", "text").unwrap()).collect()
}

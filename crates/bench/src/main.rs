//! Benchmarks that print a table: nothing here passes or fails.
//!
//! They drive a real `quire serve` process from outside, over loopback, in a closed loop with a bounded number of
//! callers and a bounded time. The load generator shares the machine with the server.

mod calls;
mod jobs;
mod load;
mod readers;
mod revocation;
mod server;
mod verification;
mod webhooks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use quire::customer::{Customer, text};
use quire_identity::PublicKey;
use quire_proto::auth::v1::ListSigningKeysRequest;
use quire_proto::auth::v1::auth_service_client::AuthServiceClient;
use serde_json::json;
use tonic::metadata::MetadataValue;

use calls::{Me, MeDirect, Refresh, RefreshDirect};
use load::Load;
use server::Server;

const SOURCES: [(&str, &[u8]); 4] = [
    ("the-making-of-paper.pdf", include_bytes!("../../../samples/the-making-of-paper.pdf")),
    ("how-a-book-is-bound.docx", include_bytes!("../../../samples/how-a-book-is-bound.docx")),
    ("from-sheet-to-page.md", include_bytes!("../../../samples/from-sheet-to-page.md")),
    ("keeping-books-and-paper.txt", include_bytes!("../../../samples/keeping-books-and-paper.txt")),
];

/// Measures a `quire` executable.
#[derive(Parser)]
struct Arguments {
    /// The executable: `cargo build --release` makes it.
    #[arg(long)]
    quire: PathBuf,
    /// Callers at once.
    #[arg(long, default_value_t = 32)]
    callers: usize,
    /// Seconds for each load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Pages of the document that is timed.
    #[arg(long, default_value_t = 12)]
    pages: i32,
    /// Run the services on this PostgreSQL instead of SQLite: a database of their own, empty.
    #[arg(long)]
    database_url: Option<String>,
    /// Measure only this.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// A folder in whose `node_modules` graphile-worker and pg-boss are: they are measured beside, on PostgreSQL.
    #[arg(long)]
    node: Option<PathBuf>,
    /// Jobs that wait while claims are timed.
    #[arg(long, default_value_t = 100_000)]
    waiting: usize,
    /// Minutes under load, with `--only soak`.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Start, a document, sign-in, requests, revocation.
    Requests,
    /// The payment provider's events.
    Webhooks,
    /// The job engine.
    Jobs,
    /// A thousand people who follow one job.
    Readers,
    /// The job engine for a long time; only when it is asked for.
    Soak,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    quire_serve::install_tls_provider();
    let arguments = Arguments::parse();
    let database = arguments.database_url.as_deref();
    row("database", if database.is_some() { "PostgreSQL" } else { "SQLite" });

    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Part::Requests) || wanted(Part::Webhooks) {
        requests_and_webhooks(&arguments, database, wanted).await?;
    }
    if wanted(Part::Readers) {
        readers::measure(&arguments.quire, database, row).await?;
    }
    if wanted(Part::Jobs) {
        let node = arguments.node.as_deref();
        jobs::measure(&arguments.quire, database, node, arguments.waiting, row).await?;
    }
    if arguments.only == Some(Part::Soak) {
        let time = Duration::from_secs(arguments.minutes * 60);
        jobs::soak::measure(&arguments.quire, database, time, row).await?;
    }
    Ok(())
}

async fn requests_and_webhooks(
    arguments: &Arguments,
    database: Option<&str>,
    wanted: impl Fn(Part) -> bool,
) -> anyhow::Result<()> {
    let first = Server::start(&arguments.quire, database).await?;
    row("first start to ready, empty data folder", &format!("{} ms", first.start.as_millis()));
    // The same folder: on PostgreSQL the database goes on, and its keys are sealed under the folder's secret.
    let mut folder = first.stop().await?;
    if wanted(Part::Requests) {
        let server = Server::start_in(&arguments.quire, folder, database, &[]).await?;
        requests(arguments, &server).await?;
        folder = server.stop().await?;
    }
    if wanted(Part::Webhooks) {
        let server = Server::start_in(&arguments.quire, folder, database, &webhooks::SETTINGS).await?;
        let load = Load { callers: arguments.callers, time: Duration::from_secs(arguments.seconds) };
        webhooks::measure(&server, load, row).await?;
        server.stop().await?;
    }
    Ok(())
}

async fn requests(arguments: &Arguments, server: &Server) -> anyhow::Result<()> {
    row("cold start to ready", &format!("{} ms", server.start.as_millis()));
    row("memory at rest (VmRSS)", &format!("{:.1} MiB", server.resident_mib()?));
    let mut customer = Customer::new(&server.gateway)?;
    customer.sign_in("bench-0@example.org", &server.mail_dir()).await?;
    document(&customer, arguments.pages).await?;
    row("memory after the document (VmRSS)", &format!("{:.1} MiB", server.resident_mib()?));
    verification(server, &customer).await?;
    load(arguments, server, &customer).await?;
    let times = revocation::measure(server, arguments.callers).await?;
    row("logout to 401, gateway (other requests going on)", &times);
    row("memory after the load (VmRSS)", &format!("{:.1} MiB", server.resident_mib()?));
    Ok(())
}

/// Times a digest from the payment to the file.
async fn document(customer: &Customer, pages: i32) -> anyhow::Result<()> {
    let body = json!({ "title": "Paper and the Book", "topic": "How paper is made and books are bound", "target_pages": pages });
    let document = customer.post("/documents", &body).await?;
    let id = text(&document, "id")?.to_owned();
    let started = Instant::now();
    for (name, bytes) in SOURCES {
        customer.upload(&id, name, bytes).await?;
    }
    row("upload and reading of 4 sources", &format!("{:.2} s", started.elapsed().as_secs_f64()));
    let order = customer.post("/payment/create-checkout", &json!({ "document_id": id })).await?;
    let started = Instant::now();
    customer.pay(text(&order, "checkout_url")?).await?;
    let job = customer.job_of(&id).await?;
    let last = customer.follow(&job, |_, _| {}).await?;
    let pdf = customer.download(&id, "pdf").await.with_context(|| format!("the job ended as {last}"))?;
    let seconds = started.elapsed().as_secs_f64();
    let done = customer.get(&format!("/documents/{id}")).await?;
    let size = pdf.len() / 1024;
    row(
        &format!("paid to PDF, {pages} pages by digest"),
        &format!("{seconds:.2} s ({} pages counted, {size} KiB)", done["counted_pages"]),
    );
    Ok(())
}

async fn verification(server: &Server, customer: &Customer) -> anyhow::Result<()> {
    let mut auth = AuthServiceClient::new(quire_serve::client::channel(&server.auth)?);
    let keys = auth.list_signing_keys(ListSigningKeysRequest {}).await?.into_inner().keys;
    let key = keys.into_iter().next().context("auth has no key")?;
    let key = PublicKey { kid: key.kid, bytes: key.public_key };
    let (signature, remembered) = verification::measure(customer.access_token(), key).await?;
    row("access token verified by its signature", &format!("{signature:.0} ns"));
    row("the same token again, remembered", &format!("{remembered:.0} ns"));
    Ok(())
}

async fn load(arguments: &Arguments, server: &Server, customer: &Customer) -> anyhow::Result<()> {
    let load = Load { callers: arguments.callers, time: Duration::from_secs(arguments.seconds) };
    let channel = quire_serve::client::channel(&server.auth)?;

    row("GET /auth/me through the gateway", &load.run(|_| Me(customer.clone())).await?.to_string());
    let authorization: MetadataValue<_> = format!("Bearer {}", customer.access_token()).parse()?;
    let me = |_| MeDirect {
        client: AuthServiceClient::new(channel.clone()),
        authorization: authorization.clone(),
    };
    row("GetCurrentUser direct over gRPC", &load.run(me).await?.to_string());

    let mut refreshed = Vec::new();
    let mut direct = Vec::new();
    for number in 0..arguments.callers {
        for (kind, into) in [("rest", &mut refreshed), ("grpc", &mut direct)] {
            let mut customer = Customer::new(&server.gateway)?;
            customer.sign_in(&format!("{kind}-{number}@example.org"), &server.mail_dir()).await?;
            into.push(customer);
        }
    }
    let refresh = |caller: usize| Refresh(refreshed[caller].clone());
    row("POST /auth/refresh through the gateway", &load.run(refresh).await?.to_string());
    let refresh = |caller: usize| RefreshDirect {
        client: AuthServiceClient::new(channel.clone()),
        refresh_token: direct[caller].refresh_token().to_owned(),
    };
    row("RefreshSession direct over gRPC", &load.run(refresh).await?.to_string());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
fn row(what: &str, figure: &str) {
    println!("{what:<50} {figure}");
}

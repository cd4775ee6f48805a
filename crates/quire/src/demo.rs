//! `quire demo`: one customer, over real HTTP, from magic link to a finished PDF.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use quire_clock::{Timestamp, World};
use serde_json::json;

use crate::customer::{Customer, text};
use crate::embedded::{Embedded, Options};

const EMAIL: &str = "customer@example.org";
/// The sample sources, so that the demo runs from any folder.
const SOURCES: [(&str, &[u8]); 4] = [
    ("the-making-of-paper.pdf", include_bytes!("../../../samples/the-making-of-paper.pdf")),
    ("how-a-book-is-bound.docx", include_bytes!("../../../samples/how-a-book-is-bound.docx")),
    ("from-sheet-to-page.md", include_bytes!("../../../samples/from-sheet-to-page.md")),
    ("keeping-books-and-paper.txt", include_bytes!("../../../samples/keeping-books-and-paper.txt")),
];

/// Runs the whole walk and leaves the PDF at `output`.
///
/// # Errors
/// Any step fails.
pub async fn run(output: &Path, pages: i32, world: World) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder cannot be made")?;
    let mut steps = Steps { started: world.now(), last: world.now(), number: 0, world: world.clone() };
    let options = Options {
        data_dir: folder.path().to_owned(),
        settings: HashMap::from([("QUIRE_CONSOLE_LINKS".to_owned(), "false".to_owned())]),
        free_ports: true,
        child_program: None,
    };
    let system = Embedded::start(options, world.clone()).await?;
    system.ready().await?;
    steps.done(&format!("started every service in this process, API at {}", system.urls.gateway));
    let outcome = walk(&system, &mut steps, output, pages).await;
    system.stop().await;
    outcome
}

async fn walk(system: &Embedded, steps: &mut Steps, output: &Path, pages: i32) -> anyhow::Result<()> {
    let mut customer = Customer::new(&system.urls.gateway)?;
    let token = customer.request_link(EMAIL, &system.mail_dir()).await?;
    steps.done("asked for a magic link; the mail is there");
    customer.use_link(&token).await?;
    steps.done("signed in with the link");

    let body = json!({
        "title": "Paper and the Book",
        "topic": "How paper is made, how books are bound, how pages are designed, and how both are kept",
        "language": "en",
        "target_pages": pages,
    });
    let document = customer.post("/documents", &body).await?;
    let document_id = text(&document, "id")?.to_owned();
    steps.done(&format!("described a document of {pages} pages"));
    for (name, bytes) in SOURCES {
        let source = customer.upload(&document_id, name, bytes).await?;
        steps.done(&format!(
            "uploaded {name}: {} pages, {} characters read",
            source["pages"], source["characters"]
        ));
    }

    let order = customer.post("/payment/create-checkout", &json!({ "document_id": document_id })).await?;
    let total = &order["total"];
    steps.done(&format!(
        "opened the checkout: {} minor units of {}",
        total["amount_minor"], total["currency"]
    ));
    customer.pay(text(&order, "checkout_url")?).await?;
    steps.done("paid on the provider's page");
    let paid_at = steps.last;

    let job_id = customer.job_of(&document_id).await?;
    steps.done("the signed webhook came in and started the job");
    let bar = ProgressBar::new(100);
    bar.set_style(ProgressStyle::with_template("    [{bar:40}] {pos:>3} %  {msg}")?.progress_chars("=> "));
    let last = customer.follow(&job_id, |event, percent| {
        if let Some(percent) = percent {
            bar.set_position(percent);
        }
        bar.set_message(event.to_owned());
    });
    let last = last.await?;
    bar.finish_and_clear();
    if last != "completed" {
        let job = customer.get(&format!("/jobs/{job_id}")).await?;
        bail!("the job ended as {last}: {}", job["failure"]);
    }
    let done = customer.get(&format!("/documents/{document_id}")).await?;
    steps.done("the document is written and typeset");
    let pdf = customer.download(&document_id, "pdf").await?;
    std::fs::write(output, &pdf).with_context(|| format!("{} cannot be written", output.display()))?;
    let path = output.canonicalize()?;
    steps.done(&format!("downloaded the PDF: {} bytes", pdf.len()));
    say(&format!(
        "\n{} pages ordered, {} counted in the PDF; paid to downloaded in {:.1} s, everything in {:.1} s\n{}",
        pages,
        done["counted_pages"],
        steps.world.now().since(paid_at).as_secs_f64(),
        steps.world.now().since(steps.started).as_secs_f64(),
        path.display(),
    ));
    Ok(())
}

/// Prints each step with the time it took.
struct Steps {
    started: Timestamp,
    last: Timestamp,
    number: u32,
    world: World,
}

impl Steps {
    fn done(&mut self, what: &str) {
        let now = self.world.now();
        self.number += 1;
        say(&format!("{:>2}. {:>6.2} s  {what}", self.number, now.since(self.last).as_secs_f64()));
        self.last = now;
    }
}

#[expect(clippy::print_stdout, reason = "the demo speaks to the person who runs it")]
fn say(line: &str) {
    println!("{line}");
}

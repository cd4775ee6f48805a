//! `quire doctor`: checks what Quire depends on, and says how to mend what fails.

use std::time::Duration;

use quire_clock::World;
use quire_serve::settings::Settings;
use secrecy::ExposeSecret;

use crate::installation::{Context, Installation};
use crate::migrate;
use crate::roles::Services;

const DEADLINE: Duration = Duration::from_secs(5);

/// What was found about one thing.
enum Finding {
    Good(String),
    /// Works, but an operator should know.
    Note(String),
    Bad {
        why: String,
        mend: String,
    },
}

/// Checks everything, prints a line for each, and answers whether all is well.
pub async fn run(mut settings: Settings, world: World) -> bool {
    let installation = Installation::read(&mut settings, &world);
    let services = Services::read(&mut settings, &installation, false);
    let mut report = Report { healthy: true };
    report.add("settings", settings_hold(&settings));
    report.add("data folder", data_folder(&installation));
    for context in Context::ALL {
        let url = installation.database_url(&mut settings, context);
        let name = format!("{} database", context.name());
        report.add(&name, database(context, url).await);
    }
    report.add("Redis", redis(settings.secret("REDIS_URL").map(|url| url.expose_secret().to_owned())).await);
    if let Some(payment) = services.payment {
        let built_in = settings.optional("QUIRE_STRIPE_URL").is_none();
        report.add("payment provider", provider(&payment, built_in, world.clone()).await);
    }
    report
        .add("mail", mail(settings.secret("QUIRE_SMTP_URL").map(|url| url.expose_secret().to_owned())).await);
    report.add("model", model(&mut settings).await);
    report.add("typesetting", typesetting(&mut settings).await);
    say(if report.healthy { "\nall is well" } else { "\nsomething needs mending" });
    report.healthy
}

struct Report {
    healthy: bool,
}

impl Report {
    fn add(&mut self, name: &str, finding: Finding) {
        match finding {
            Finding::Good(what) => say(&format!("ok    {name}: {what}")),
            Finding::Note(what) => say(&format!("note  {name}: {what}")),
            Finding::Bad { why, mend } => {
                self.healthy = false;
                say(&format!("FAIL  {name}: {why}\n      mend: {mend}"));
            }
        }
    }
}

fn bad(why: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding::Bad { why: why.into(), mend: mend.into() }
}

fn settings_hold(settings: &Settings) -> Finding {
    match settings.finish() {
        Ok(()) => Finding::Good(format!("{} read, none contradicts", settings.used().len())),
        Err(error) => bad(error.problems.join("; "), "set these in the environment and try again"),
    }
}

fn data_folder(installation: &Installation) -> Finding {
    let folder = installation.data_dir.display();
    let probe = installation.data_dir.join("doctor.probe");
    let written = std::fs::create_dir_all(&installation.data_dir)
        .and_then(|()| std::fs::write(&probe, b"probe"))
        .and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::Good(format!("{folder} can be written")),
        Err(error) => {
            bad(format!("{folder}: {error}"), "make it writable for this user, or set QUIRE_DATA_DIR")
        }
    }
}

async fn database(context: Context, url: String) -> Finding {
    let setting = format!("QUIRE_{}_DATABASE_URL", context.name().to_uppercase());
    if let Some(path) = url.strip_prefix("sqlite://")
        && !std::path::Path::new(path).exists()
    {
        return Finding::Note(format!("{path} does not exist yet; it is made at the first start"));
    }
    let kind = if url.starts_with("sqlite:") { "SQLite" } else { "PostgreSQL" };
    let checked = tokio::time::timeout(DEADLINE, async {
        let database = migrate::open(context, url).await?;
        let checked = migrate::check(context, &database).await;
        database.close().await?;
        checked
    });
    match checked.await {
        Ok(Ok(())) => Finding::Good(format!("{kind} answers and is migrated")),
        Ok(Err(error @ quire_database::DatabaseError::NotMigrated { .. })) => {
            bad(error.to_string(), "run `quire migrate`")
        }
        Ok(Err(error)) => bad(chain(&error), format!("start it, or correct {setting} or DATABASE_URL")),
        Err(_) => bad("no answer in five seconds", format!("start it, or correct {setting} or DATABASE_URL")),
    }
}

async fn redis(url: Option<String>) -> Finding {
    let Some(url) = url else {
        return Finding::Note("not set: rate limits are counted by each process on its own".to_owned());
    };
    let mend = "start it, or correct REDIS_URL; until then every process limits by itself";
    let client = match redis::Client::open(url) {
        Ok(client) => client,
        Err(_) => return bad("REDIS_URL is not an address of Redis", "write redis://host:6379"),
    };
    let pong = tokio::time::timeout(DEADLINE, async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    });
    match pong.await {
        Ok(Ok(_)) => Finding::Good("answers".to_owned()),
        Ok(Err(error)) => bad(format!("{:?}", error.kind()), mend),
        Err(_) => bad("no answer in five seconds", mend),
    }
}

async fn provider(config: &quire_payment::Config, built_in: bool, world: World) -> Finding {
    let pinged = async { quire_payment::provider::Stripe::new(&config.provider, world)?.ping().await };
    match tokio::time::timeout(DEADLINE, pinged).await {
        Ok(Ok(())) => Finding::Good("answers, and takes the API key".to_owned()),
        _ if built_in => Finding::Note(
            "none set: `quire serve` brings the sandbox along, which takes no real money".to_owned(),
        ),
        Ok(Err(error)) => bad(chain(&error), "check QUIRE_STRIPE_URL and QUIRE_STRIPE_API_KEY"),
        Err(_) => bad("no answer in five seconds", "check QUIRE_STRIPE_URL and the network"),
    }
}

async fn mail(url: Option<String>) -> Finding {
    let Some(url) = url else {
        return Finding::Note(
            "QUIRE_SMTP_URL is not set: mails are written to the data folder as .eml files".to_owned(),
        );
    };
    let mend = "check QUIRE_SMTP_URL, for example smtps://user:password@mail.example.org:465";
    let Ok(url) = url::Url::parse(&url) else { return bad("QUIRE_SMTP_URL is no address", mend) };
    let port = url.port().unwrap_or(if url.scheme() == "smtps" { 465 } else { 587 });
    let address = (url.host_str().unwrap_or_default().to_owned(), port);
    match tokio::time::timeout(DEADLINE, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::Good("the SMTP server takes connections".to_owned()),
        Ok(Err(error)) => bad(error.to_string(), mend),
        Err(_) => bad("no answer in five seconds", mend),
    }
}

async fn model(settings: &mut Settings) -> Finding {
    let Some(base) = settings.optional("QUIRE_MODEL_BASE_URL") else {
        return Finding::Note(
            "none set: documents are composed from their sources by the digest writer".to_owned(),
        );
    };
    let key = settings.secret("QUIRE_MODEL_API_KEY");
    let mut request =
        reqwest::Client::new().get(format!("{}/models", base.trim_end_matches('/'))).timeout(DEADLINE);
    if let Some(key) = key {
        request = request.bearer_auth(key.expose_secret());
    }
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Finding::Good("the model's server answers".to_owned()),
        Ok(answer) => bad(
            format!("it answered {}", answer.status()),
            "check QUIRE_MODEL_BASE_URL and QUIRE_MODEL_API_KEY",
        ),
        Err(_) => {
            bad("no answer", "start the model's server, or correct QUIRE_MODEL_BASE_URL (it ends with /v1)")
        }
    }
}

async fn typesetting(settings: &mut Settings) -> Finding {
    let program = settings.optional("QUIRE_CHILD_PROGRAM").map(std::path::PathBuf::from);
    let Some(program) = program.or_else(|| std::env::current_exe().ok()) else {
        return bad("the path of this program is unknown", "set QUIRE_CHILD_PROGRAM to the quire executable");
    };
    let book = quire_manuscript::Book {
        meta: quire_manuscript::Meta {
            title: "Probe".to_owned(),
            subtitle: None,
            language: "en".to_owned(),
            date: "2026-01-01".to_owned(),
            disclosure: "A probe.".to_owned(),
        },
        chapters: Vec::new(),
        references: Vec::new(),
    };
    match quire_typeset::Typesetter::new(program).typeset(&book, None).await {
        Ok(typeset) => {
            Finding::Good(format!("a probe of {} pages was typeset in a child process", typeset.pages))
        }
        Err(error) => bad(chain(&error), "allow child processes and at least 1 GiB of memory"),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[expect(clippy::print_stdout, reason = "the report is for the person who runs it")]
fn say(line: &str) {
    println!("{line}");
}

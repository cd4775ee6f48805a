//! What all roles of one installation share: where data is, the master secret, and where the services are.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use quire_clock::World;
use quire_identity::MasterSecret;
use quire_serve::settings::{Common, Settings, is_published};
use secrecy::{ExposeSecret, SecretString};

/// A bounded context with a database of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Auth,
    Document,
    Payment,
    Job,
}

impl Context {
    pub const ALL: [Self; 4] = [Self::Auth, Self::Document, Self::Payment, Self::Job];

    /// The PostgreSQL schema, and the stem of the SQLite file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Document => "document",
            Self::Payment => "payment",
            Self::Job => "job",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Auth => "QUIRE_AUTH_DATABASE_URL",
            Self::Document => "QUIRE_DOCUMENT_DATABASE_URL",
            Self::Payment => "QUIRE_PAYMENT_DATABASE_URL",
            Self::Job => "QUIRE_JOB_DATABASE_URL",
        }
    }
}

/// What all roles share.
#[derive(Debug, Clone)]
pub struct Installation {
    pub data_dir: PathBuf,
    pub production: bool,
    pub master_secret: SecretString,
    pub master: MasterSecret,
    pub auth_url: String,
    pub document_url: String,
    pub payment_url: String,
    pub job_url: String,
}

impl Installation {
    /// Reads the shared settings. Outside production a missing master secret is made and kept in the data
    /// folder; mistakes are noted in the settings.
    pub fn read(settings: &mut Settings, world: &World) -> Self {
        let production = settings.production();
        let data_dir = data_dir(settings);
        let master_secret = master_secret(settings, &data_dir, production, world);
        let master = MasterSecret::new(master_secret.clone()).unwrap_or_else(|error| {
            settings.problem(format!("QUIRE_SECRET: {error}"));
            placeholder_master()
        });
        Self {
            data_dir,
            production,
            master_secret,
            master,
            auth_url: settings.text("QUIRE_AUTH_URL", "http://127.0.0.1:50051"),
            document_url: settings.text("QUIRE_DOCUMENT_URL", "http://127.0.0.1:50052"),
            payment_url: settings.text("QUIRE_PAYMENT_URL", "http://127.0.0.1:50053"),
            job_url: settings.text("QUIRE_JOB_URL", "http://127.0.0.1:50054"),
        }
    }

    /// The settings of one context's service.
    pub fn common(&self, settings: &mut Settings, context: Context) -> Common {
        let database_url = self.database_url(settings, context);
        // SQLite files belong to this process alone; a PostgreSQL in production is migrated by `quire migrate`.
        let by_default = !self.production || database_url.starts_with("sqlite:");
        let migrate = match settings.optional("QUIRE_MIGRATE").as_deref() {
            None => by_default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                settings.problem(format!("QUIRE_MIGRATE is `{other}`: accepted are true, false"));
                by_default
            }
        };
        Common {
            database_url,
            data_dir: self.data_dir.clone(),
            migrate,
            master_secret: self.master_secret.clone(),
            auth_url: self.auth_url.clone(),
            document_url: self.document_url.clone(),
            payment_url: self.payment_url.clone(),
            job_url: self.job_url.clone(),
        }
    }

    /// The context's own address, else the common one, else a SQLite file in the data folder. Read as secrets:
    /// addresses of databases hold passwords.
    pub fn database_url(&self, settings: &mut Settings, context: Context) -> String {
        database_url(settings, &self.data_dir, context)
    }

    /// The address of the context's SQLite file in the data folder.
    pub fn own_file(&self, context: Context) -> String {
        own_file(&self.data_dir, context)
    }
}

/// The folder for files, SQLite databases and mails.
pub fn data_dir(settings: &mut Settings) -> PathBuf {
    PathBuf::from(settings.text("QUIRE_DATA_DIR", "./quire-data"))
}

/// As [`Installation::database_url`], for whoever needs no secret.
pub fn database_url(settings: &mut Settings, data_dir: &Path, context: Context) -> String {
    let url = settings.secret(context.setting()).or_else(|| settings.secret("DATABASE_URL"));
    url.map_or_else(|| own_file(data_dir, context), |url| url.expose_secret().to_owned())
}

fn own_file(data_dir: &Path, context: Context) -> String {
    format!("sqlite://{}/{}.db", data_dir.display(), context.name())
}

fn master_secret(settings: &mut Settings, data_dir: &Path, production: bool, world: &World) -> SecretString {
    if let Some(secret) = settings.secret("QUIRE_SECRET") {
        if production && is_published(secret.expose_secret()) {
            settings.problem("QUIRE_SECRET is a published development value: set one of your own, such as the output of `openssl rand -hex 32`");
        }
        return secret;
    }
    if production {
        settings.problem("QUIRE_SECRET is not set: production needs at least 32 characters, such as the output of `openssl rand -hex 32`");
        return SecretString::from("-".repeat(32));
    }
    keep_secret(data_dir, world).unwrap_or_else(|error| {
        settings.problem(format!(
            "QUIRE_SECRET is not set, and none can be kept in {}: {error}",
            data_dir.display()
        ));
        SecretString::from("-".repeat(32))
    })
}

/// Reads the secret of the data folder, or makes one. Two processes that start at once agree: the file is
/// written apart and then linked, which only one of them can do.
fn keep_secret(data_dir: &Path, world: &World) -> std::io::Result<SecretString> {
    let file = data_dir.join("secret");
    if !file.exists() {
        std::fs::create_dir_all(data_dir)?;
        let fresh = data_dir.join(format!("secret.{}", world.id()));
        let text: String = world.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut handle = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
        handle.write_all(text.as_bytes())?;
        handle.sync_all()?;
        let linked = std::fs::hard_link(&fresh, &file);
        std::fs::remove_file(&fresh)?;
        if let Err(error) = linked
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    Ok(SecretString::from(std::fs::read_to_string(&file)?.trim().to_owned()))
}

/// Only ever used to go on collecting mistakes; `Settings::finish` refuses before anything is signed with it.
fn placeholder_master() -> MasterSecret {
    MasterSecret::new(SecretString::from("-".repeat(32))).expect("32 characters are enough")
}

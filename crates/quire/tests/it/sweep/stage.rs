//! What every case starts from, prepared once for each kind of database: a signed-in customer with documents that can
//! be paid.

use std::collections::HashMap;

use quire_testkit::{Backend, TestDatabase};
use sea_orm::ConnectionTrait;
use serde_json::json;
use tempfile::TempDir;

use super::journey::Journey;
use crate::books::Books;
use crate::customer::Customer;
use crate::model::Model;
use crate::serving::{Serving, copy_folder};

/// A prepared installation that nothing runs on.
pub struct Stage {
    pub backend: Backend,
    pub ada: Customer,
    /// The document of each journey.
    pub documents: HashMap<Journey, String>,
    folder: TempDir,
    database: Option<TestDatabase>,
}

/// A copy of it for one case.
pub struct Scene {
    pub folder: TempDir,
    database: Option<TestDatabase>,
}

impl Stage {
    pub async fn prepare(backend: Backend, model: &Model) -> Self {
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(backend.create().await),
        };
        let folder = tempfile::tempdir().unwrap();
        let serving = Serving::start(folder.path(), &settings(database.as_ref(), model)).await;
        let ada = serving.client.sign_in("ada@example.org").await;
        let mut documents = HashMap::new();
        for journey in Journey::ALL {
            let (title, writer, pages) = journey.order();
            let (review, fallbacks) = (journey == Journey::Reviewed, journey.fallbacks());
            let spec = json!({
                "title": title, "writer": writer, "fallback_writers": fallbacks, "target_pages": pages,
                "review_outline": review,
            });
            let document = ada.create_document(&spec).await;
            ada.upload_sample(&document, crate::samples::TEXT).await;
            documents.insert(journey, document);
        }
        serving.kill();
        Self { backend, ada, documents, folder, database }
    }

    /// Changes the database that every case starts from. Only on PostgreSQL.
    pub async fn alter(&self, statements: &[&str]) {
        let database = self.database.as_ref().expect("it is PostgreSQL");
        let connection = sea_orm::Database::connect(database.url()).await.unwrap();
        for sql in statements {
            connection.execute_unprepared(sql).await.unwrap();
        }
        // Nobody may be connected to what is copied.
        connection.close().await.unwrap();
    }

    pub async fn copy(&self) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), folder.path());
        let database = match &self.database {
            None => None,
            Some(database) => Some(database.copy().await),
        };
        Scene { folder, database }
    }
}

impl Scene {
    pub fn settings(&self, model: &Model) -> HashMap<String, String> {
        settings(self.database.as_ref(), model)
    }

    pub async fn books(&self) -> Books {
        match &self.database {
            None => Books::in_folder(self.folder.path()).await,
            Some(database) => Books::at(database.url()).await,
        }
    }
}

fn settings(database: Option<&TestDatabase>, model: &Model) -> HashMap<String, String> {
    let database = database.map(|database| ("DATABASE_URL", database.url()));
    let fixed = [
        ("QUIRE_MODEL_BASE_URL", model.url.as_str()),
        ("QUIRE_MODEL", "played"),
        ("QUIRE_ANTHROPIC_BASE_URL", model.url.as_str()),
        ("QUIRE_ANTHROPIC_MODEL", "refusing"),
        // Dollars for a million tokens, sent and received.
        ("QUIRE_MODEL_PRICES", "played=1/2,refusing=1/2"),
        // Every case goes on with the one sign-in.
        ("QUIRE_ACCESS_TOKEN_SECONDS", "7200"),
    ];
    fixed.into_iter().chain(database).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

//! Tables of the document context.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, boolean, integer, text, text_null};

use crate::idempotency;
use crate::plain::Plain;

pub struct DocumentMigrator;

#[async_trait::async_trait]
impl MigratorTrait for DocumentMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(FirstTables),
            Box::new(IDEMPOTENCY_KEYS),
            Box::new(OUTLINE_REVIEW),
            Box::new(FALLBACK_WRITERS),
            Box::new(PREVIEWS),
        ]
    }

    fn migration_table_name() -> DynIden {
        "document_migrations".into_iden()
    }
}

const IDEMPOTENCY_KEYS: Plain =
    Plain { name: "m002_idempotency_keys", up: &idempotency::TABLE, down: &["DROP TABLE idempotency_keys"] };

/// Whether the customer wants to approve the outline, and where that stands.
const OUTLINE_REVIEW: Plain = Plain {
    name: "m003_outline_review",
    up: &[
        "ALTER TABLE documents ADD COLUMN review_outline BOOLEAN NOT NULL DEFAULT FALSE",
        "ALTER TABLE documents ADD COLUMN outline_review TEXT NOT NULL DEFAULT ''",
    ],
    down: &[
        "ALTER TABLE documents DROP COLUMN outline_review",
        "ALTER TABLE documents DROP COLUMN review_outline",
    ],
};

/// Names between commas: who may step in for the writer.
const FALLBACK_WRITERS: Plain = Plain {
    name: "m004_fallback_writers",
    up: &["ALTER TABLE documents ADD COLUMN fallback_writers TEXT NOT NULL DEFAULT ''"],
    down: &["ALTER TABLE documents DROP COLUMN fallback_writers"],
};

/// JSON: an outline that was planned before the order, and for which revision of the document.
const PREVIEWS: Plain = Plain {
    name: "m005_previews",
    up: &["ALTER TABLE documents ADD COLUMN preview TEXT"],
    down: &["ALTER TABLE documents DROP COLUMN preview"],
};

struct FirstTables;

impl MigrationName for FirstTables {
    fn name(&self) -> &str {
        "m001_documents"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for FirstTables {
    /// On SQLite too: a process killed halfway must leave nothing behind that the next start trips over.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(documents()).await?;
        manager.create_index(documents_of_a_user()).await?;
        manager.create_table(sources()).await?;
        manager.create_index(one_file_once_a_document()).await?;
        manager.create_table(source_pages()).await?;
        manager.create_table(sections()).await?;
        manager.create_table(exports()).await
    }
}

fn documents() -> TableCreateStatement {
    Table::create()
        .table("documents")
        .col(text("id").primary_key())
        .col(text("user_id"))
        .col(text("title"))
        .col(text("topic"))
        .col(text("language"))
        .col(integer("target_pages"))
        .col(text("kind"))
        .col(text("writer"))
        .col(text("status"))
        .col(integer("counted_pages").default(0))
        .col(text("failure").default(""))
        .col(text_null("job_id"))
        .col(big_integer("job_epoch").default(0))
        // Whose exports the customer downloads, whatever a later job comes to.
        .col(text_null("delivered_job_id"))
        // JSON list: the chapters that the customer wishes.
        .col(text("wished_chapters").default("[]"))
        // JSON: the outline that is written, and whose job made it.
        .col(text_null("outline"))
        .col(text_null("outline_job_id"))
        .col(integer("source_count").default(0))
        // Raised with every change of the sources; the capacity is valid for one value of it.
        .col(big_integer("sources_version").default(0))
        .col(ColumnDef::new("capacity").integer().null())
        .col(ColumnDef::new("capacity_version").big_integer().null())
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .to_owned()
}

fn documents_of_a_user() -> IndexCreateStatement {
    Index::create()
        .name("documents_of_a_user")
        .table("documents")
        .col("user_id")
        .col("created_at")
        .col("id")
        .to_owned()
}

fn sources() -> TableCreateStatement {
    Table::create()
        .table("sources")
        .col(text("id").primary_key())
        .col(text("document_id"))
        .col(text("file_name"))
        .col(text("media_type"))
        .col(big_integer("size_bytes"))
        .col(text("sha256"))
        .col(integer("pages"))
        .col(boolean("has_pages"))
        .col(big_integer("characters"))
        .col(text("object_key"))
        .col(big_integer("created_at"))
        .foreign_key(&mut of_document("sources_of_document", "sources"))
        .to_owned()
}

fn one_file_once_a_document() -> IndexCreateStatement {
    Index::create()
        .name("one_file_once_a_document")
        .table("sources")
        .col("document_id")
        .col("sha256")
        .unique()
        .to_owned()
}

fn source_pages() -> TableCreateStatement {
    Table::create()
        .table("source_pages")
        .col(text("source_id"))
        .col(integer("page"))
        .col(text("text"))
        .primary_key(Index::create().col("source_id").col("page"))
        .foreign_key(
            ForeignKey::create()
                .name("pages_of_source")
                .from("source_pages", "source_id")
                .to("sources", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn sections() -> TableCreateStatement {
    Table::create()
        .table("sections")
        .col(text("document_id"))
        .col(text("section_key"))
        .col(text("blocks"))
        .col(text("writer"))
        .col(big_integer("written_at"))
        .primary_key(Index::create().col("document_id").col("section_key"))
        .foreign_key(&mut of_document("sections_of_document", "sections"))
        .to_owned()
}

fn exports() -> TableCreateStatement {
    Table::create()
        .table("exports")
        .col(text("document_id"))
        .col(text("format"))
        .col(text("job_id"))
        .col(text("file_name"))
        .col(text("media_type"))
        .col(big_integer("size_bytes"))
        .col(text("sha256"))
        .col(text("object_key"))
        .col(big_integer("created_at"))
        // A later job's files stand beside the delivered ones until it completes.
        .primary_key(Index::create().col("document_id").col("format").col("job_id"))
        .foreign_key(&mut of_document("exports_of_document", "exports"))
        .to_owned()
}

fn of_document(name: &str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, "document_id")
        .to("documents", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

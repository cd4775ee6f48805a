//! Messages as JSON: snake_case, RFC 3339 times, money in minor units, every field always there.

pub(crate) mod auth;
pub(crate) mod job;
pub(crate) mod payment;

use quire_clock::Timestamp;
use quire_proto::document::v1 as document;
use serde_json::{Value, json};

pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> Value {
    timestamp.map_or(Value::Null, |moment| {
        json!(Timestamp::from_unix_micros(quire_proto::from_timestamp(moment)).rfc3339())
    })
}

/// Texts that are empty until something happens are null until then.
fn or_null(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { json!(text) }
}

fn number_or_null(number: i32) -> Value {
    if number == 0 { Value::Null } else { json!(number) }
}

/// The name of an enum value without its prefix, in lower case: `JOB_STATUS_RUNNING` is `running`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

pub(crate) fn document(document: &document::Document) -> Value {
    json!({
        "id": document.id,
        "title": document.title,
        "topic": document.topic,
        "language": document.language,
        "target_pages": document.target_pages,
        "kind": word(document.kind().as_str_name(), "DOCUMENT_KIND_"),
        "writer": document.writer,
        "fallback_writers": document.fallback_writers,
        "status": word(document.status().as_str_name(), "DOCUMENT_STATUS_"),
        "counted_pages": number_or_null(document.counted_pages),
        "job_id": or_null(&document.job_id),
        "failure": or_null(&document.failure),
        "created_at": time(document.created_at.as_ref()),
        "updated_at": time(document.updated_at.as_ref()),
        "review_outline": document.review_outline,
    })
}

pub(crate) fn source(source: &document::Source) -> Value {
    json!({
        "id": source.id,
        "document_id": source.document_id,
        "file_name": source.file_name,
        "media_type": source.media_type,
        "size_bytes": source.size_bytes,
        "sha256": source.sha256,
        "pages": source.pages,
        "characters": source.characters,
        "created_at": time(source.created_at.as_ref()),
    })
}

pub(crate) fn outline(outline: &document::Outline) -> Value {
    let section = |section: &document::OutlineSection| json!({ "key": section.key, "title": section.title, "brief": section.brief, "written": section.written });
    let chapters = outline.chapters.iter().map(|chapter| {
        json!({
            "title": chapter.title,
            "sections": chapter.sections.iter().map(section).collect::<Vec<_>>(),
        })
    });
    json!({ "chapters": chapters.collect::<Vec<_>>() })
}

pub(crate) fn section(section: &document::Section) -> Value {
    json!({
        "key": section.key,
        "title": section.title,
        // Stored as JSON; should it ever not be, the text itself is still shown.
        "blocks": serde_json::from_str(&section.blocks_json).unwrap_or_else(|_| json!(section.blocks_json)),
        "writer": section.writer,
        "written_at": time(section.written_at.as_ref()),
    })
}

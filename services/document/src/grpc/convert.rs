//! Between the proto's messages and this context's types.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::BoxStream;
use quire_clock::Timestamp;
use quire_fault::{Fault, Rule};
use quire_proto::document::v1 as pb;
use tonic::Status as RpcStatus;

use crate::documents;
use crate::error::DocumentError;
use crate::exports::{Described, Format};
use crate::outline::{Chapter, Outline, SectionTitle};
use crate::outline_review::Change;
use crate::sources::SourcePage;
use crate::spec::{Asked, Kind};
use crate::status::Status;
use crate::store::{DocumentRow, SectionRow, SourceRow};
use crate::writing::Fence;

/// Messages that are absent count as empty: their fields are then what is missing.
pub fn asked(spec: Option<pb::DocumentSpec>) -> Asked {
    let spec = spec.unwrap_or_default();
    let kind = spec.kind.map(|kind| match pb::DocumentKind::try_from(kind) {
        Ok(pb::DocumentKind::Document) => Some(Kind::Document),
        Ok(pb::DocumentKind::Section) => Some(Kind::Section),
        Ok(pb::DocumentKind::Unspecified) | Err(_) => None,
    });
    Asked {
        title: spec.title,
        topic: spec.topic,
        language: spec.language,
        target_pages: spec.target_pages,
        kind,
        writer: spec.writer,
        review_outline: spec.review_outline,
        fallback_writers: spec.fallback_writers.map(|writers| writers.names),
    }
}

pub fn document(row: &DocumentRow) -> Result<pb::Document, DocumentError> {
    let kind = match documents::kind(row)? {
        Kind::Document => pb::DocumentKind::Document,
        Kind::Section => pb::DocumentKind::Section,
    };
    let status = match documents::status(row)? {
        Status::Draft => pb::DocumentStatus::Draft,
        Status::PaymentPending => pb::DocumentStatus::PaymentPending,
        Status::Queued => pb::DocumentStatus::Queued,
        Status::Generating => pb::DocumentStatus::Generating,
        Status::Completed => pb::DocumentStatus::Completed,
        Status::Failed => pb::DocumentStatus::Failed,
        Status::Cancelled => pb::DocumentStatus::Cancelled,
    };
    Ok(pb::Document {
        id: row.id.clone(),
        user_id: row.user_id.clone(),
        title: row.title.clone(),
        topic: row.topic.clone(),
        language: row.language.clone(),
        target_pages: row.target_pages,
        kind: kind.into(),
        writer: row.writer.clone(),
        fallback_writers: documents::fallback_writers(row)?
            .into_iter()
            .map(|writer| writer.name().to_owned())
            .collect(),
        status: status.into(),
        counted_pages: row.counted_pages,
        job_id: row.job_id.clone().unwrap_or_default(),
        failure: row.failure.clone(),
        created_at: moment(row.created_at),
        updated_at: moment(row.updated_at),
        review_outline: row.review_outline,
    })
}

pub fn source(row: SourceRow) -> pb::Source {
    pb::Source {
        id: row.id,
        document_id: row.document_id,
        file_name: row.file_name,
        media_type: row.media_type,
        size_bytes: row.size_bytes,
        sha256: row.sha256,
        pages: row.pages,
        characters: row.characters,
        created_at: moment(row.created_at),
    }
}

pub fn page(page: SourcePage) -> pb::ReadSourcesResponse {
    pb::ReadSourcesResponse { source_id: page.source_id, page: page.page, text: page.text }
}

pub fn outline(outline: Outline, written: &HashSet<String>) -> pb::Outline {
    let section = |section: SectionTitle| pb::OutlineSection {
        written: written.contains(&section.key),
        key: section.key,
        title: section.title,
        brief: section.brief,
        words: section.words,
    };
    let chapter = |chapter: Chapter| pb::OutlineChapter {
        title: chapter.title,
        sections: chapter.sections.into_iter().map(section).collect(),
    };
    pb::Outline { chapters: outline.chapters.into_iter().map(chapter).collect() }
}

pub fn new_outline(outline: pb::Outline) -> Outline {
    let section = |section: pb::OutlineSection| SectionTitle {
        key: section.key,
        title: section.title,
        brief: section.brief,
        words: section.words,
    };
    let chapter = |chapter: pb::OutlineChapter| Chapter {
        title: chapter.title,
        sections: chapter.sections.into_iter().map(section).collect(),
    };
    Outline { chapters: outline.chapters.into_iter().map(chapter).collect() }
}

/// Titles of chapters, or chapters with their sections.
pub fn outline_change(titles: Vec<String>, chapters: Vec<pb::OutlineChapter>) -> Result<Change, Fault> {
    match (titles.is_empty(), chapters.is_empty()) {
        (_, true) => Ok(Change::Wish(titles)),
        (true, false) => Ok(Change::Edit(new_outline(pb::Outline { chapters }))),
        (false, false) => {
            let rule = Rule::Value("give chapter_titles or chapters, not both".to_owned());
            Err(Fault::invalid_field("chapters", rule))
        }
    }
}

pub fn section((title, row): (String, SectionRow)) -> pb::Section {
    pb::Section {
        key: row.section_key,
        title,
        blocks_json: row.blocks,
        writer: row.writer,
        written_at: moment(row.written_at),
    }
}

pub fn export(export: Described) -> pb::Export {
    let format = match Format::parse(&export.row.format) {
        Some(Format::Pdf) => pb::ExportFormat::Pdf,
        Some(Format::Markdown) => pb::ExportFormat::Markdown,
        None => pb::ExportFormat::Unspecified,
    };
    pb::Export {
        format: format.into(),
        file_name: export.row.file_name,
        media_type: export.row.media_type,
        size_bytes: export.row.size_bytes,
        sha256: export.row.sha256,
        pages: export.pages,
        created_at: moment(export.row.created_at),
    }
}

/// The messages of a download: first the description, then the bytes.
pub fn download(
    described: Described,
    chunks: BoxStream<'static, Result<bytes::Bytes, DocumentError>>,
) -> BoxStream<'static, Result<pb::DownloadExportResponse, RpcStatus>> {
    use pb::download_export_response::Part;
    let message = |part| pb::DownloadExportResponse { part: Some(part) };
    let first = message(Part::Export(export(described)));
    let chunks = chunks.map(move |chunk| Ok(message(Part::Chunk(chunk?.into()))));
    futures::stream::once(async { Ok(first) }).chain(chunks).boxed()
}

pub fn format(format: pb::ExportFormat) -> Result<Format, Fault> {
    match format {
        pb::ExportFormat::Pdf => Ok(Format::Pdf),
        pb::ExportFormat::Markdown => Ok(Format::Markdown),
        pb::ExportFormat::Unspecified => {
            let names = [Format::Pdf, Format::Markdown].map(|format| format.name().to_owned());
            Err(Fault::invalid_field("format", Rule::Enum(names.to_vec())))
        }
    }
}

pub fn fence(fence: Option<pb::Fence>) -> Result<Fence, Fault> {
    let fence = fence.ok_or_else(|| Fault::invalid_field("fence", Rule::Missing))?;
    Ok(Fence { job_id: fence.job_id, epoch: fence.epoch })
}

/// The statuses that a job reports.
pub fn reported(status: pb::DocumentStatus) -> Result<Status, Fault> {
    match status {
        pb::DocumentStatus::Generating => Ok(Status::Generating),
        pb::DocumentStatus::Completed => Ok(Status::Completed),
        pb::DocumentStatus::Failed => Ok(Status::Failed),
        pb::DocumentStatus::Cancelled => Ok(Status::Cancelled),
        pb::DocumentStatus::Unspecified
        | pb::DocumentStatus::Draft
        | pb::DocumentStatus::PaymentPending
        | pb::DocumentStatus::Queued => {
            let accepted = [Status::Generating, Status::Completed, Status::Failed, Status::Cancelled];
            let names = accepted.map(|status| status.name().to_owned()).to_vec();
            Err(Fault::invalid_field("status", Rule::Enum(names)))
        }
    }
}

fn moment(micros: i64) -> Option<prost_types::Timestamp> {
    Some(quire_proto::timestamp(Timestamp::from_unix_micros(micros).unix_micros()))
}

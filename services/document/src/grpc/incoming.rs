//! Client streams: first a header, then chunks.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use quire_proto::document::v1 as pb;
use tonic::Status;

use crate::error::DocumentError;

const HEADER_FIRST: DocumentError = DocumentError::Malformed("the first message must be the header");
const CHUNKS_AFTER: DocumentError =
    DocumentError::Malformed("after the header every message must be a chunk");

/// The bytes after a header.
pub type Chunks = BoxStream<'static, Result<Bytes, DocumentError>>;

/// Reads the header of an upload.
pub async fn source<S>(mut messages: S) -> Result<(pb::SourceHeader, Chunks), DocumentError>
where
    S: Stream<Item = Result<pb::UploadSourceRequest, Status>> + Send + Unpin + 'static,
{
    use pb::upload_source_request::Part;
    let Some(Part::Header(header)) = first(&mut messages).await?.part else {
        return Err(HEADER_FIRST);
    };
    let chunks = messages.map(|message| match message.map_err(broken)?.part {
        Some(Part::Chunk(chunk)) => Ok(Bytes::from(chunk)),
        Some(Part::Header(_)) | None => Err(CHUNKS_AFTER),
    });
    Ok((header, chunks.boxed()))
}

/// Reads the header of an export.
pub async fn export<S>(mut messages: S) -> Result<(pb::ExportHeader, Chunks), DocumentError>
where
    S: Stream<Item = Result<pb::PutExportRequest, Status>> + Send + Unpin + 'static,
{
    use pb::put_export_request::Part;
    let Some(Part::Header(header)) = first(&mut messages).await?.part else {
        return Err(HEADER_FIRST);
    };
    let chunks = messages.map(|message| match message.map_err(broken)?.part {
        Some(Part::Chunk(chunk)) => Ok(Bytes::from(chunk)),
        Some(Part::Header(_)) | None => Err(CHUNKS_AFTER),
    });
    Ok((header, chunks.boxed()))
}

async fn first<M>(
    messages: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
) -> Result<M, DocumentError> {
    messages.next().await.ok_or(HEADER_FIRST)?.map_err(broken)
}

fn broken(_: Status) -> DocumentError {
    DocumentError::Interrupted
}

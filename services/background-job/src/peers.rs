//! Calls to the document and payment services: who we are, how long they may take, how often they are tried.

use std::time::Duration;

use bytes::Bytes;
use quire_identity::ServiceIdentity;
use quire_manuscript::Block;
use quire_proto::document::v1 as doc;
use quire_proto::document::v1::document_service_client::DocumentServiceClient;
use quire_proto::payment::v1 as pay;
use quire_proto::payment::v1::payment_service_client::PaymentServiceClient;
use quire_serve::client;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// For calls that carry little.
const DEADLINE: Duration = Duration::from_secs(15);
/// For calls that carry whole files.
const FILE_DEADLINE: Duration = Duration::from_secs(120);
/// For the next page of a stream: the deadline of its call ends with the headers.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);
/// A file without pages comes as one page; tonic would stop at 4 MiB.
const LARGEST_PAGE: usize = 64 << 20;
const CHUNK_BYTES: usize = 128 * 1024;

/// The right to write to a document.
#[derive(Debug, Clone, Copy)]
pub struct Fenced<'a> {
    pub document_id: &'a str,
    pub job_id: &'a str,
    pub epoch: i64,
}

impl Fenced<'_> {
    fn fence(&self) -> Option<doc::Fence> {
        Some(doc::Fence { job_id: self.job_id.to_owned(), epoch: self.epoch })
    }
}

/// Whose document a job may make its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Also one that another job has ended: it is written again.
    Any,
    /// Not one that another job has completed, failed or cancelled.
    OnlyUnwritten,
}

/// The text of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    pub id: String,
    pub file_name: String,
    /// In order; one for files without pages.
    pub pages: Vec<String>,
    /// Whether the file has pages that can be cited.
    pub paged: bool,
}

/// The document service. Calls are not tried again here: a step is.
#[derive(Clone)]
pub struct Documents {
    client: DocumentServiceClient<Channel>,
    identity: ServiceIdentity,
}

impl Documents {
    pub fn new(channel: Channel, identity: ServiceIdentity) -> Self {
        Self { client: DocumentServiceClient::new(channel).max_decoding_message_size(LARGEST_PAGE), identity }
    }

    fn request<T>(&self, message: T, deadline: Duration) -> Request<T> {
        let mut request = client::outgoing(message, deadline);
        self.identity.authorize(&mut request);
        request
    }

    #[tracing::instrument(skip(self))]
    pub async fn attach(&self, document_id: &str, job_id: &str, taking: Taking) -> Result<(), Status> {
        let message = doc::AttachJobRequest {
            document_id: document_id.to_owned(),
            job_id: job_id.to_owned(),
            only_unwritten: taking == Taking::OnlyUnwritten,
        };
        self.client.clone().attach_job(self.request(message, DEADLINE)).await.map(|_| ())
    }

    #[tracing::instrument(skip(self))]
    pub async fn brief(&self, document_id: &str) -> Result<doc::GetBriefResponse, Status> {
        let message = doc::GetBriefRequest { document_id: document_id.to_owned() };
        Ok(self.client.clone().get_brief(self.request(message, DEADLINE)).await?.into_inner())
    }

    /// The text of the sources of a brief, in its order.
    #[tracing::instrument(skip_all, fields(sources = sources.len()))]
    pub async fn sources(
        &self,
        document_id: &str,
        sources: &[doc::Source],
    ) -> Result<Vec<SourceText>, Status> {
        const PDF: &str = "application/pdf";
        let mut texts: Vec<SourceText> = sources
            .iter()
            .map(|source| SourceText {
                id: source.id.clone(),
                file_name: source.file_name.clone(),
                pages: Vec::new(),
                paged: source.media_type == PDF,
            })
            .collect();
        if texts.is_empty() {
            return Ok(texts);
        }
        let message = doc::ReadSourcesRequest { document_id: document_id.to_owned() };
        let mut stream =
            self.client.clone().read_sources(self.request(message, FILE_DEADLINE)).await?.into_inner();
        while let Some(page) = within(PAGE_DEADLINE, stream.message()).await? {
            if let Some(text) = texts.iter_mut().find(|text| text.id == page.source_id) {
                text.pages.push(page.text);
            }
        }
        Ok(texts)
    }

    #[tracing::instrument(skip(self, outline))]
    pub async fn put_outline(&self, fence: Fenced<'_>, outline: doc::Outline) -> Result<(), Status> {
        let message = doc::PutOutlineRequest {
            document_id: fence.document_id.to_owned(),
            fence: fence.fence(),
            outline: Some(outline),
            proposed: false,
        };
        self.client.clone().put_outline(self.request(message, DEADLINE)).await.map(|_| ())
    }

    /// An outline that the customer has to approve.
    #[tracing::instrument(skip(self, outline))]
    pub async fn propose_outline(&self, fence: Fenced<'_>, outline: doc::Outline) -> Result<(), Status> {
        let message = doc::PutOutlineRequest {
            document_id: fence.document_id.to_owned(),
            fence: fence.fence(),
            outline: Some(outline),
            proposed: true,
        };
        self.client.clone().put_outline(self.request(message, DEADLINE)).await.map(|_| ())
    }

    /// An outline that the customer looks at before ordering the document, as it was described in that revision.
    #[tracing::instrument(skip(self, outline))]
    pub async fn preview_outline(
        &self,
        document_id: &str,
        revision: &str,
        outline: doc::Outline,
    ) -> Result<(), Status> {
        let message = doc::PreviewOutlineRequest {
            document_id: document_id.to_owned(),
            revision: revision.to_owned(),
            outline: Some(outline),
        };
        self.client.clone().preview_outline(self.request(message, DEADLINE)).await.map(|_| ())
    }

    /// The outline that the customer has approved.
    #[tracing::instrument(skip(self))]
    pub async fn take_outline(&self, fence: Fenced<'_>) -> Result<doc::Outline, Status> {
        let message =
            doc::TakeOutlineRequest { document_id: fence.document_id.to_owned(), fence: fence.fence() };
        let answer = self.client.clone().take_outline(self.request(message, DEADLINE)).await?;
        Ok(answer.into_inner().outline.unwrap_or_default())
    }

    #[tracing::instrument(skip(self, blocks))]
    pub async fn put_section(
        &self,
        fence: Fenced<'_>,
        key: &str,
        blocks: &[Block],
        writer: &str,
    ) -> Result<(), Status> {
        let message = doc::PutSectionRequest {
            document_id: fence.document_id.to_owned(),
            fence: fence.fence(),
            key: key.to_owned(),
            blocks_json: serde_json::to_string(blocks).expect("blocks are plain data"),
            writer: writer.to_owned(),
        };
        self.client.clone().put_section(self.request(message, DEADLINE)).await.map(|_| ())
    }

    #[tracing::instrument(skip(self, bytes), fields(bytes = bytes.len()))]
    pub async fn put_export(
        &self,
        fence: Fenced<'_>,
        format: doc::ExportFormat,
        bytes: Vec<u8>,
    ) -> Result<(), Status> {
        use doc::put_export_request::Part;
        let header = doc::ExportHeader {
            document_id: fence.document_id.to_owned(),
            fence: fence.fence(),
            format: format.into(),
        };
        let bytes = Bytes::from(bytes);
        let chunks = (0..bytes.len()).step_by(CHUNK_BYTES).map(move |start| {
            let end = (start + CHUNK_BYTES).min(bytes.len());
            Part::Chunk(bytes[start..end].to_vec())
        });
        let parts = std::iter::once(Part::Header(header)).chain(chunks);
        let parts = parts.map(|part| doc::PutExportRequest { part: Some(part) });
        let request = self.request(futures::stream::iter(parts), FILE_DEADLINE);
        self.client.clone().put_export(request).await.map(|_| ())
    }

    /// `failure` is empty unless the status is failed; `pages` is 0 unless it is completed, or cancelled with a part
    /// that is delivered.
    #[tracing::instrument(skip(self, failure))]
    pub async fn report(
        &self,
        fence: Fenced<'_>,
        status: doc::DocumentStatus,
        pages: i32,
        failure: &str,
    ) -> Result<(), Status> {
        let message = doc::ReportJobRequest {
            document_id: fence.document_id.to_owned(),
            fence: fence.fence(),
            status: status.into(),
            counted_pages: pages,
            failure: failure.to_owned(),
        };
        self.client.clone().report_job(self.request(message, DEADLINE)).await.map(|_| ())
    }
}

/// The payment service.
#[derive(Clone)]
pub struct Payments {
    client: PaymentServiceClient<Channel>,
    identity: ServiceIdentity,
}

impl Payments {
    pub fn new(channel: Channel, identity: ServiceIdentity) -> Self {
        Self { client: PaymentServiceClient::new(channel), identity }
    }

    #[tracing::instrument(skip(self))]
    pub async fn settle(
        &self,
        order_id: &str,
        job_id: &str,
        outcome: pay::JobOutcome,
        delivered_pages: i32,
    ) -> Result<(), Status> {
        let message = pay::SettleOrderRequest {
            order_id: order_id.to_owned(),
            job_id: job_id.to_owned(),
            outcome: outcome.into(),
            delivered_pages,
        };
        let mut request = client::outgoing(message, DEADLINE);
        self.identity.authorize(&mut request);
        self.client.clone().settle_order(request).await.map(|_| ())
    }
}

/// The answer, if it comes in time.
async fn within<T>(deadline: Duration, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("the other side sent nothing in time");
    tokio::time::timeout(deadline, answer).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_stands_still_is_given_up() {
        let stuck = std::future::pending::<Result<(), Status>>();
        let status = within(Duration::ZERO, stuck).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        let ready = std::future::ready(Ok::<_, Status>(7));
        assert_eq!(within(Duration::ZERO, ready).await.unwrap(), 7);
    }
}

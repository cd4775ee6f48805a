//! The gRPC face of documents: decode, call, encode.

mod convert;
mod incoming;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use quire_fault::Fault;
use quire_idempotency::{Call, Keys};
use quire_identity::Gatekeeper;
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::document_service_server::DocumentService;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::documents::Documents;
use crate::error::DocumentError;
use crate::exports::{Exports, Wanted};
use crate::orders::Orders;
use crate::outline::Outlines;
use crate::page_token::Page;
use crate::sources::Sources;
use crate::writing::{NewSection, Report, Writing};

/// The services that call, by the name in their token.
const PAYMENT: &str = "payment";
const JOB: &str = "background-job";

pub struct Grpc {
    pub gatekeeper: Gatekeeper,
    pub keys: Keys,
    pub documents: Documents,
    pub orders: Orders,
    pub sources: Sources,
    pub outlines: Outlines,
    pub writing: Arc<Writing>,
    pub exports: Exports,
}

impl Grpc {
    async fn user(&self, metadata: &MetadataMap) -> Result<String, Fault> {
        Ok(self.gatekeeper.user(metadata).await?.user_id)
    }

    fn service(&self, metadata: &MetadataMap, name: &str) -> Result<(), Fault> {
        self.gatekeeper.service(metadata, &[name]).map(|_| ())
    }
}

#[tonic::async_trait]
impl DocumentService for Grpc {
    async fn create_document(
        &self,
        request: Request<pb::CreateDocumentRequest>,
    ) -> Result<Response<pb::CreateDocumentResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let mut request = request.into_inner();
        let key = std::mem::take(&mut request.idempotency_key);
        let call = Call::new(&user, "create_document", &key, &request);
        let asked = convert::asked(request.spec);
        if request.validate_only {
            self.documents.check(&asked)?;
            return Ok(Response::new(pb::CreateDocumentResponse { document: None }));
        }
        let documents = self.documents.clone();
        let work = async move |id| {
            let document = documents.create(id, &user, &asked).await?;
            Ok(pb::CreateDocumentResponse { document: Some(convert::document(&document)?) })
        };
        Ok(self.keys.run::<_, DocumentError, _, _>(call, work).await?.into_response())
    }

    async fn get_document(
        &self,
        request: Request<pb::GetDocumentRequest>,
    ) -> Result<Response<pb::GetDocumentResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let row = self.documents.get(&user, &request.get_ref().document_id).await?;
        Ok(Response::new(pb::GetDocumentResponse { document: Some(convert::document(&row)?) }))
    }

    async fn list_documents(
        &self,
        request: Request<pb::ListDocumentsRequest>,
    ) -> Result<Response<pb::ListDocumentsResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token).map_err(Fault::invalid)?;
        let (rows, next_page_token) = self.documents.list(&user, &page).await?;
        let documents = rows.iter().map(convert::document).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListDocumentsResponse { documents, next_page_token }))
    }

    async fn update_document(
        &self,
        request: Request<pb::UpdateDocumentRequest>,
    ) -> Result<Response<pb::UpdateDocumentResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let request = request.into_inner();
        let asked = convert::asked(request.spec);
        let document = if request.validate_only {
            self.documents.check_update(&user, &request.document_id, &asked).await?;
            None
        } else {
            let row = self.documents.update(&user, &request.document_id, &asked).await?;
            Some(convert::document(&row)?)
        };
        Ok(Response::new(pb::UpdateDocumentResponse { document }))
    }

    async fn delete_document(
        &self,
        request: Request<pb::DeleteDocumentRequest>,
    ) -> Result<Response<pb::DeleteDocumentResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        self.documents.delete(&user, &request.get_ref().document_id).await?;
        Ok(Response::new(pb::DeleteDocumentResponse {}))
    }

    async fn upload_source(
        &self,
        request: Request<Streaming<pb::UploadSourceRequest>>,
    ) -> Result<Response<pb::UploadSourceResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let (header, chunks) = incoming::source(request.into_inner()).await?;
        let row = self.sources.upload(&user, &header.document_id, &header.file_name, chunks).await?;
        Ok(Response::new(pb::UploadSourceResponse { source: Some(convert::source(row)) }))
    }

    async fn list_sources(
        &self,
        request: Request<pb::ListSourcesRequest>,
    ) -> Result<Response<pb::ListSourcesResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let (rows, max_pages) = self.sources.list(&user, &request.get_ref().document_id).await?;
        let sources = rows.into_iter().map(convert::source).collect();
        Ok(Response::new(pb::ListSourcesResponse { sources, max_pages }))
    }

    async fn delete_source(
        &self,
        request: Request<pb::DeleteSourceRequest>,
    ) -> Result<Response<pb::DeleteSourceResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let request = request.get_ref();
        self.sources.delete(&user, &request.document_id, &request.source_id).await?;
        Ok(Response::new(pb::DeleteSourceResponse {}))
    }

    async fn get_outline(
        &self,
        request: Request<pb::GetOutlineRequest>,
    ) -> Result<Response<pb::GetOutlineResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let shown = self.outlines.get(&user, &request.get_ref().document_id).await?;
        Ok(Response::new(pb::GetOutlineResponse {
            outline: Some(convert::outline(shown.outline, &shown.written)),
            awaits_approval: shown.awaits_approval,
            preview: shown.preview,
        }))
    }

    async fn set_outline(
        &self,
        request: Request<pb::SetOutlineRequest>,
    ) -> Result<Response<pb::SetOutlineResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let request = request.into_inner();
        let change = convert::outline_change(request.chapter_titles, request.chapters)?;
        let outline = self.outlines.change(&user, &request.document_id, change).await?;
        let outline = convert::outline(outline, &Default::default());
        Ok(Response::new(pb::SetOutlineResponse { outline: Some(outline) }))
    }

    async fn list_sections(
        &self,
        request: Request<pb::ListSectionsRequest>,
    ) -> Result<Response<pb::ListSectionsResponse>, Status> {
        let user = self.user(request.metadata()).await?;
        let sections = self.outlines.sections(&user, &request.get_ref().document_id).await?;
        let sections = sections.into_iter().map(convert::section).collect();
        Ok(Response::new(pb::ListSectionsResponse { sections }))
    }

    type DownloadExportStream = BoxStream<'static, Result<pb::DownloadExportResponse, Status>>;

    async fn download_export(
        &self,
        request: Request<pb::DownloadExportRequest>,
    ) -> Result<Response<Self::DownloadExportStream>, Status> {
        let user = self.user(request.metadata()).await?;
        let request = request.into_inner();
        let format = convert::format(request.format())?;
        let export = self.exports.describe(&user, &request.document_id, format).await?;
        let chunks = if request.describe_only {
            futures::stream::empty().boxed()
        } else {
            let wanted = Wanted { offset: request.offset, length: request.length };
            self.exports.read(&export, wanted).await?
        };
        Ok(Response::new(convert::download(export, chunks)))
    }

    async fn prepare_order(
        &self,
        request: Request<pb::PrepareOrderRequest>,
    ) -> Result<Response<pb::PrepareOrderResponse>, Status> {
        self.service(request.metadata(), PAYMENT)?;
        let request = request.get_ref();
        let row = self.orders.prepare(&request.user_id, &request.document_id).await?;
        Ok(Response::new(pb::PrepareOrderResponse { document: Some(convert::document(&row)?) }))
    }

    async fn release_order(
        &self,
        request: Request<pb::ReleaseOrderRequest>,
    ) -> Result<Response<pb::ReleaseOrderResponse>, Status> {
        self.service(request.metadata(), PAYMENT)?;
        self.orders.release(&request.get_ref().document_id).await?;
        Ok(Response::new(pb::ReleaseOrderResponse {}))
    }

    async fn attach_job(
        &self,
        request: Request<pb::AttachJobRequest>,
    ) -> Result<Response<pb::AttachJobResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.get_ref();
        self.writing.attach(&request.document_id, &request.job_id, request.only_unwritten).await?;
        Ok(Response::new(pb::AttachJobResponse {}))
    }

    async fn get_brief(
        &self,
        request: Request<pb::GetBriefRequest>,
    ) -> Result<Response<pb::GetBriefResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let brief = self.writing.brief(&request.get_ref().document_id).await?;
        Ok(Response::new(pb::GetBriefResponse {
            document: Some(convert::document(&brief.document)?),
            chapter_titles: brief.chapter_titles,
            sources: brief.sources.into_iter().map(convert::source).collect(),
            revision: brief.revision,
            previewed: brief.previewed,
        }))
    }

    type ReadSourcesStream = BoxStream<'static, Result<pb::ReadSourcesResponse, Status>>;

    async fn read_sources(
        &self,
        request: Request<pb::ReadSourcesRequest>,
    ) -> Result<Response<Self::ReadSourcesStream>, Status> {
        self.service(request.metadata(), JOB)?;
        let pages = self.sources.read_all(&request.get_ref().document_id).await?;
        Ok(Response::new(pages.map(|page| Ok(convert::page(page?))).boxed()))
    }

    async fn put_outline(
        &self,
        request: Request<pb::PutOutlineRequest>,
    ) -> Result<Response<pb::PutOutlineResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.into_inner();
        let fence = convert::fence(request.fence)?;
        let outline = convert::new_outline(request.outline.unwrap_or_default());
        if request.proposed {
            self.writing.propose_outline(&request.document_id, &fence, &outline).await?;
        } else {
            self.writing.put_outline(&request.document_id, &fence, &outline).await?;
        }
        Ok(Response::new(pb::PutOutlineResponse {}))
    }

    async fn preview_outline(
        &self,
        request: Request<pb::PreviewOutlineRequest>,
    ) -> Result<Response<pb::PreviewOutlineResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.into_inner();
        let outline = convert::new_outline(request.outline.unwrap_or_default());
        self.writing.preview_outline(&request.document_id, request.revision, outline).await?;
        Ok(Response::new(pb::PreviewOutlineResponse {}))
    }

    async fn take_outline(
        &self,
        request: Request<pb::TakeOutlineRequest>,
    ) -> Result<Response<pb::TakeOutlineResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.into_inner();
        let fence = convert::fence(request.fence)?;
        let outline = self.writing.take_outline(&request.document_id, &fence).await?;
        let outline = convert::outline(outline, &Default::default());
        Ok(Response::new(pb::TakeOutlineResponse { outline: Some(outline) }))
    }

    async fn put_section(
        &self,
        request: Request<pb::PutSectionRequest>,
    ) -> Result<Response<pb::PutSectionResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.into_inner();
        let fence = convert::fence(request.fence)?;
        let section =
            NewSection { key: request.key, blocks_json: request.blocks_json, writer: request.writer };
        self.writing.put_section(&request.document_id, &fence, section).await?;
        Ok(Response::new(pb::PutSectionResponse {}))
    }

    async fn put_export(
        &self,
        request: Request<Streaming<pb::PutExportRequest>>,
    ) -> Result<Response<pb::PutExportResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let (header, chunks) = incoming::export(request.into_inner()).await?;
        let format = convert::format(header.format())?;
        let fence = convert::fence(header.fence)?;
        let export = self.exports.put(&header.document_id, &fence, format, chunks).await?;
        Ok(Response::new(pb::PutExportResponse { export: Some(convert::export(export)) }))
    }

    async fn report_job(
        &self,
        request: Request<pb::ReportJobRequest>,
    ) -> Result<Response<pb::ReportJobResponse>, Status> {
        self.service(request.metadata(), JOB)?;
        let request = request.into_inner();
        let report = Report {
            status: convert::reported(request.status())?,
            counted_pages: request.counted_pages,
            failure: request.failure,
        };
        let fence = convert::fence(request.fence)?;
        self.writing.report(&request.document_id, &fence, &report).await?;
        Ok(Response::new(pb::ReportJobResponse {}))
    }
}

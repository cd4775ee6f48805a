//! The document service, played: it keeps what it is sent and fences like the real one.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::Stream;
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::document_service_server::DocumentService;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// A section as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub key: String,
    pub epoch: i64,
    pub blocks_json: String,
    pub writer: String,
}

/// Everything it was told, in order.
#[derive(Debug, Default)]
pub struct Told {
    pub attached: Vec<String>,
    /// Those that came too late: another job had ended the document.
    pub attached_late: Vec<String>,
    pub outlines: Vec<pb::Outline>,
    /// Those that were shown before the order, and for which revision.
    pub previews: Vec<(String, pb::Outline)>,
    /// How often an outline was proposed, and taken.
    pub proposed: usize,
    pub taken: usize,
    pub sections: Vec<Sent>,
    pub exports: Vec<(pb::ExportFormat, Vec<u8>)>,
    pub reports: Vec<(pb::DocumentStatus, i32, String)>,
    /// The jobs that handed something over.
    pub delivered: Vec<String>,
    /// Writes that came from an epoch older than the newest seen.
    pub fenced: usize,
    /// The newest epoch of each job.
    epochs: HashMap<String, i64>,
}

#[derive(Clone)]
pub struct FakeDocument {
    pub brief: Arc<Mutex<pb::GetBriefResponse>>,
    pub pages: Arc<Vec<pb::ReadSourcesResponse>>,
    pub told: Arc<Mutex<Told>>,
    /// Answers of the next PutSection calls instead of taking the section.
    pub refuse_sections: Arc<Mutex<VecDeque<Status>>>,
    /// The same for reports that the document is completed.
    pub refuse_completion: Arc<Mutex<VecDeque<Status>>>,
    /// The same for reports that a part is delivered.
    pub refuse_parts: Arc<Mutex<VecDeque<Status>>>,
    /// What the customer made of the proposed outline.
    pub edited: Arc<Mutex<Option<pb::Outline>>>,
    /// Whether another job has ended the document.
    pub ended: Arc<Mutex<bool>>,
    /// Each document is titled with its id, so that a request to the model tells which one it is about.
    pub titled_by_id: Arc<AtomicBool>,
    /// Changes with each report.
    reports: watch::Sender<usize>,
}

impl FakeDocument {
    pub fn new(brief: pb::GetBriefResponse, pages: Vec<pb::ReadSourcesResponse>) -> Self {
        Self {
            brief: Arc::new(Mutex::new(brief)),
            pages: Arc::new(pages),
            told: Arc::default(),
            refuse_sections: Arc::default(),
            refuse_completion: Arc::default(),
            refuse_parts: Arc::default(),
            edited: Arc::default(),
            ended: Arc::default(),
            titled_by_id: Arc::default(),
            reports: watch::Sender::new(0),
        }
    }

    /// How often a section was sent.
    pub fn times_sent(&self, key: &str) -> usize {
        self.told.lock().unwrap().sections.iter().filter(|sent| sent.key == key).count()
    }

    /// The statuses in the order in which they were reported, repeats left out.
    pub fn statuses(&self) -> Vec<pb::DocumentStatus> {
        let mut statuses: Vec<_> = self.told.lock().unwrap().reports.iter().map(|report| report.0).collect();
        statuses.dedup();
        statuses
    }

    /// Waits until this status is the last that was reported, and gives the pages that were reported with it.
    pub async fn wait_reported(&self, status: pb::DocumentStatus) -> i32 {
        let last = || self.told.lock().unwrap().reports.last().map(|report| (report.0, report.1));
        let mut reports = self.reports.subscribe();
        reports.wait_for(|_| last().is_some_and(|(last, _)| last == status)).await.unwrap();
        last().unwrap().1
    }

    fn pass(&self, fence: Option<pb::Fence>) -> Result<i64, Status> {
        let fence = fence.ok_or_else(|| Status::invalid_argument("no fence"))?;
        let mut told = self.told.lock().unwrap();
        let newest = told.epochs.entry(fence.job_id).or_default();
        if fence.epoch < *newest {
            told.fenced += 1;
            return Err(Status::failed_precondition("an older epoch"));
        }
        *newest = fence.epoch;
        Ok(fence.epoch)
    }
}

/// As `#[tonic::async_trait]` would write it, which does not see inside macros.
macro_rules! not_played {
    ($($name:ident: $request:ty => $response:ty;)+) => {
        $(
            fn $name<'life0, 'async_trait>(
                &'life0 self,
                _: Request<$request>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async { Err(Status::unimplemented("not played")) })
            }
        )+
    };
}

type Pages = Pin<Box<dyn Stream<Item = Result<pb::ReadSourcesResponse, Status>> + Send>>;
type Export = Pin<Box<dyn Stream<Item = Result<pb::DownloadExportResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DocumentService for FakeDocument {
    async fn attach_job(
        &self,
        request: Request<pb::AttachJobRequest>,
    ) -> Result<Response<pb::AttachJobResponse>, Status> {
        let request = request.into_inner();
        let mut told = self.told.lock().unwrap();
        if request.only_unwritten && *self.ended.lock().unwrap() {
            told.attached_late.push(request.job_id);
            return Err(Status::already_exists("the document has another job"));
        }
        if let Some(document) = &mut self.brief.lock().unwrap().document {
            document.job_id.clone_from(&request.job_id);
        }
        told.attached.push(request.job_id);
        Ok(Response::new(pb::AttachJobResponse {}))
    }

    async fn get_brief(
        &self,
        request: Request<pb::GetBriefRequest>,
    ) -> Result<Response<pb::GetBriefResponse>, Status> {
        let mut brief = self.brief.lock().unwrap().clone();
        if let (true, Some(document)) = (self.titled_by_id.load(Ordering::SeqCst), &mut brief.document) {
            document.title = request.into_inner().document_id;
        }
        Ok(Response::new(brief))
    }

    type ReadSourcesStream = Pages;

    async fn read_sources(&self, _: Request<pb::ReadSourcesRequest>) -> Result<Response<Pages>, Status> {
        let pages: Vec<_> = self.pages.iter().cloned().map(Ok).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(pages))))
    }

    async fn put_outline(
        &self,
        request: Request<pb::PutOutlineRequest>,
    ) -> Result<Response<pb::PutOutlineResponse>, Status> {
        let request = request.into_inner();
        self.pass(request.fence)?;
        let mut told = self.told.lock().unwrap();
        told.proposed += usize::from(request.proposed);
        told.outlines.push(request.outline.unwrap_or_default());
        Ok(Response::new(pb::PutOutlineResponse {}))
    }

    async fn preview_outline(
        &self,
        request: Request<pb::PreviewOutlineRequest>,
    ) -> Result<Response<pb::PreviewOutlineResponse>, Status> {
        let request = request.into_inner();
        let mut brief = self.brief.lock().unwrap();
        if request.revision != brief.revision {
            return Err(Status::failed_precondition("the document is described in another way by now"));
        }
        brief.previewed = true;
        self.told.lock().unwrap().previews.push((request.revision, request.outline.unwrap_or_default()));
        Ok(Response::new(pb::PreviewOutlineResponse {}))
    }

    async fn take_outline(
        &self,
        request: Request<pb::TakeOutlineRequest>,
    ) -> Result<Response<pb::TakeOutlineResponse>, Status> {
        self.pass(request.into_inner().fence)?;
        let mut told = self.told.lock().unwrap();
        told.taken += 1;
        let outline = self.edited.lock().unwrap().clone().or_else(|| told.outlines.last().cloned());
        Ok(Response::new(pb::TakeOutlineResponse { outline }))
    }

    async fn put_section(
        &self,
        request: Request<pb::PutSectionRequest>,
    ) -> Result<Response<pb::PutSectionResponse>, Status> {
        let request = request.into_inner();
        let epoch = self.pass(request.fence)?;
        if let Some(refusal) = self.refuse_sections.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        let pb::PutSectionRequest { key, blocks_json, writer, .. } = request;
        self.told.lock().unwrap().sections.push(Sent { key, epoch, blocks_json, writer });
        Ok(Response::new(pb::PutSectionResponse {}))
    }

    async fn put_export(
        &self,
        request: Request<Streaming<pb::PutExportRequest>>,
    ) -> Result<Response<pb::PutExportResponse>, Status> {
        use pb::put_export_request::Part;
        let mut stream = request.into_inner();
        let mut format = None;
        let mut bytes = Vec::new();
        while let Some(message) = stream.message().await? {
            match message.part {
                Some(Part::Header(header)) => {
                    format = Some(header.format());
                    self.pass(header.fence)?;
                }
                Some(Part::Chunk(chunk)) => bytes.extend(chunk),
                None => {}
            }
        }
        let format = format.ok_or_else(|| Status::invalid_argument("no header"))?;
        self.told.lock().unwrap().exports.push((format, bytes));
        Ok(Response::new(pb::PutExportResponse { export: None }))
    }

    async fn report_job(
        &self,
        request: Request<pb::ReportJobRequest>,
    ) -> Result<Response<pb::ReportJobResponse>, Status> {
        let request = request.into_inner();
        let status = request.status();
        let job_id = request.fence.as_ref().map(|fence| fence.job_id.clone()).unwrap_or_default();
        self.pass(request.fence)?;
        let refusals = match status {
            pb::DocumentStatus::Completed => Some(&self.refuse_completion),
            pb::DocumentStatus::Cancelled if request.counted_pages > 0 => Some(&self.refuse_parts),
            _ => None,
        };
        if let Some(refusal) = refusals.and_then(|refusals| refusals.lock().unwrap().pop_front()) {
            return Err(refusal);
        }
        let mut told = self.told.lock().unwrap();
        if request.counted_pages > 0 {
            told.delivered.push(job_id);
        }
        told.reports.push((status, request.counted_pages, request.failure));
        drop(told);
        self.reports.send_modify(|reports| *reports += 1);
        Ok(Response::new(pb::ReportJobResponse {}))
    }

    type DownloadExportStream = Export;

    not_played! {
        create_document: pb::CreateDocumentRequest => pb::CreateDocumentResponse;
        get_document: pb::GetDocumentRequest => pb::GetDocumentResponse;
        list_documents: pb::ListDocumentsRequest => pb::ListDocumentsResponse;
        update_document: pb::UpdateDocumentRequest => pb::UpdateDocumentResponse;
        delete_document: pb::DeleteDocumentRequest => pb::DeleteDocumentResponse;
        upload_source: Streaming<pb::UploadSourceRequest> => pb::UploadSourceResponse;
        list_sources: pb::ListSourcesRequest => pb::ListSourcesResponse;
        delete_source: pb::DeleteSourceRequest => pb::DeleteSourceResponse;
        get_outline: pb::GetOutlineRequest => pb::GetOutlineResponse;
        set_outline: pb::SetOutlineRequest => pb::SetOutlineResponse;
        list_sections: pb::ListSectionsRequest => pb::ListSectionsResponse;
        download_export: pb::DownloadExportRequest => Export;
        prepare_order: pb::PrepareOrderRequest => pb::PrepareOrderResponse;
        release_order: pb::ReleaseOrderRequest => pb::ReleaseOrderResponse;
    }
}

//! Storing and downloading finished files.

use futures::TryStreamExt;
use quire_fault::Kind;
use quire_proto::document::v1 as pb;
use quire_proto::document::v1::{DocumentStatus, ExportFormat};
use quire_testkit::Backend;
use tonic::Status;

use crate::house::{House, fault, fence, violations};

quire_testkit::on_both_databases!(
    a_finished_file_is_downloaded_whole_and_in_ranges,
    a_file_is_not_ready_before_the_document_is,
    an_export_is_replaced_and_the_old_file_goes,
    a_new_job_s_files_take_the_place_of_the_old_ones,
    a_delivered_file_outlives_a_later_job_that_fails,
    a_cancelled_job_delivers_the_part_that_it_counts,
    a_part_takes_no_delivered_file_s_place,
);

async fn download(
    house: &House,
    request: pb::DownloadExportRequest,
) -> Result<(pb::Export, Vec<Vec<u8>>), Status> {
    use pb::download_export_response::Part;
    let mut stream = house.client.clone().download_export(house.user("ada", request)).await?.into_inner();
    let first = stream.try_next().await?.unwrap().part.unwrap();
    let Part::Export(export) = first else { panic!("the description comes first") };
    let mut chunks = Vec::new();
    while let Some(message) = stream.try_next().await? {
        let Some(Part::Chunk(chunk)) = message.part else { panic!("after it come chunks") };
        chunks.push(chunk);
    }
    Ok((export, chunks))
}

fn whole(id: &str, format: ExportFormat) -> pb::DownloadExportRequest {
    pb::DownloadExportRequest { document_id: id.to_owned(), format: format.into(), ..Default::default() }
}

/// One mebibyte and a bit, no two places alike.
fn file() -> Vec<u8> {
    (0..270_000_u32).flat_map(u32::to_le_bytes).collect()
}

async fn a_finished_file_is_downloaded_whole_and_in_ranges(backend: Backend) {
    let mut house = House::open(backend).await;
    let id = house.generating().await.id;
    let file = file();
    let stored = house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, &file).await.unwrap();
    house.put_export(&id, fence("job-1", 1), ExportFormat::Markdown, b"# On paper\n").await.unwrap();
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    house.restart().await;

    let (export, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 256 * 1024));
    assert!(chunks.concat() == file);
    assert_eq!(export, pb::Export { pages: 12, ..stored });
    assert_eq!((export.file_name.as_str(), export.media_type.as_str()), ("On-paper.pdf", "application/pdf"));
    assert_eq!(export.size_bytes, i64::try_from(file.len()).unwrap());
    assert_eq!(export.sha256.len(), 64);
    for (offset, length, expected) in [
        (0, 1, &file[..1]),
        (300_000, 400_000, &file[300_000..700_000]),
        (1_000_000, 0, &file[1_000_000..]),
        (1_079_990, 500, &file[1_079_990..]),
        (1_080_000, 0, &file[1_080_000..]),
    ] {
        let request = pb::DownloadExportRequest { offset, length, ..whole(&id, ExportFormat::Pdf) };
        assert!(download(&house, request).await.unwrap().1.concat() == expected, "{offset} {length}");
    }
    let outside =
        pb::DownloadExportRequest { offset: 1_080_001, length: -1, ..whole(&id, ExportFormat::Pdf) };
    assert_eq!(violations(download(&house, outside).await).len(), 2);
    let described = pb::DownloadExportRequest { describe_only: true, ..whole(&id, ExportFormat::Markdown) };
    let (described, chunks) = download(&house, described).await.unwrap();
    assert_eq!((described.file_name.as_str(), described.pages, chunks.len()), ("On-paper.md", 0, 0));
}

async fn a_file_is_not_ready_before_the_document_is(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, b"%PDF-").await.unwrap();
    let early = fault(download(&house, whole(&id, ExportFormat::Pdf)).await);
    assert_eq!((early.kind, early.reason.as_str()), (Kind::Precondition, "DOCUMENT_NOT_READY"));
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
    let missing = fault(download(&house, whole(&id, ExportFormat::Markdown)).await);
    assert_eq!(missing.reason, "EXPORT_NOT_FOUND");
    let unknown = violations(download(&house, whole(&id, ExportFormat::Unspecified)).await);
    assert_eq!(unknown, ["format: Input should be 'pdf' or 'markdown'"]);
}

async fn an_export_is_replaced_and_the_old_file_goes(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    for bytes in [b"%PDF-1", b"%PDF-2", b"%PDF-2"] {
        house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, bytes).await.unwrap();
        assert_eq!(house.stored_files().len(), 1);
    }
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    let (_, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
    assert_eq!(chunks.concat(), b"%PDF-2");
    let late = fault(house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, b"%PDF-3").await);
    assert_eq!(late.reason, "DOCUMENT_STATE");
    assert_eq!(house.stored_files().len(), 1);
}

async fn a_new_job_s_files_take_the_place_of_the_old_ones(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    for format in [ExportFormat::Pdf, ExportFormat::Markdown] {
        house.put_export(&id, fence("job-1", 1), format, b"old").await.unwrap();
    }
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    house.attach(&id, "job-2").await.unwrap();
    house.report(&id, fence("job-2", 1), DocumentStatus::Generating).await.unwrap();
    let unproven = fault(house.report(&id, fence("job-2", 1), DocumentStatus::Completed).await);
    assert_eq!(unproven.reason, "EXPORT_MISSING", "the PDF of an earlier job is no delivery");
    house.put_export(&id, fence("job-2", 1), ExportFormat::Pdf, b"new").await.unwrap();
    house.report(&id, fence("job-2", 1), DocumentStatus::Completed).await.unwrap();
    let (_, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
    assert_eq!(chunks.concat(), b"new");
    assert_eq!(fault(download(&house, whole(&id, ExportFormat::Markdown)).await).reason, "EXPORT_NOT_FOUND");
    assert_eq!(house.stored_files().len(), 1);
}

async fn a_delivered_file_outlives_a_later_job_that_fails(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, b"old").await.unwrap();
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    for (job, end) in [("job-2", DocumentStatus::Failed), ("job-3", DocumentStatus::Cancelled)] {
        house.attach(&id, job).await.unwrap();
        house.report(&id, fence(job, 1), DocumentStatus::Generating).await.unwrap();
        for format in [ExportFormat::Pdf, ExportFormat::Markdown] {
            house.put_export(&id, fence(job, 1), format, b"half").await.unwrap();
        }
        for reported in [DocumentStatus::Generating, end] {
            house.report(&id, fence(job, 1), reported).await.unwrap();
            let (export, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
            assert_eq!((export.pages, chunks.concat().as_slice()), (12, b"old".as_slice()));
            let other = fault(download(&house, whole(&id, ExportFormat::Markdown)).await);
            assert_eq!(other.reason, "EXPORT_NOT_FOUND");
        }
        assert_eq!(house.stored_files().len(), 1, "what the job exported is gone");
    }
    assert_eq!(house.get("ada", &id).await.unwrap().counted_pages, 12);
    let over = fault(house.attach(&id, "job-1").await);
    assert_eq!(over.reason, "DOCUMENT_HAS_JOB", "the job that delivered cannot write again");
}

async fn a_cancelled_job_delivers_the_part_that_it_counts(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    let cancel = || house.report_pages(&id, fence("job-1", 1), DocumentStatus::Cancelled, 5);
    let unproven = fault(cancel().await);
    assert_eq!((unproven.kind, unproven.reason.as_str()), (Kind::Precondition, "EXPORT_MISSING"));
    house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, b"%PDF-part").await.unwrap();
    house.put_export(&id, fence("job-1", 1), ExportFormat::Markdown, b"# Part\n").await.unwrap();
    for _ in 0..2 {
        cancel().await.unwrap();
        let (export, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
        assert_eq!((export.pages, chunks.concat().as_slice()), (5, b"%PDF-part".as_slice()));
        download(&house, whole(&id, ExportFormat::Markdown)).await.unwrap();
    }
    let document = house.get("ada", &id).await.unwrap();
    assert_eq!((document.status(), document.counted_pages), (DocumentStatus::Cancelled, 5));
    let stranger = house.user("eve", whole(&id, ExportFormat::Pdf));
    assert_eq!(fault(house.client.clone().download_export(stranger).await).kind, Kind::NotFound);
}

async fn a_part_takes_no_delivered_file_s_place(backend: Backend) {
    let house = House::open(backend).await;
    let id = house.generating().await.id;
    house.put_export(&id, fence("job-1", 1), ExportFormat::Pdf, b"whole").await.unwrap();
    house.report(&id, fence("job-1", 1), DocumentStatus::Completed).await.unwrap();
    house.attach(&id, "job-2").await.unwrap();
    house.report(&id, fence("job-2", 1), DocumentStatus::Generating).await.unwrap();
    house.put_export(&id, fence("job-2", 1), ExportFormat::Pdf, b"part").await.unwrap();
    let refused = fault(house.report_pages(&id, fence("job-2", 1), DocumentStatus::Cancelled, 5).await);
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Conflict, "DOCUMENT_HAS_JOB"));
    assert_eq!(house.status(&id).await, DocumentStatus::Generating);
    house.report(&id, fence("job-2", 1), DocumentStatus::Cancelled).await.unwrap();
    let (export, chunks) = download(&house, whole(&id, ExportFormat::Pdf)).await.unwrap();
    assert_eq!((export.pages, chunks.concat().as_slice()), (12, b"whole".as_slice()));
    assert_eq!(house.stored_files().len(), 1, "what the job exported is gone");
}

//! Describing, listing, changing and removing documents.

use quire_document::{PageRule, SpecRules, Writer};
use quire_fault::Kind;
use quire_proto::document::v1 as pb;
use quire_testkit::Backend;
use tonic::Code;

use crate::house::{House, fault, titled, violations};

quire_testkit::on_both_databases!(
    two_pages_are_too_few_and_the_words_are_exact,
    a_lower_bound_of_one_accepts_one_page,
    a_section_has_1_to_100_pages,
    all_violations_come_at_once_in_field_order,
    validate_only_stores_nothing_and_leaves_absent_fields_alone,
    control_characters_are_refused,
    an_id_that_is_none_names_nothing,
    somebody_else_s_document_is_not_found,
    a_call_without_a_token_is_refused,
    a_list_is_paged_newest_first,
    a_draft_is_changed_field_by_field,
    a_removed_document_is_gone_with_its_files,
    documents_survive_a_restart,
);

fn pages(count: i32) -> pb::DocumentSpec {
    pb::DocumentSpec { target_pages: Some(count), ..titled("On paper") }
}

async fn two_pages_are_too_few_and_the_words_are_exact(backend: Backend) {
    let house = House::open(backend).await;
    let refused = violations(house.create("ada", pages(2)).await);
    assert_eq!(refused, ["target_pages: Input should be greater than or equal to 3"]);
    let refused = violations(house.create("ada", pages(1001)).await);
    assert_eq!(refused, ["target_pages: Input should be less than or equal to 1000"]);
    for count in [3, 1000] {
        assert_eq!(house.create("ada", pages(count)).await.unwrap().target_pages, count);
    }
    assert_eq!(house.create("ada", titled("On paper")).await.unwrap().target_pages, 50);
}

async fn a_lower_bound_of_one_accepts_one_page(backend: Backend) {
    let rules = SpecRules {
        pages: PageRule::default().with_document_min(1),
        writers: vec![Writer::Digest],
        default_writer: Writer::Digest,
    };
    let house = House::open_with(backend, rules).await;
    for count in [1, 3, 50] {
        assert_eq!(house.create("ada", pages(count)).await.unwrap().target_pages, count);
    }
    for count in [0, -5] {
        let refused = violations(house.create("ada", pages(count)).await);
        assert_eq!(refused, ["target_pages: Input should be greater than or equal to 1"]);
    }
    let refused = violations(house.create("ada", pages(1001)).await);
    assert_eq!(refused, ["target_pages: Input should be less than or equal to 1000"]);
    assert_eq!(house.create("ada", titled("On paper")).await.unwrap().target_pages, 50);
}

async fn a_section_has_1_to_100_pages(backend: Backend) {
    let house = House::open(backend).await;
    let section = |spec| pb::DocumentSpec { kind: Some(pb::DocumentKind::Section.into()), ..spec };
    assert_eq!(house.create("ada", section(titled("One"))).await.unwrap().target_pages, 10);
    for count in [1, 100] {
        assert_eq!(house.create("ada", section(pages(count))).await.unwrap().target_pages, count);
    }
    for (count, word) in [(0, "greater than or equal to 1"), (101, "less than or equal to 100")] {
        let refused = violations(house.create("ada", section(pages(count))).await);
        assert_eq!(refused, [format!("target_pages: Input should be {word}")]);
    }
}

async fn all_violations_come_at_once_in_field_order(backend: Backend) {
    let house = House::open(backend).await;
    let spec = pb::DocumentSpec {
        title: None,
        topic: Some("x".repeat(4001)),
        language: Some("tlh".to_owned()),
        target_pages: Some(0),
        kind: Some(77),
        writer: Some("openai".to_owned()),
        fallback_writers: Some(pb::WriterNames { names: vec!["openai".to_owned()] }),
        ..Default::default()
    };
    let outcome = house.create("ada", spec).await;
    assert_eq!(outcome.as_ref().unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(
        violations(outcome),
        [
            "title: Field required",
            "topic: String should have at most 4000 characters",
            "language: Input should be 'en', 'de', 'fr', 'it', 'es', 'ru' or 'uk'",
            "target_pages: Input should be greater than or equal to 3",
            "kind: Input should be 'document' or 'section'",
            "writer: Input should be 'digest'",
            "fallback_writers.0: Value error, openai is the writer itself",
        ]
    );
}

async fn validate_only_stores_nothing_and_leaves_absent_fields_alone(backend: Backend) {
    let house = House::open(backend).await;
    let check = |spec| {
        let message =
            pb::CreateDocumentRequest { spec: Some(spec), validate_only: true, ..Default::default() };
        let request = house.user("ada", message);
        let mut client = house.client.clone();
        async move { client.create_document(request).await }
    };
    let only_pages = pb::DocumentSpec { target_pages: Some(2), ..pb::DocumentSpec::default() };
    assert_eq!(violations(check(only_pages).await).len(), 1);
    let good = pb::DocumentSpec { target_pages: Some(3), ..pb::DocumentSpec::default() };
    assert_eq!(check(good).await.unwrap().into_inner().document, None);
    let listed =
        house.client.clone().list_documents(house.user("ada", pb::ListDocumentsRequest::default())).await;
    assert!(listed.unwrap().into_inner().documents.is_empty());
}

async fn control_characters_are_refused(backend: Backend) {
    let house = House::open(backend).await;
    let spec = pb::DocumentSpec { topic: Some("a\u{1b}b".to_owned()), ..titled("On\0paper") };
    let refused = violations(house.create("ada", spec).await);
    let expected =
        ["title", "topic"].map(|field| format!("{field}: Value error, control characters are not accepted"));
    assert_eq!(refused, expected);
    let spec = pb::DocumentSpec { topic: Some("one\n\ttwo".to_owned()), ..titled("On paper") };
    let document = house.create("ada", spec).await.unwrap();
    assert_eq!(document.topic, "one\n\ttwo");
    let refused = violations(house.upload(&document.id, "no\0tes.txt", b"Paper.").await);
    assert_eq!(refused, ["file: Value error, control characters are not accepted"]);
    let chapter_titles = vec!["Rags\0".to_owned()];
    let message =
        pb::SetOutlineRequest { document_id: document.id.clone(), chapter_titles, ..Default::default() };
    let refused = violations(house.client.clone().set_outline(house.user("ada", message)).await);
    assert_eq!(refused, ["chapter_titles.0: Value error, control characters are not accepted"]);
}

async fn an_id_that_is_none_names_nothing(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(3).await;
    for id in ["", "x", "\0", &document.id.replace('-', "\0")] {
        assert_eq!(fault(house.get("ada", id).await).reason, "DOCUMENT_NOT_FOUND");
        assert_eq!(fault(house.prepare("ada", id).await).reason, "DOCUMENT_NOT_FOUND");
        assert_eq!(fault(house.attach(id, "job-1").await).reason, "DOCUMENT_NOT_FOUND");
        let failed = pb::DocumentStatus::Failed;
        let refused = house.report(id, crate::house::fence("job-1", 1), failed).await;
        assert_eq!(fault(refused).reason, "DOCUMENT_NOT_FOUND");
        let message = pb::DeleteSourceRequest { document_id: document.id.clone(), source_id: id.to_owned() };
        let refused = house.client.clone().delete_source(house.user("ada", message)).await;
        assert_eq!(fault(refused).reason, "SOURCE_NOT_FOUND");
        // A token of the right form with that id in it.
        let page_token: String =
            format!("7:{id}").bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let message = pb::ListDocumentsRequest { page_size: 2, page_token };
        let refused = house.client.clone().list_documents(house.user("ada", message)).await;
        assert_eq!(violations(refused), ["page_token: Value error, this token was not given out"]);
    }
}

async fn somebody_else_s_document_is_not_found(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(3).await;
    let foreign = fault(house.get("eve", &document.id).await);
    let unknown = fault(house.get("eve", "no-such-id").await);
    assert_eq!(foreign, unknown);
    assert_eq!((foreign.kind, foreign.reason.as_str()), (Kind::NotFound, "DOCUMENT_NOT_FOUND"));
    let message = pb::DeleteDocumentRequest { document_id: document.id.clone() };
    let refused = house.client.clone().delete_document(house.user("eve", message)).await;
    assert_eq!(fault(refused).kind, Kind::NotFound);
    let message = pb::ListSourcesRequest { document_id: document.id.clone() };
    let refused = house.client.clone().list_sources(house.user("eve", message)).await;
    assert_eq!(fault(refused).kind, Kind::NotFound);
    assert_eq!(fault(house.prepare("eve", &document.id).await).kind, Kind::NotFound);
    assert_eq!(house.get("ada", &document.id).await.unwrap(), document);
}

async fn a_call_without_a_token_is_refused(backend: Backend) {
    let house = House::open(backend).await;
    let bare = house.client.clone().list_documents(pb::ListDocumentsRequest::default()).await;
    assert_eq!(bare.unwrap_err().code(), Code::Unauthenticated);
    let message = pb::GetBriefRequest { document_id: house.draft(3).await.id };
    let user = house.client.clone().get_brief(house.user("ada", message.clone())).await;
    assert_eq!(user.unwrap_err().code(), Code::Unauthenticated);
    let payment = house.client.clone().get_brief(house.service("payment", message)).await;
    assert_eq!(payment.unwrap_err().code(), Code::PermissionDenied);
}

async fn a_list_is_paged_newest_first(backend: Backend) {
    let house = House::open(backend).await;
    let mut expected = Vec::new();
    for number in 0..5 {
        // Two of them are made in the same microsecond.
        if number != 2 {
            house.clock.advance(std::time::Duration::from_millis(5));
        }
        expected.push(house.create("ada", titled(&format!("Book {number}"))).await.unwrap());
    }
    house.create("eve", titled("Other")).await.unwrap();
    expected.sort_by_key(|document| {
        let made = document.created_at.unwrap();
        std::cmp::Reverse((made.seconds, made.nanos, document.id.clone()))
    });
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = pb::ListDocumentsRequest { page_size: 2, page_token };
        let page =
            house.client.clone().list_documents(house.user("ada", message)).await.unwrap().into_inner();
        assert!(page.documents.len() <= 2);
        found.extend(page.documents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, expected);
    let message = pb::ListDocumentsRequest { page_size: -1, page_token: "made up".to_owned() };
    let refused = house.client.clone().list_documents(house.user("ada", message)).await;
    assert_eq!(violations(refused).len(), 2);
}

async fn a_draft_is_changed_field_by_field(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(40).await;
    let update = |spec| house.update("ada", &document.id, spec);
    let spec = pb::DocumentSpec { language: Some("uk".to_owned()), ..pb::DocumentSpec::default() };
    let changed = update(spec).await.unwrap();
    assert_eq!((changed.language.as_str(), changed.target_pages), ("uk", 40));
    assert_eq!(changed.title, "On paper");
    house.attach(&document.id, "job-1").await.unwrap();
    let refused = fault(update(titled("Too late")).await);
    assert_eq!((refused.kind, refused.reason.as_str()), (Kind::Precondition, "DOCUMENT_STATE"));
    assert_eq!(refused.metadata["status"], "queued");
}

async fn a_removed_document_is_gone_with_its_files(backend: Backend) {
    let house = House::open(backend).await;
    let document = house.draft(3).await;
    house.upload(&document.id, "notes.txt", b"Paper is made of fibres.").await.unwrap();
    assert_eq!(house.stored_files().len(), 1);
    let delete = || {
        let message = pb::DeleteDocumentRequest { document_id: document.id.clone() };
        let request = house.user("ada", message);
        let mut client = house.client.clone();
        async move { client.delete_document(request).await }
    };
    house.attach(&document.id, "job-1").await.unwrap();
    assert_eq!(fault(delete().await).kind, Kind::Conflict);
    let cancelled = pb::DocumentStatus::Cancelled;
    house.report(&document.id, crate::house::fence("job-1", 1), cancelled).await.unwrap();
    delete().await.unwrap();
    assert_eq!(fault(house.get("ada", &document.id).await).kind, Kind::NotFound);
    assert!(house.stored_files().is_empty());
}

async fn documents_survive_a_restart(backend: Backend) {
    let mut house = House::open(backend).await;
    let document = house.draft(7).await;
    house.restart().await;
    assert_eq!(house.get("ada", &document.id).await.unwrap(), document);
}

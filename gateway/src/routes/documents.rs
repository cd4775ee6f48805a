//! Documents: describe, read, list, change, remove; their sections.

use axum::Json;
use axum::extract::Path;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use quire_proto::document::v1 as pb;
use serde_json::json;

use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::ApiResult;
use crate::idempotency::{self, IdempotencyKey};
use crate::pages::Parameters;
use crate::render;
use crate::state::Shared;
use crate::upstream;

/// In the order in which violations are reported.
const FIELDS: [&str; 8] =
    ["title", "topic", "language", "target_pages", "kind", "writer", "fallback_writers", "review_outline"];

pub(crate) async fn create(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    key: IdempotencyKey,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    body.required("title");
    let spec = spec(&mut body);
    // With a field of the wrong shape nothing can be made, but the other fields are still checked, so that the
    // client learns of every mistake at once.
    let validate_only = !body.is_well_formed();
    let message =
        pb::CreateDocumentRequest { spec: Some(spec), validate_only, idempotency_key: key.0.clone() };
    let answer =
        state.upstream.document.clone().create_document(state.upstream.quick(&caller, message)).await;
    let answer = answer.map_err(|status| key.blame(body.blame_with(status, &FIELDS)))?;
    body.finish()?;
    let replayed = idempotency::replayed(answer.metadata());
    let document = answer.into_inner().document.unwrap_or_default();
    let location = HeaderValue::from_str(&format!("/api/v1/documents/{}", document.id));
    let location = location.unwrap_or(HeaderValue::from_static("/api/v1/documents"));
    Ok((StatusCode::CREATED, replayed, [(LOCATION, location)], Json(render::document(&document))))
}

pub(crate) async fn list(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    parameters: Parameters,
) -> ApiResult<impl IntoResponse> {
    let (page_size, page_token) = parameters.page()?;
    let answer = upstream::read(|| async {
        let message = pb::ListDocumentsRequest { page_size, page_token: page_token.clone() };
        state.upstream.document.clone().list_documents(state.upstream.quick(&caller, message)).await
    });
    let answer = answer.await.map_err(|status| parameters.blame(status))?;
    let documents: Vec<_> = answer.documents.iter().map(render::document).collect();
    Ok(Json(json!({ "documents": documents, "next_page_token": answer.next_page_token })))
}

pub(crate) async fn read(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let message = pb::GetDocumentRequest { document_id: document_id.clone() };
        state.upstream.document.clone().get_document(state.upstream.quick(&caller, message)).await
    });
    Ok(Json(render::document(&answer.await?.document.unwrap_or_default())))
}

pub(crate) async fn update(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    let spec = spec(&mut body);
    let validate_only = !body.is_well_formed();
    let message = pb::UpdateDocumentRequest { document_id, spec: Some(spec), validate_only };
    let answer =
        state.upstream.document.clone().update_document(state.upstream.quick(&caller, message)).await;
    let answer = answer.map_err(|status| body.blame_with(status, &FIELDS))?.into_inner();
    body.finish()?;
    Ok(Json(render::document(&answer.document.unwrap_or_default())))
}

pub(crate) async fn delete(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<StatusCode> {
    let request = state.upstream.quick(&caller, pb::DeleteDocumentRequest { document_id });
    state.upstream.document.clone().delete_document(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn sections(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let message = pb::ListSectionsRequest { document_id: document_id.clone() };
        state.upstream.document.clone().list_sections(state.upstream.quick(&caller, message)).await
    });
    let sections: Vec<_> = answer.await?.sections.iter().map(render::section).collect();
    Ok(Json(json!({ "sections": sections })))
}

fn spec(body: &mut Body) -> pb::DocumentSpec {
    pb::DocumentSpec {
        title: body.text("title"),
        topic: body.text("topic"),
        language: body.text("language"),
        target_pages: body.integer("target_pages"),
        kind: body.word("kind", &["document", "section"]).map(|word| {
            let kind = if word == "section" { pb::DocumentKind::Section } else { pb::DocumentKind::Document };
            kind.into()
        }),
        writer: body.text("writer"),
        review_outline: body.boolean("review_outline"),
        fallback_writers: body.texts("fallback_writers").map(|names| pb::WriterNames { names }),
    }
}

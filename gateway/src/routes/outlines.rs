//! Outlines: read, change before they are written, approve.

use axum::Json;
use axum::extract::Path;
use axum::response::IntoResponse;
use quire_fault::Rule;
use quire_proto::document::v1 as pb;
use quire_proto::job::v1 as job;
use serde_json::{Value, json};

use crate::bearer::SignedIn;
use crate::body::Body;
use crate::error::ApiResult;
use crate::render;
use crate::state::Shared;
use crate::upstream;

pub(crate) async fn read(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let answer = upstream::read(|| async {
        let message = pb::GetOutlineRequest { document_id: document_id.clone() };
        state.upstream.document.clone().get_outline(state.upstream.quick(&caller, message)).await
    });
    let answer = answer.await?;
    let mut outline = render::outline(&answer.outline.unwrap_or_default());
    outline["awaits_approval"] = json!(answer.awaits_approval);
    outline["preview"] = json!(answer.preview);
    Ok(Json(outline))
}

/// Of a draft the titles of the chapters, `chapter_titles`; of an outline that waits for approval its `chapters`.
pub(crate) async fn change(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
    mut body: Body,
) -> ApiResult<impl IntoResponse> {
    if !body.has("chapters") {
        body.required("chapter_titles");
    }
    let chapter_titles = body.texts("chapter_titles").unwrap_or_default();
    let chapters = chapters(&mut body);
    body.finish()?;
    let message = pb::SetOutlineRequest { document_id, chapter_titles, chapters };
    let answer = state.upstream.document.clone().set_outline(state.upstream.quick(&caller, message)).await;
    let answer = answer.map_err(|status| body.blame(status))?.into_inner();
    Ok(Json(render::outline(&answer.outline.unwrap_or_default())))
}

pub(crate) async fn approve(
    state: Shared,
    SignedIn { caller, .. }: SignedIn,
    Path(document_id): Path<String>,
) -> ApiResult<impl IntoResponse> {
    let request = state.upstream.quick(&caller, job::ApproveOutlineRequest { document_id });
    let answer = state.upstream.job.clone().approve_outline(request).await?.into_inner();
    Ok(Json(render::job::job(&answer.job.unwrap_or_default())))
}

/// What has the wrong shape is noted.
fn chapters(body: &mut Body) -> Vec<pb::OutlineChapter> {
    let items = body.items("chapters").unwrap_or_default();
    let chapter = |(place, item): (usize, Value)| {
        let path = format!("chapters.{place}");
        let sections = match item.get("sections") {
            Some(Value::Array(sections)) => sections.clone(),
            Some(_) => {
                body.note(&format!("{path}.sections"), Rule::ListType);
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut text = |path: &str, item: &Value, field: &str| match item.get(field) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) if item.is_object() => String::new(),
            _ => {
                body.note(&format!("{path}.{field}"), Rule::StringType);
                String::new()
            }
        };
        let title = text(&path, &item, "title");
        let section = |(place, item): (usize, Value)| {
            let path = format!("{path}.sections.{place}");
            pb::OutlineSection {
                key: text(&path, &item, "key"),
                title: text(&path, &item, "title"),
                brief: text(&path, &item, "brief"),
                ..Default::default()
            }
        };
        pb::OutlineChapter { title, sections: sections.into_iter().enumerate().map(section).collect() }
    };
    items.into_iter().enumerate().map(chapter).collect()
}

//! The service itself: is it alive, can it serve, what does it offer.

use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::json;

use crate::App;
use crate::answer::Json;
use crate::error::{ApiError, Code, Source};
use crate::operation::Operation;

async fn healthz() -> Json {
    Json::of(br#"{"status":"ok"}"#.to_vec())
}

/// Whether what runs by itself in this process does. The names are nobody's secret.
fn tasks(app: &App) -> Result<(), ApiError> {
    let ailing = app.0.process.ailing.as_ref().map_or_else(Vec::new, |ailing| ailing());
    if ailing.is_empty() {
        return Ok(());
    }
    let names = ailing.join(", ");
    Err(ApiError::unavailable(&format!("What runs by itself has not come round for long: {names}")))
}

async fn readyz(State(app): State<App>) -> Result<Json, ApiError> {
    tasks(&app)?;
    match app.domain().ready().await {
        Ok(()) => Ok(Json::of(br#"{"status":"ready"}"#.to_vec())),
        Err(unready) => {
            tracing::warn!(reason = unready.reason(), "not ready: {unready}");
            let text = unready.to_string();
            Err(match unready.may_pass() {
                true => ApiError::unavailable(&text),
                false => ApiError::new(Code::Unavailable, &text, Source::Nowhere),
            })
        }
    }
}

async fn openapi(State(app): State<App>) -> impl IntoResponse {
    Json::standing(&app.0.documents.openapi)
}

pub(super) fn operations() -> Vec<Operation> {
    let status =
        || json!({ "type": "object", "properties": { "status": { "type": "string" } }, "required": ["status"] });
    vec![
        Operation::get("/healthz", "healthz", "Whether the process answers", healthz).public().answers_document(status),
        Operation::get(
            "/readyz",
            "readyz",
            "Whether the database answers and takes a write, and what runs by itself does",
            readyz,
        )
        .public()
        .answers_document(status),
        Operation::get("/openapi.json", "openapi", "This description", openapi).public().answers_document(|| {
            json!({
                "type": "object",
                "properties": { "openapi": { "type": "string" }, "paths": { "type": "object" } },
                "required": ["openapi", "paths"],
            })
        }),
    ]
}

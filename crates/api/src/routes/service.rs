//! The service itself: is it alive, can it serve, what does it offer.

use axum::extract::State;
use serde_json::json;

use crate::App;
use crate::answer::Json;
use crate::error::ApiError;
use crate::operation::Operation;

async fn healthz() -> Json {
    Json::of(br#"{"status":"ok"}"#.to_vec())
}

async fn readyz(State(app): State<App>) -> Result<Json, ApiError> {
    match app.domain().ready().await {
        Ok(()) => Ok(Json::of(br#"{"status":"ready"}"#.to_vec())),
        Err(unready) => {
            tracing::warn!(reason = unready.reason(), "not ready: {unready}");
            Err(ApiError::unavailable(&unready.to_string()))
        }
    }
}

async fn openapi(State(app): State<App>) -> Json {
    Json::of(app.0.documents.openapi.clone().into_bytes())
}

pub(super) fn operations() -> Vec<Operation> {
    let status =
        || json!({ "type": "object", "properties": { "status": { "type": "string" } }, "required": ["status"] });
    vec![
        Operation::get("/healthz", "healthz", "Whether the process answers", healthz).public().answers_document(status),
        Operation::get("/readyz", "readyz", "Whether the database answers and takes a write, too", readyz)
            .public()
            .answers_document(status),
        Operation::get("/openapi.json", "openapi", "This description", openapi)
            .public()
            .answers_document(|| json!({ "type": "object", "required": ["openapi", "paths"] })),
    ]
}

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

async fn readyz(State(app): State<App>) -> Result<Json, ApiError> {
    match app.domain().ping().await {
        Ok(()) => Ok(Json::of(br#"{"status":"ready"}"#.to_vec())),
        Err(error) => {
            let _ = ApiError::from(error);
            Err(ApiError::new(Code::Unavailable, "The database does not answer", Source::Nowhere))
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
        Operation::get("/readyz", "readyz", "Whether the database answers too", readyz)
            .public()
            .answers_document(status),
        Operation::get("/openapi.json", "openapi", "This description", openapi)
            .public()
            .answers_document(|| json!({ "type": "object", "required": ["openapi", "paths"] })),
    ]
}

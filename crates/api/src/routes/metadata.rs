//! Definitions of custom attributes.

use axum::extract::State;
use konverse_domain::permissions::{ReadMetadata, UpdateMetadata};
use konverse_model::input::METADATA_UPDATE;
use konverse_model::resource::MetadataAttributes;

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathText};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

const RESOURCE: &str = "Whose custom attributes are defined.";
const RESOURCES: &str = "^(company|conversation|customer|message)$";

async fn read(Caller(auth): Caller<ReadMetadata>, State(app): State<App>, PathText(resource): PathText) -> Answered {
    let found = app.domain().metadata(&auth, &resource).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "resource"))
}

async fn put(
    Caller(auth): Caller<UpdateMetadata>,
    State(app): State<App>,
    PathText(resource): PathText,
    body: JsonBody,
) -> Answered {
    let body = body.read(&METADATA_UPDATE)?;
    let changed = app.domain().update_metadata(&auth, &resource, body).await;
    changed.map(|metadata| answer::record(&metadata)).map_err(|error| ApiError::of_look_up(error, "resource"))
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = MetadataAttributes;
    vec![
        Operation::get(
            "/v1/metadata/{resource}",
            "read-metadata",
            "The definitions of the custom attributes of company, conversation, customer or message",
            read,
        )
        .path_param("resource", RESOURCE, RESOURCES)
        .details(
            "A definition is made by the first write of an attribute. What is `sensitive` is shown as `{\"isMasked\": true, \
             \"maskedPresentation\": \"********\"}` to tokens without the right to see it.",
        )
        .roles::<ReadMetadata>()
        .answers_one::<Shown>(),
        Operation::change(
            "/v1/metadata/{resource}",
            "put-metadata",
            "Merges definitions of custom attributes; null deletes one",
            put,
        )
        .path_param("resource", RESOURCE, RESOURCES)
        .details(
            "Each definition that is named is merged into what there is; others stay. The type is that of the name's ending. \
             What is deleted stays in the records, and hidden if it was.",
        )
        .roles::<UpdateMetadata>()
        .body(&METADATA_UPDATE)
        .answers_one::<Shown>(),
    ]
}

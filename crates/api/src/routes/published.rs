//! Operations as published: run by key, with the literal input and output of their vendor page.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::IntoResponse;
use konverse_domain::permissions::{Anyone, ReadConversations};
use konverse_domain::{ConversationQuery, DomainError, Settings};
use konverse_model::input::{OPERATION_INPUT, OperationParameters};
use konverse_model::{CustomerId, FieldError, HEX_DIGITS, Instant};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::App;
use crate::answer::Json;
use crate::error::{ApiError, Code, Source};
use crate::extract::{Caller, JsonBody, PathText, whole_from};
use crate::list::Paging;
use crate::operation::Operation;
use crate::project::project;

/// The operation this project was asked for, word for word.
static GET_CONVERSATIONS_BY_CUSTOMER: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../operations/get-conversations-by-customer.json");
    serde_json::from_str(text).expect("the operation's file is part of the program and checked by its tests")
});

/// The input of that operation, with what is asked of its parameters: they are texts on its page, numbers too.
static INPUT: LazyLock<Value> = LazyLock::new(|| {
    let mut input = OPERATION_INPUT.schema().clone();
    // As in a query, an empty text says nothing.
    let number = |least: u64, text: &str| json!({ "type": ["string", "integer"], "minimum": least, "maximum": 9_007_199_254_740_991_u64, "pattern": text });
    let limits = [
        ("id", json!({ "pattern": HEX_DIGITS })),
        ("page", number(1, r"^(0*[1-9][0-9]*(\.0*)?)?$")),
        ("pageSize", number(0, r"^([0-9]+(\.0*)?)?$")),
        ("fromDate", json!({ "anyOf": [{ "format": "date-time" }, { "maxLength": 0 }] })),
    ];
    for (name, limits) in limits {
        let parameter = input.pointer_mut(&format!("/properties/parameters/properties/{name}"));
        if let (Some(Value::Object(parameter)), Value::Object(limits)) = (parameter, limits) {
            parameter.extend(limits);
        }
    }
    input
});

/// What is known of each published operation.
pub(super) fn documents() -> Vec<Value> {
    vec![GET_CONVERSATIONS_BY_CUSTOMER.clone()]
}

async fn list(Caller(_): Caller<Anyone>, State(app): State<App>) -> impl IntoResponse {
    Json::standing(&app.0.documents.published)
}

async fn run(
    Caller(auth): Caller<ReadConversations>,
    State(app): State<App>,
    PathText(key): PathText,
    body: JsonBody,
) -> Result<Json, ApiError> {
    let operation = &*GET_CONVERSATIONS_BY_CUSTOMER;
    if operation["key"] != key.as_str() {
        let message = format!("There is no operation {key}; GET /v1/operations lists those there are");
        return Err(ApiError::new(Code::NotFound, &message, Source::Parameter("key")));
    }
    let OperationParameters { id, page, page_size, from_date } = body.read(&OPERATION_INPUT)?.parameters;
    let mut errors = Vec::new();
    let number = |value: Option<Value>, name: &str, least: u64, errors: &mut Vec<FieldError>| {
        let text = match value? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if text.is_empty() {
            return None;
        }
        let wrong = |message| errors.push(FieldError::at(format!("/parameters/{name}"), message));
        whole_from(least, &text).map_err(wrong).ok()
    };
    let customer =
        id.parse::<CustomerId>().map_err(|error| errors.push(FieldError::at("/parameters/id", error.to_string())));
    let page = number(page.0, "page", 1, &mut errors);
    let page_size = number(page_size.0, "pageSize", 0, &mut errors);
    let from = from_date.0.as_deref().filter(|text| !text.is_empty()).map(str::parse::<Instant>).transpose();
    let from = from.map_err(|error| errors.push(FieldError::at("/parameters/fromDate", error.to_string())));
    let (Ok(customer), Ok(from), true) = (customer, from, errors.is_empty()) else {
        return Err(ApiError::fields(&errors));
    };

    let path = format!("/v1/customers/{customer}/conversations");
    let mut paging = Paging::given(path, page.unwrap_or(1), page_size);
    if let Some(text) = from_date.0.as_deref().filter(|_| from.is_some()) {
        paging.repeat("fromDate", text);
    }
    let query = ConversationQuery { from_date: from, sort: None };
    let request = paging.request_into(b"[".to_vec());
    let listed = app.domain().list_customer_conversations(&auth, customer, query, request).await;
    let mut rows = listed.map_err(in_body)?;
    rows.buffer.push(b']');
    let data = projected(&operation["output"]["properties"]["data"]["items"], &rows.buffer, app.domain().settings())?;
    let links: Value = paging.links(&rows).into_iter().map(|(name, link)| (name.to_owned(), json!(link))).collect();
    let answer = json!({
        "meta": { "pageSize": paging.page_size(), "page": paging.page() }, "data": [], "links": links,
    });
    let answer = project(&operation["output"], &answer);
    let members = answer.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| {
        let text = if name == "data" { &data } else { &value.to_string() };
        format!("\"{name}\":{text}")
    });
    Ok(Json::of(format!("{{{}}}", members.collect::<Vec<_>>().join(","))))
}

/// Records, a JSON array, in the form of a schema. One is taken apart at a time: as a tree, a text is several times as much
/// memory, and all together may be as large as an answer can be.
fn projected(schema: &Value, records: &[u8], settings: &Settings) -> Result<String, ApiError> {
    let unreadable = |_| ApiError::new(Code::InternalError, "a stored record cannot be read", Source::Nowhere);
    let records: Vec<&RawValue> = serde_json::from_slice(records).map_err(unreadable)?;
    let mut text = String::from("[");
    for record in records {
        if text.len() > 1 {
            text.push(',');
        }
        let record: Value = serde_json::from_str(record.get()).map_err(unreadable)?;
        text.push_str(&project(schema, &record).to_string());
        if text.len() > settings.answer {
            return Err(in_body(settings.too_large("pageSize", "ask for fewer rows a page")));
        }
    }
    text.push(']');
    Ok(text)
}

/// What is wrong with a parameter, which stands in the body here.
fn in_body(error: DomainError) -> ApiError {
    match error {
        DomainError::Parameter { name, message } => {
            ApiError::fields(&[FieldError::at(format!("/parameters/{name}"), message)])
        }
        other => other.into(),
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/operations",
            "list-operations",
            "The published operations with roles and both schemas",
            list,
        )
        .answers_document(|| {
            json!({
                "type": "object",
                "properties": { "data": { "type": "array", "items": { "type": "object" } } },
                "required": ["data"],
            })
        }),
        Operation::post(
            "/v1/operations/{key}/run",
            "run-operation",
            "Runs a published operation with its literal input and output",
            run,
        )
        .path_param("key", "The operation's key.", "^get-conversations-by-customer$")
        .status(200)
        .roles::<ReadConversations>()
        .described_body(OPERATION_INPUT.name(), &INPUT)
        .answers_document(|| GET_CONVERSATIONS_BY_CUSTOMER["output"].clone()),
    ]
}

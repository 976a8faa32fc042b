//! Searches, and those that are saved.

use std::sync::LazyLock;

use axum::extract::State;
use konverse_domain::permissions::{RunSearches, Search};
use konverse_domain::{Authorized, MOST_FOUND, SearchPage, SearchRequest, Shown, Surface};
use konverse_model::Id;
use konverse_model::input::{SEARCH_CREATE, SEARCH_UPDATE, SearchBody, Shape};
use konverse_model::resource::SavedSearchAttributes;
use serde_json::{Value, json};

use crate::App;
use crate::answer::Json;
use crate::entry::{Changed, Made, Served, created, deleted, listed, read, replaced};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, Query};
use crate::list::Paging;
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

impl Served for SavedSearchAttributes {}

impl Made for SavedSearchAttributes {
    fn body() -> &'static Shape<SearchBody> {
        &SEARCH_CREATE
    }
}

impl Changed for SavedSearchAttributes {
    fn patch() -> &'static Shape<SearchBody> {
        &SEARCH_UPDATE
    }
}

async fn search(Caller(auth): Caller<Search>, State(app): State<App>, query: Query, body: JsonBody) -> Answered {
    let mut paging = Paging::of_whole(&query, MOST_FOUND)?;
    let ids_only = query.flag("idsOnly")?.unwrap_or(false);
    if ids_only {
        paging.repeat("idsOnly", "true");
    }
    let most = most_counted(&query)?;
    let shown = if ids_only { Shown::Ids } else { Shown::Records };
    let found = found(&app, &auth, Surface::Live, body, &paging, shown).await?;
    Ok(paging.answer_found(found, most))
}

async fn search_archive(
    Caller(auth): Caller<Search>,
    State(app): State<App>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let paging = Paging::of_whole(&query, MOST_FOUND)?;
    let found = found(&app, &auth, Surface::Archive, body, &paging, Shown::Records).await?;
    Ok(paging.answer_found(found, u64::MAX))
}

async fn found(
    app: &App,
    auth: &Authorized<Search>,
    surface: Surface,
    JsonBody(body): JsonBody,
    paging: &Paging,
    shown: Shown,
) -> Result<SearchPage, ApiError> {
    let request = SearchRequest { surface, body, page: paging.page(), page_size: paging.page_size(), shown };
    Ok(app.domain().search(auth, request).await?)
}

/// A body is not looked at: clients send `{}`, or nothing.
async fn run(
    Caller(auth): Caller<RunSearches>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
    query: Query,
) -> Answered {
    let mut paging = Paging::of_whole(&query, MOST_FOUND)?;
    let most = most_counted(&query)?;
    let include = query.get("include");
    let shown = match &include {
        None => Shown::Records,
        Some(names) => {
            paging.repeat("include", names);
            let names: Vec<_> = names.split(',').collect();
            // Customers are not asked what they think yet, so nothing comes along for the other name.
            if !names.iter().all(|name| ["customers", "satisfactionResponse"].contains(name)) {
                let message = "must be customers, satisfactionResponse, or both, separated by a comma";
                return Err(ApiError::parameter("include", message));
            }
            if names.contains(&"customers") { Shown::WithCustomers } else { Shown::Records }
        }
    };
    let found = app.domain().run_search(&auth, id, paging.page(), paging.page_size(), shown).await?;
    Ok(match include {
        None => paging.answer_found(found, most),
        Some(_) => paging.answer_found_including(found, most),
    })
}

/// What the total is counted up to. `true` asks for the exact one, which is what is told anyway.
fn most_counted(query: &Query) -> Result<u64, ApiError> {
    match query.number("trackTotalHits", 1) {
        Ok(most) => Ok(most.unwrap_or(u64::MAX)),
        Err(_) if matches!(query.get("trackTotalHits").as_deref(), Some("true" | "false")) => Ok(u64::MAX),
        Err(error) => Err(error),
    }
}

/// What a search is asked with. The names of attributes are too many, and with custom ones not known: the parser says which
/// there are.
static BODY: LazyLock<Value> = LazyLock::new(|| body(true));
static ARCHIVE_BODY: LazyLock<Value> = LazyLock::new(|| body(false));

fn body(is_live: bool) -> Value {
    let criterion = json!({
        "type": "object",
        "description": "Operators with their values, all of which have to hold: equals, not_equals, in, not_in, gt, gte, lt, \
                        lte, contains, not_contains, prefix, set, not_set",
    });
    let group = |meaning: &str| {
        let of_names = json!({ "type": "object", "maxProperties": 20, "additionalProperties": criterion });
        json!({
            "description": meaning,
            "anyOf": [of_names, { "type": "array", "maxItems": 20, "items": { "type": "object" } }],
        })
    };
    let order = json!({ "type": "object", "maxProperties": 5, "additionalProperties": { "enum": ["asc", "desc"] } });
    let context =
        "^(company|customer|message|conversation|conversation_time|note|kobject|kobject_.*|work_session|work_item)$";
    let mut properties = json!({
        "queryContext": { "type": "string", "pattern": context, "default": "customer", "description": "What is returned" },
        "and": group("All of these have to hold"),
        "or": group("At least one of these has to hold, if there are any"),
        "not": group("None of these may hold"),
        "sort": {
            "description": "The order: attributes of what is returned that have one value; then the id",
            "anyOf": [order, { "type": "array", "maxItems": 5, "items": order }],
        },
        "timeZone": { "type": "string", "default": "GMT", "description": "The zone of dates without a time" },
        "includeDeleted": { "type": "boolean", "default": false, "description": "Whether deleted records count" },
    });
    if is_live {
        properties["fields"] = json!({ "type": "array", "maxItems": 20, "items": { "type": "object" },
            "description": "Taken and not used" });
        properties["aggs"] = json!({ "type": "object", "description": "Taken and not used" });
        properties["searchHash"] = json!({ "type": "string", "description": "Taken and not used" });
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A page of what was found.
fn answer() -> Value {
    let text = json!({ "type": "string" });
    let link = json!({ "type": ["string", "null"] });
    let whole = json!({ "type": "integer" });
    json!({
        "type": "object",
        "properties": {
            "meta": {
                "type": "object",
                "properties": {
                    "pageSize": whole, "page": whole, "total": whole, "totalPages": whole,
                    "aggregations": { "type": "object" }, "timed_out": { "type": "boolean" },
                },
                "required": ["pageSize", "page", "total", "totalPages", "aggregations", "timed_out"],
            },
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "type": text, "id": text, "attributes": { "type": "object" }, "relationships": { "type": "object" },
                        "links": { "type": "object" },
                    },
                    "required": ["type", "id"],
                },
            },
            "links": {
                "type": "object",
                "properties": { "self": text, "first": text, "prev": link, "next": link, "last": text },
                "required": ["self", "first", "prev", "next", "last"],
            },
        },
        "required": ["meta", "data", "links"],
    })
}

/// The same, with what comes along.
fn answer_including() -> Value {
    let mut answer = answer();
    let mut included = answer["properties"]["data"].clone();
    included["description"] = json!("Customers, each once; there when `include` is given");
    answer["properties"]["included"] = included;
    answer
}

impl Operation {
    /// A search: it answers with a page of its own form.
    fn searches(self, name: &'static str, body: &'static Value) -> Self {
        self.described_body(name, body).roles::<Search>().finds().answers_document(answer)
    }

    /// It answers with a page of what is found.
    fn finds(self) -> Self {
        self.status(200)
            .param("page", "integer", "Which page, from 1")
            .param("pageSize", "integer", "Rows a page, up to 500; 0 asks for the total alone")
            .most(MOST_FOUND)
    }

    /// The total need not be counted to its end.
    fn counts(self) -> Self {
        self.param("trackTotalHits", "integer", "What the total is counted up to; `true` asks for the exact one.")
            .limit("type", json!(["integer", "boolean"]))
            .limit("minimum", json!(1))
    }
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/v1/customers/search",
            "search",
            "Searches customers, conversations, messages, notes or companies",
            search,
        )
        .searches("Search", &BODY)
        .param("idsOnly", "boolean", "Whether types and ids are enough.")
        .counts(),
        Operation::post(
            "/v1/customers/archive/search",
            "search-archive",
            "Searches by the few attributes the vendor keeps of old records; here of all",
            search_archive,
        )
        .searches("ArchiveSearch", &ARCHIVE_BODY),
        listed::<SavedSearchAttributes>("/v1/customers/searches", "list-searches", "The org's saved searches"),
        created::<SavedSearchAttributes>("/v1/customers/searches", "create-search", "Saves a search"),
        read::<SavedSearchAttributes>("/v1/customers/searches/{id}", "read-search", "A saved search"),
        replaced::<SavedSearchAttributes>(
            "/v1/customers/searches/{id}",
            "put-search",
            "Changes a saved search; `deleted` deletes or restores it",
        ),
        deleted::<SavedSearchAttributes>("/v1/customers/searches/{id}", "delete-search", "Deletes a saved search"),
        Operation::post(
            "/v1/customers/searches/{id}/execution",
            "run-search",
            "Searches for what a saved search asks for; a body is not looked at",
            run,
        )
        .roles::<RunSearches>()
        .finds()
        .answers_document(answer_including)
        .counts()
        .param(
            "include",
            "string",
            "What comes along, under `included`: `customers` (those the rows belong to), `satisfactionResponse` (nothing \
             yet), or both, separated by a comma.",
        )
        .limit("pattern", json!("^(customers|satisfactionResponse)(,(customers|satisfactionResponse))*$")),
    ]
}

//! The caller's own org, and what anybody may know of one by its name.

use axum::extract::State;
use konverse_domain::permissions::{Anyone, ReadOrgs};
use konverse_domain::{DomainError, Org};
use konverse_model::resource::OrgAttributes;
use konverse_model::{Kind, OrgId};
use serde_json::json;

use crate::App;
use crate::answer::{self, Json};
use crate::entry::Answered;
use crate::error::{ApiError, Code};
use crate::extract::{Caller, PathId, PathText};
use crate::operation::Operation;

/// Where the org is served, by the vendor's word for its first region: what clients that choose their host by it expect.
const POD: &str = "prod1";

async fn current(Caller(auth): Caller<Anyone>, State(app): State<App>) -> Answered {
    Ok(answer::record(&app.domain().own_org(&auth).await?))
}

async fn read(Caller(auth): Caller<ReadOrgs>, State(app): State<App>, PathId(id): PathId<OrgId>) -> Answered {
    Ok(answer::record(&app.domain().org(&auth, id).await?))
}

async fn domain(State(app): State<App>, PathText(name): PathText) -> Answered {
    let org = app.domain().org_named(&name).await?;
    let Org { id, name, created_at } =
        org.ok_or_else(|| ApiError::of_look_up(DomainError::NotFound(Kind::Org, name), "name"))?;
    let document = json!({ "data": {
        "type": "domain",
        "id": id,
        "attributes": {
            "name": name, "orgId": id, "reservation": false, "pod": POD, "createdAt": created_at, "updatedAt": created_at,
        },
        "relationships": {},
        "links": { "self": format!("/v1/domains/{name}") },
    } });
    Ok(Json::of(document.to_string()))
}

/// What is told of an org's name.
#[derive(schemars::JsonSchema)]
#[schemars(title = "DomainAttributes", rename_all = "camelCase")]
#[expect(dead_code, reason = "it is there for its schema")]
struct DomainAttributes {
    /// The name.
    name: String,
    /// The org.
    org_id: OrgId,
    /// Whether the name is only kept for somebody: never.
    reservation: bool,
    /// Where the org is served.
    pod: String,
    /// When the org came to be.
    created_at: konverse_model::Instant,
    /// The same.
    updated_at: konverse_model::Instant,
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/orgs/current", "read-current-org", "The caller's org", current)
            .answers_one::<OrgAttributes>(),
        Operation::get("/v1/orgs/{id}", "read-org", "The caller's org; no other is known", read)
            .roles::<ReadOrgs>()
            .answers_one::<OrgAttributes>(),
        Operation::get("/v1/domains/{name}", "read-domain", "Which org has a name", domain)
            .public()
            .refuses(Code::NotFound)
            .answers_one::<DomainAttributes>(),
    ]
}

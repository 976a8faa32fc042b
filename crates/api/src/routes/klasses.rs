//! Klasses and their custom objects. There are none yet: walkers find empty lists, whatever klass they name, and a single
//! one is unknown.

use axum::extract::State;
use konverse_domain::permissions::{ListKobjects, ReadCompanies, ReadCustomers, ReadKlasses, ReadKobjects};
use konverse_domain::{DomainError, Permission, WholePage};
use konverse_model::resource::CompanyAttributes;
use konverse_model::{CustomerId, Id, Kind};
use serde_json::json;

use crate::App;
use crate::entry::Answered;
use crate::error::{ApiError, Code};
use crate::extract::{Caller, PathText, PathTexts, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

/// What the attributes of klasses and custom objects will be is not said yet.
#[derive(schemars::JsonSchema)]
#[schemars(title = "KobjectAttributes")]
struct KobjectAttributes {}

/// A page of a list in which nothing is. Its links repeat a parameter that was given.
fn empty(query: &Query, given: Option<(&str, &str)>) -> Answered {
    let mut paging = Paging::of_whole(query, MOST)?;
    if let Some((name, value)) = given {
        paging.repeat(name, value);
    }
    Ok(paging.answer_whole(WholePage { buffer: paging.request().buffer, more: false }))
}

/// A list of custom objects.
async fn list<P: Permission>(_: Caller<P>, _: PathText, query: Query) -> Answered {
    objects(&query)
}

fn objects(query: &Query) -> Answered {
    let from = query.read::<konverse_model::Instant>("fromDate")?;
    empty(query, from.as_ref().map(|(_, text)| ("fromDate", text.as_str())))
}

/// An id names a klass, anything else the list of a klass's objects.
async fn list_or_read(_: Caller<ListKobjects>, PathText(name): PathText, query: Query) -> Answered {
    match name.parse::<Id>() {
        Ok(_) => Err(DomainError::NotFound(Kind::Klass, name).into()),
        Err(_) => objects(&query),
    }
}

async fn list_klasses(_: Caller<ReadKlasses>, query: Query) -> Answered {
    let status = query.get("status");
    if status.as_deref().is_some_and(|status| !["enabled", "existing_only", "disabled"].contains(&status)) {
        return Err(ApiError::parameter("status", "must be enabled, existing_only or disabled"));
    }
    empty(&query, status.as_deref().map(|status| ("status", status)))
}

async fn read(_: Caller<ReadKobjects>, PathTexts([_, id]): PathTexts) -> Answered {
    match id.strip_prefix("externalId=") {
        Some(external_id) => Err(DomainError::NotFound(Kind::Kobject, format!("externalId={external_id}")).into()),
        None => match id.parse::<Id>() {
            Ok(id) => Err(DomainError::NotFound(Kind::Kobject, id.to_string()).into()),
            Err(error) => Err(ApiError::parameter("id", &error.to_string())),
        },
    }
}

async fn of_customer(
    Caller(auth): Caller<ReadCustomers>,
    State(app): State<App>,
    PathTexts([id, _]): PathTexts,
    query: Query,
) -> Answered {
    let id: CustomerId =
        id.parse().map_err(|error: konverse_model::IdError| ApiError::parameter("id", &error.to_string()))?;
    app.domain().customer(&auth, id).await?;
    empty(&query, None)
}

async fn of_company(
    Caller(auth): Caller<ReadCompanies>,
    State(app): State<App>,
    PathTexts([id, _]): PathTexts,
    query: Query,
) -> Answered {
    let id: Id = id.parse().map_err(|error: konverse_model::IdError| ApiError::parameter("id", &error.to_string()))?;
    app.domain().entry::<CompanyAttributes>(&auth, id).await?;
    empty(&query, None)
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/klasses", "list-klasses", "The org's klasses: there are none yet", list_klasses)
            .roles::<ReadKlasses>()
            .answers_whole_list::<KobjectAttributes>()
            .param("status", "string", "Only klasses of this status.")
            .limit("enum", json!(["enabled", "existing_only", "disabled"])),
        Operation::get(
            "/v1/klasses/{name}",
            "list-klass-kobjects",
            "The custom objects of a klass, by its name; a klass, by its id",
            list_or_read,
        )
        .roles::<ListKobjects>()
        .refuses(Code::NotFound)
        .answers_whole_list::<KobjectAttributes>()
        .param("fromDate", "string", "Only objects changed at or after this moment"),
        Operation::get("/v1/klasses/{name}/{id}", "read-kobject", "A custom object, by id or `externalId=`", read)
            .roles::<ReadKobjects>()
            .answers_one::<KobjectAttributes>(),
        Operation::get("/v1/kobjects/{name}", "list-kobjects", "The custom objects of a klass", list::<ListKobjects>)
            .roles::<ListKobjects>()
            .answers_whole_list::<KobjectAttributes>()
            .param("fromDate", "string", "Only objects changed at or after this moment"),
        Operation::get(
            "/v1/customers/{id}/klasses/{name}",
            "list-customer-kobjects",
            "A customer's custom objects of a klass",
            of_customer,
        )
        .roles::<ReadCustomers>()
        .answers_whole_list::<KobjectAttributes>(),
        Operation::get(
            "/v1/companies/{id}/klasses/{name}",
            "list-company-kobjects",
            "A company's custom objects of a klass",
            of_company,
        )
        .roles::<ReadCompanies>()
        .answers_whole_list::<KobjectAttributes>(),
    ]
}

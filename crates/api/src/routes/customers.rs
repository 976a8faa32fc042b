//! Customers.

use axum::extract::State;
use axum::http::StatusCode;
use konverse_domain::permissions::{CreateCustomers, DeleteCustomers, ReadCustomers, UpdateCustomers};
use konverse_domain::{CustomerQuery, Field, Filter};
use konverse_model::input::{CUSTOMER_CREATE, CUSTOMER_UPDATE};
use konverse_model::resource::CustomerAttributes;
use konverse_model::{CustomerId, Instant};

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, PathText, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

async fn list(Caller(auth): Caller<ReadCustomers>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let conditions = conditions(&query, &mut paging)?;
    let (page, total) = app.domain().list_customers(&auth, conditions, paging.request_into(Vec::new())).await?;
    Ok(paging.answer_with_total(page, total))
}

type MakeFilter = fn(Instant) -> Filter;

/// The filters there are, in the order the statement and the links have them. Each counts once, so that there are few
/// statements to prepare.
const FILTERS: [(&str, &str, MakeFilter); 8] = [
    ("filter[createdAt][gte]", "Only customers created then or later.", |at| Filter::From(Field::CreatedAt, at)),
    ("filter[createdAt][gt]", "Only customers created later.", |at| Filter::After(Field::CreatedAt, at)),
    ("filter[createdAt][lte]", "Only customers created then or before.", |at| Filter::UpTo(Field::CreatedAt, at)),
    ("filter[createdAt][lt]", "Only customers created before.", |at| Filter::Before(Field::CreatedAt, at)),
    ("filter[updatedAt][gte]", "Only customers changed then or later.", |at| Filter::From(Field::UpdatedAt, at)),
    ("filter[updatedAt][gt]", "Only customers changed later.", |at| Filter::After(Field::UpdatedAt, at)),
    ("filter[updatedAt][lte]", "Only customers changed then or before.", |at| Filter::UpTo(Field::UpdatedAt, at)),
    ("filter[updatedAt][lt]", "Only customers changed before.", |at| Filter::Before(Field::UpdatedAt, at)),
];

/// `filter[createdAt][gte]=…`, `filter[updatedAt][lt]=…` and `sort=±field` (2026 documentation).
fn conditions(query: &Query, paging: &mut Paging) -> Result<CustomerQuery, ApiError> {
    // Other unknown parameters are ignored; a comparison that is ignored would show what was to be left out.
    let is_unknown = |name: &&str| {
        name.starts_with("filter[") && name.contains("][") && FILTERS.iter().all(|(known, ..)| known != name)
    };
    if let Some(name) = query.names().find(is_unknown) {
        let message = "is no filter: createdAt and updatedAt can be compared by gte, gt, lte or lt";
        return Err(ApiError::parameter(name, message));
    }
    let mut conditions = CustomerQuery::default();
    for (name, _, filter) in FILTERS {
        if let Some((at, text)) = query.read::<Instant>(name)? {
            conditions.filters.push(filter(at));
            paging.repeat(name, &text);
        }
    }
    conditions.sort = paging.sort(query)?;
    Ok(conditions)
}

async fn create(Caller(auth): Caller<CreateCustomers>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&CUSTOMER_CREATE)?;
    Ok(answer::created(&app.domain().create_customer(&auth, body).await?))
}

async fn read(Caller(auth): Caller<ReadCustomers>, State(app): State<App>, PathId(id): PathId<CustomerId>) -> Answered {
    Ok(answer::one(&app.domain().customer(&auth, id).await?))
}

async fn by_email(Caller(auth): Caller<ReadCustomers>, State(app): State<App>, PathText(email): PathText) -> Answered {
    let found = app.domain().customer_by_email(&auth, &email).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "email"))
}

async fn by_phone(Caller(auth): Caller<ReadCustomers>, State(app): State<App>, PathText(phone): PathText) -> Answered {
    let found = app.domain().customer_by_phone(&auth, &phone).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "phone"))
}

async fn by_external_id(
    Caller(auth): Caller<ReadCustomers>,
    State(app): State<App>,
    PathText(id): PathText,
) -> Answered {
    let found = app.domain().customer_by_external_id(&auth, &id).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "externalId"))
}

async fn patch(
    Caller(auth): Caller<UpdateCustomers>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&CUSTOMER_UPDATE)?;
    Ok(answer::record(&app.domain().update_customer(&auth, id, body, false).await?))
}

async fn put(
    Caller(auth): Caller<UpdateCustomers>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    let body = body.read(&CUSTOMER_UPDATE)?;
    Ok(answer::record(&app.domain().update_customer(&auth, id, body, replace).await?))
}

async fn delete(
    Caller(auth): Caller<DeleteCustomers>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
) -> Result<StatusCode, ApiError> {
    app.domain().delete_customer(&auth, id).await?;
    Ok(answer::nothing())
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = CustomerAttributes;
    vec![
        FILTERS
            .into_iter()
            .fold(
                Operation::get("/v1/customers", "list-customers", "The org's customers, with how many there are", list),
                |operation, (name, description, _)| operation.param(name, "string", description),
            )
            .details("Filters combine: all of them have to hold.")
            .sorted()
            .roles::<ReadCustomers>()
            .answers_list::<Shown>(),
        Operation::post("/v1/customers", "create-customer", "Creates a customer", create)
            .roles::<CreateCustomers>()
            .body(&CUSTOMER_CREATE)
            .answers_one::<Shown>(),
        Operation::get(
            "/v1/customers/email={email}",
            "read-customer-by-email",
            "The customer with an e-mail address",
            by_email,
        )
        .roles::<ReadCustomers>()
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/customers/phone={phone}",
            "read-customer-by-phone",
            "The customer with a phone number",
            by_phone,
        )
        .roles::<ReadCustomers>()
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/customers/externalId={externalId}",
            "read-customer-by-external-id",
            "The customer with an external id",
            by_external_id,
        )
        .roles::<ReadCustomers>()
        .answers_one::<Shown>(),
        Operation::get("/v1/customers/{id}", "read-customer", "A customer", read)
            .of_timeline()
            .roles::<ReadCustomers>()
            .answers_one::<Shown>(),
        Operation::patch(
            "/v1/customers/{id}",
            "update-customer",
            "Changes some attributes; unlinks the company unless named",
            patch,
        )
        .roles::<UpdateCustomers>()
        .body(&CUSTOMER_UPDATE)
        .answers_one::<Shown>(),
        Operation::put("/v1/customers/{id}", "put-customer", "Changes or replaces attributes", put)
            .roles::<UpdateCustomers>()
            .body(&CUSTOMER_UPDATE)
            .answers_one::<Shown>(),
        Operation::delete("/v1/customers/{id}", "delete-customer", "Deletes a customer and all of theirs", delete)
            .roles::<DeleteCustomers>(),
    ]
}

//! Companies, and what an org sets up for its work: shortcuts, brands, SLAs, queues.

use axum::extract::State;
use konverse_domain::permissions::{ReadBrands, ReadSlas};
use konverse_domain::{CompanyFilter, Listed, NoFilter, SlaVersions};
use konverse_model::Id;
use konverse_model::input::{
    BRAND_CREATE, BRAND_UPDATE, BrandBody, COMPANY_CREATE, COMPANY_UPDATE, CompanyBody, SHORTCUT_CREATE,
    SHORTCUT_UPDATE, Shape, ShortcutBody,
};
use konverse_model::resource::{
    BrandAttributes, CompanyAttributes, QueueAttributes, ShortcutAttributes, SlaAttributes,
};
use serde_json::json;

use crate::App;
use crate::answer;
use crate::entry::{Answered, Changed, Made, Served, created, deleted, listed, patched, read, replaced};
use crate::error::{ApiError, Code};
use crate::extract::{Caller, PathId, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

impl Served for CompanyAttributes {
    /// Both filters together count as none.
    fn filter(query: &Query, paging: &mut Paging) -> Result<CompanyFilter, ApiError> {
        Ok(match (query.get("externalId"), query.get("filter")) {
            (Some(external_id), None) => {
                paging.repeat("externalId", &external_id);
                CompanyFilter::ExternalId(external_id)
            }
            (None, Some(name)) => {
                paging.repeat("filter", &name);
                CompanyFilter::Name(name)
            }
            _ => CompanyFilter::All,
        })
    }
}

impl Made for CompanyAttributes {
    fn body() -> &'static Shape<CompanyBody> {
        &COMPANY_CREATE
    }
}

impl Changed for CompanyAttributes {
    fn patch() -> &'static Shape<CompanyBody> {
        &COMPANY_UPDATE
    }
}

impl Served for ShortcutAttributes {}

impl Made for ShortcutAttributes {
    fn body() -> &'static Shape<ShortcutBody> {
        &SHORTCUT_CREATE
    }
}

impl Changed for ShortcutAttributes {
    fn patch() -> &'static Shape<ShortcutBody> {
        &SHORTCUT_UPDATE
    }
}

impl Served for BrandAttributes {}

impl Made for BrandAttributes {
    fn body() -> &'static Shape<BrandBody> {
        &BRAND_CREATE
    }
}

impl Changed for BrandAttributes {
    fn patch() -> &'static Shape<BrandBody> {
        &BRAND_UPDATE
    }
}

impl Served for QueueAttributes {}

async fn default_brand(Caller(auth): Caller<ReadBrands>, State(app): State<App>) -> Answered {
    Ok(answer::one(&app.domain().default_brand(&auth).await?))
}

fn versions(query: &Query) -> Result<Option<SlaVersions>, ApiError> {
    match query.get("versions").as_deref() {
        None => Ok(None),
        Some("active") => Ok(Some(SlaVersions::Active)),
        Some("all") => Ok(Some(SlaVersions::All)),
        Some(_) => Err(ApiError::parameter("versions", "must be all or active")),
    }
}

async fn list_slas(Caller(auth): Caller<ReadSlas>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let versions = versions(&query)?;
    if let (Some(_), Some(text)) = (versions, query.get("versions")) {
        paging.repeat("versions", &text);
    }
    let request = paging.request();
    let begin = request.buffer.len();
    let Listed::Page(page) = app.domain().list_entries::<SlaAttributes>(&auth, NoFilter, request).await? else {
        return Err(ApiError::parameter("page", "is of a list that is known whole"));
    };
    let Some(versions) = versions else { return Ok(paging.answer(page)) };
    let included = app.domain().sla_versions(&auth, &page.buffer[begin..], versions).await?;
    Ok(paging.answer_including(page, &included))
}

async fn read_sla(
    Caller(auth): Caller<ReadSlas>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
    query: Query,
) -> Answered {
    let versions = versions(&query)?;
    let sla = app.domain().entry::<SlaAttributes>(&auth, id).await?;
    let Some(versions) = versions else { return Ok(answer::one(&sla)) };
    let included = app.domain().sla_versions(&auth, sla.as_bytes(), versions).await?;
    Ok(answer::one_including(&sla, &included))
}

pub(super) fn operations() -> Vec<Operation> {
    const CHANGES: &str = "Changes a shortcut; `deleted` deletes or restores it";
    vec![
        listed::<CompanyAttributes>("/v1/companies", "list-companies", "The org's companies")
            .param("externalId", "string", "Only the company with this key; not together with `filter`")
            .param(
                "filter",
                "string",
                "Only companies of this name, whatever the case; not together with `externalId`",
            ),
        created::<CompanyAttributes>("/v1/companies", "create-company", "Creates a company"),
        read::<CompanyAttributes>("/v1/companies/{id}", "read-company", "A company"),
        replaced::<CompanyAttributes>(
            "/v1/companies/{id}",
            "put-company",
            "Changes a company; `deleted` deletes or restores it",
        ),
        listed::<ShortcutAttributes>("/v1/shortcuts", "list-shortcuts", "The org's shortcuts"),
        created::<ShortcutAttributes>("/v1/shortcuts", "create-shortcut", "Creates a shortcut"),
        read::<ShortcutAttributes>("/v1/shortcuts/{id}", "read-shortcut", "A shortcut"),
        replaced::<ShortcutAttributes>("/v1/shortcuts/{id}", "put-shortcut", CHANGES),
        patched::<ShortcutAttributes>("/v1/shortcuts/{id}", "update-shortcut", CHANGES),
        deleted::<ShortcutAttributes>("/v1/shortcuts/{id}", "delete-shortcut", "Deletes a shortcut"),
        listed::<BrandAttributes>("/v1/brands", "list-brands", "The org's brands"),
        created::<BrandAttributes>("/v1/brands", "create-brand", "Creates a brand; the first is the default"),
        Operation::get("/v1/brands/default", "read-default-brand", "The org's default brand", default_brand)
            .roles::<ReadBrands>()
            .refuses(Code::NotFound)
            .answers_one::<BrandAttributes>(),
        read::<BrandAttributes>("/v1/brands/{id}", "read-brand", "A brand"),
        patched::<BrandAttributes>("/v1/brands/{id}", "update-brand", "Changes a brand"),
        Operation::get("/v1/slas", "list-slas", "The org's SLAs", list_slas)
            .roles::<ReadSlas>()
            .answers_list::<SlaAttributes>()
            .param("versions", "string", "Which versions come along, under `included`.")
            .limit("enum", json!(["all", "active"])),
        Operation::get("/v1/slas/{id}", "read-sla", "An SLA", read_sla)
            .roles::<ReadSlas>()
            .answers_one::<SlaAttributes>()
            .param("versions", "string", "Which versions come along, under `included`.")
            .limit("enum", json!(["all", "active"])),
        listed::<QueueAttributes>("/v1/queues", "list-queues", "The org's queues"),
        read::<QueueAttributes>("/v1/queues/{id}", "read-queue", "A queue"),
        listed::<QueueAttributes>("/v1/routing/queues", "list-routing-queues", "The org's queues"),
        read::<QueueAttributes>("/v1/routing/queues/{id}", "read-routing-queue", "A queue"),
    ]
}

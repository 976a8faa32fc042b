//! Companies (contract `resources.md` §5).

use konverse_model::input::CompanyBody;
use konverse_model::resource::{Company, CompanyAttributes, Object};
use konverse_model::{FieldError, Id, Instant, Kind, Patch};
use konverse_store::Space;

use super::entry::{Changeable, Creatable, Desk, Entry, Imported, Name, Only};
use crate::DomainError;
use crate::access::permissions::{CreateCompanies, ReadCompanies, UpdateCompanies};
use crate::unit::{Draft, merge_custom};

/// Which companies a list has.
#[derive(Clone, Debug, Default)]
pub enum CompanyFilter {
    /// All.
    #[default]
    All,
    /// The one with this key.
    ExternalId(String),
    /// Those of this name, whatever the case.
    Name(String),
}

impl Entry for CompanyAttributes {
    type Create = CompanyBody;
    type Filter = CompanyFilter;
    type MayRead = ReadCompanies;

    fn names(&self) -> Vec<Name> {
        let external_id = self.external_id.as_ref();
        external_id.map(|id| Name::exact(Space::CompanyExternalId, id, "/externalId")).into_iter().collect()
    }

    fn only(filter: CompanyFilter) -> Only {
        match filter {
            CompanyFilter::All => Only::Shown,
            CompanyFilter::ExternalId(id) => Only::Named(Space::CompanyExternalId, id),
            CompanyFilter::Name(name) => Only::Labelled(vec![name.to_lowercase()]),
        }
    }

    fn mark_deleted(&mut self, at: Option<Instant>) {
        (self.deleted, self.deleted_at) = (at.is_some(), at);
    }

    fn id(body: &CompanyBody) -> Option<Id> {
        body.id.0
    }

    async fn fresh(desk: &mut Desk<'_>, mut body: CompanyBody) -> Result<Company, DomainError> {
        let told = body.created_at.0.filter(|_| desk.is_admin() || body.imported_at.is_given());
        let created_at = desk.created_at(told);
        let attributes = CompanyAttributes {
            name: String::new(),
            external_id: None,
            avatar_url: None,
            emails: Vec::new(),
            phones: Vec::new(),
            whatsapps: Vec::new(),
            socials: Vec::new(),
            urls: Vec::new(),
            locations: Vec::new(),
            domains: Vec::new(),
            employee_count: None,
            tags: Vec::new(),
            custom: Object::new(),
            default_lang: None,
            role_group_versions: Vec::new(),
            deleted: false,
            deleted_at: None,
            imported_at: body.imported_at.take(),
            created_at,
            updated_at: desk.now(),
            modified_at: desk.modified_at(body.modified_at.0, created_at),
            rev: 1,
        };
        let mut company = desk.document(body.id.0, attributes);
        desk.sign(&mut company, body.created_by.0, body.modified_by.0).await?;
        apply(desk, &mut company.attributes, body, false, false).await?;
        Ok(company)
    }
}

impl Creatable for CompanyAttributes {
    type MayCreate = CreateCompanies;
}

impl Changeable for CompanyAttributes {
    type MayUpdate = UpdateCompanies;
    type Update = CompanyBody;

    fn based_on(body: &CompanyBody) -> Option<i64> {
        body.rev.0
    }

    fn deleted(body: &CompanyBody) -> Patch<bool> {
        body.deleted.clone()
    }

    async fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: CompanyBody,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.external_id.or_clear();
            body.avatar_url.or_clear();
            body.emails.0.get_or_insert_default();
            body.phones.0.get_or_insert_default();
            body.whatsapps.0.get_or_insert_default();
            body.socials.0.get_or_insert_default();
            body.urls.0.get_or_insert_default();
            body.locations.0.get_or_insert_default();
            body.domains.0.get_or_insert_default();
            body.employee_count.or_clear();
            body.tags.0.get_or_insert_default();
            body.default_lang.or_clear();
        }
        apply(desk, &mut draft.doc.attributes, body, true, replace).await
    }
}

impl Imported for CompanyAttributes {
    /// Names are no one company's own.
    fn known_by(body: &CompanyBody) -> Option<(Space, String)> {
        body.external_id.clone().given().map(|id| (Space::CompanyExternalId, id))
    }

    fn custom(body: &CompanyBody) -> Option<&Object> {
        body.custom.0.as_ref()
    }

    fn stamp(body: &mut CompanyBody, at: Instant) {
        body.imported_at.0.get_or_insert(at);
    }
}

/// Puts a body's fields into a company that is new or stored.
async fn apply(
    desk: &mut Desk<'_>,
    company: &mut CompanyAttributes,
    mut body: CompanyBody,
    stored: bool,
    replace: bool,
) -> Result<(), DomainError> {
    let mut errors: Vec<FieldError> = Vec::new();
    let mut custom = body.custom.take().unwrap_or_default();
    desk.references.custom(desk.domain, Kind::Company, &mut custom, stored, &mut errors).await?;
    if replace {
        desk.references.clear_custom(&mut company.custom);
    }
    merge_custom(&mut company.custom, custom, "/custom", &mut errors);
    if let Some(names) = body.tags.take() {
        company.tags = desk.tags(&names, "/tags", &mut errors).await?;
    }
    if !errors.is_empty() {
        return Err(DomainError::Invalid(errors));
    }
    body.name.put(&mut company.name);
    body.external_id.put(&mut company.external_id);
    body.avatar_url.put(&mut company.avatar_url);
    body.emails.put(&mut company.emails);
    body.phones.put(&mut company.phones);
    body.whatsapps.put(&mut company.whatsapps);
    body.socials.put(&mut company.socials);
    body.domains.put(&mut company.domains);
    body.employee_count.put(&mut company.employee_count);
    body.default_lang.put(&mut company.default_lang);
    if let Some(urls) = body.urls.0 {
        company.urls = urls.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    }
    if let Some(locations) = body.locations.0 {
        company.locations = locations.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    }
    Ok(())
}

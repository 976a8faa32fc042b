//! Changing a customer (contract `endpoints.md`, `PATCH` and `PUT /v1/customers/{id}`).

use konverse_model::input::{CustomerBody, ExternalId};
use konverse_model::resource::{Customer, CustomerAttributes};
use konverse_model::{CustomerId, FieldError, Instant, Kind, OrgId, Patch, UserId};
use konverse_store::{Changes, Space};

use super::fold_phone;
use super::name::name_customer;
use crate::access::permissions::UpdateCustomers;
use crate::directory::References;
use crate::timeline::not_ahead;
use crate::unit::{Draft, merge_custom, needed, object};
use crate::{Authorized, Domain, DomainError};

/// Most external ids of a customer, `externalId` among them.
const MOST_EXTERNAL_IDS: usize = 10;

/// What a body says of a customer, beside what it is tied to.
pub(super) struct Edit<'a> {
    pub(super) references: &'a mut References,
    pub(super) changes: &'a mut Changes,
    pub(super) author: Option<UserId>,
    pub(super) now: Instant,
    pub(super) replace: bool,
}

impl Domain {
    /// Changes a customer: merges, or replaces what it does not name.
    pub async fn update_customer(
        &self,
        auth: &Authorized<UpdateCustomers>,
        id: CustomerId,
        body: CustomerBody,
        replace: bool,
    ) -> Result<Customer, DomainError> {
        let org = auth.org();
        let _lock = self.lock(org, id).await;
        let (applied, stored) = self
            .commit(|| async {
                let mut draft = Draft::<CustomerAttributes>::read(self.row(org, Kind::Customer, id.0).await?)?;
                draft.expect_rev(body.rev.0)?;
                let mut references = References::of(self.store.clone(), auth.actor());
                let now = self.now();
                let mut changes = Changes::new(org, now);
                let author = auth.actor().user;
                let edit = Edit { references: &mut references, changes: &mut changes, author, now, replace };
                self.apply_customer(&mut draft, body.clone(), edit, true).await?;
                draft.edited(author, now);
                let stored = draft.finish(author, &mut changes)?;
                references.define(self, author, &mut changes).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(auth.actor().shown_record(stored.settle(&applied)))
    }

    pub(super) async fn apply_customer(
        &self,
        draft: &mut Draft<CustomerAttributes>,
        mut body: CustomerBody,
        edit: Edit<'_>,
        look_up: bool,
    ) -> Result<(), DomainError> {
        let Edit { references, changes, author, now, replace } = edit;
        let mut errors = Vec::new();
        if let Some(custom) = &mut body.custom.0 {
            references.custom(self, Kind::Customer, custom, draft.before().is_some(), &mut errors).await?;
        }
        let tags = match body.tags.take() {
            Some(names) => Some(references.tags(self, &names, "/tags", author, changes, &mut errors).await?),
            None => None,
        };
        for (at, pointer) in [
            (&mut body.last_activity_at, "/lastActivityAt"),
            (&mut body.last_customer_activity_at, "/lastCustomerActivityAt"),
        ] {
            at.0 = not_ahead(at.0, now, pointer, &mut errors);
        }
        let before = draft.before().map(names).unwrap_or_default();
        if replace {
            body = replacing(body);
            references.clear_custom(&mut draft.doc.attributes.custom);
        }
        if let Some(custom) = body.custom.take() {
            merge_custom(&mut draft.doc.attributes.custom, custom, "/custom", &mut errors);
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        // "Omitting `company` unlinks it" (endpoints.md): absent and null are the same here.
        draft.doc.relationships.set_one("company", Kind::Company, body.company.clone().given());
        let attributes = &mut draft.doc.attributes;
        if let Some(tags) = tags.or_else(|| replace.then(Vec::new)) {
            attributes.tags = tags;
        }
        body.external_ids.put(&mut attributes.external_ids);
        put_external_id(attributes, body.external_id);
        body.name.put(&mut attributes.name);
        body.username.put(&mut attributes.username);
        body.signed_up_at.put(&mut attributes.signed_up_at);
        body.last_activity_at.put(&mut attributes.last_activity_at);
        body.last_customer_activity_at.put(&mut attributes.last_customer_activity_at);
        body.last_seen_at.put(&mut attributes.last_seen_at);
        body.avatar_url.put(&mut attributes.avatar_url);
        body.shared_external_ids.put(&mut attributes.shared_external_ids);
        body.emails.put(&mut attributes.emails);
        body.shared_emails.put(&mut attributes.shared_emails);
        body.phones.put(&mut attributes.phones);
        body.shared_phones.put(&mut attributes.shared_phones);
        body.whatsapps.put(&mut attributes.whatsapps);
        body.socials.put(&mut attributes.socials);
        body.shared_socials.put(&mut attributes.shared_socials);
        body.locale.put(&mut attributes.locale);
        body.time_zone.put(&mut attributes.time_zone);
        body.birthday_at.put(&mut attributes.birthday_at);
        body.default_lang.put(&mut attributes.default_lang);
        if let Some(ids) = body.facebook_ids.0 {
            attributes.facebook_ids = ids.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(ids) = body.instagram_ids.0 {
            attributes.instagram_ids = ids.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(urls) = body.urls.0 {
            attributes.urls = urls.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(locations) = body.locations.0 {
            attributes.locations = locations.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        match body.gender {
            Patch::Keep => {}
            Patch::Clear => attributes.gender = None,
            Patch::Set(gender) => {
                attributes.gender = serde_json::to_value(gender)?.as_str().map(str::to_owned);
            }
        }
        match body.sentiment {
            Patch::Keep => {}
            Patch::Clear => attributes.sentiment = None,
            Patch::Set(sentiment) => attributes.sentiment = Some(object(&sentiment)?),
        }
        name_customer(&mut draft.doc);

        let after = names(&draft.doc);
        check_twice(&after, &mut errors);
        if draft.doc.attributes.external_ids.len() > MOST_EXTERNAL_IDS {
            errors.push(FieldError::at(
                "/externalIds",
                format!("must not lead to more than {MOST_EXTERNAL_IDS} entries"),
            ));
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let gone = before.iter().filter(|one| !after.iter().any(|other| (one.0, &one.1) == (other.0, &other.1)));
        for (space, value, _) in gone {
            changes.release(*space, value.clone(), draft.doc.id);
        }
        let new: Vec<_> = after
            .into_iter()
            .filter(|one| !before.iter().any(|other| (one.0, &one.1) == (other.0, &other.1)))
            .collect();
        if look_up && !new.is_empty() {
            let org = needed(draft.doc.relationships.one("org"), "org")?;
            let asked: Vec<_> = new.iter().map(|(space, value, _)| (*space, value.clone())).collect();
            let holders = self.store.holders(OrgId(org), &asked).await?;
            for ((_, _, pointer), holder) in new.iter().zip(holders) {
                if let Some(holder) = holder.filter(|holder| *holder != draft.doc.id) {
                    return Err(DomainError::conflict(
                        pointer.clone(),
                        format!("is already used by customer {holder}"),
                    ));
                }
            }
        }
        for (space, value, _) in new {
            changes.claim(space, value, draft.doc.id);
        }
        Ok(())
    }
}

/// The names a customer holds.
pub(crate) fn names_of(customer: &Customer) -> impl Iterator<Item = (Space, String)> {
    names(customer).into_iter().map(|(space, value, _)| (space, value))
}

/// The names a customer holds, with the place in the body they come from.
fn names(customer: &Customer) -> Vec<(Space, String, String)> {
    let attributes = &customer.attributes;
    let mut names = Vec::new();
    for (n, one) in attributes.emails.iter().enumerate() {
        names.push((Space::CustomerEmail, one.email.to_lowercase(), format!("/emails/{n}/email")));
    }
    for (n, one) in attributes.phones.iter().enumerate() {
        names.push((Space::CustomerPhone, fold_phone(&one.phone), format!("/phones/{n}/phone")));
    }
    for (n, one) in attributes.whatsapps.iter().enumerate() {
        names.push((Space::CustomerWhatsapp, fold_phone(&one.phone), format!("/whatsapps/{n}/phone")));
    }
    for (n, one) in attributes.socials.iter().enumerate() {
        let value = format!("{}:{}", one.kind.name(), one.username.to_lowercase());
        names.push((Space::CustomerSocial, value, format!("/socials/{n}/username")));
    }
    for (n, one) in attributes.external_ids.iter().enumerate() {
        names.push((Space::CustomerExternalId, one.external_id.clone(), format!("/externalIds/{n}/externalId")));
    }
    names
}

fn check_twice(names: &[(Space, String, String)], errors: &mut Vec<FieldError>) {
    for (n, (space, value, pointer)) in names.iter().enumerate() {
        if names[..n].iter().any(|(other, earlier, _)| (other, earlier) == (space, value)) {
            errors.push(FieldError::at(pointer.clone(), "must not name an entry twice"));
        }
    }
}

/// `externalId` is the first of `externalIds`: writing one writes the other.
fn put_external_id(attributes: &mut CustomerAttributes, patch: Patch<String>) {
    match patch {
        Patch::Keep => {}
        Patch::Clear => {
            let old = attributes.external_id.take();
            attributes.external_ids.retain(|one| Some(&one.external_id) != old.as_ref());
        }
        Patch::Set(value) => {
            let old = attributes.external_id.take();
            attributes.external_ids.retain(|one| Some(&one.external_id) != old.as_ref() && one.external_id != value);
            attributes.external_ids.insert(0, ExternalId { external_id: value, verified: true, id: None });
        }
    }
    attributes.external_id = attributes.external_ids.first().map(|one| one.external_id.clone());
}

/// The body that resets what it does not name (`?replace=true`).
fn replacing(mut body: CustomerBody) -> CustomerBody {
    body.name.or_clear();
    body.username.or_clear();
    body.signed_up_at.or_clear();
    body.last_seen_at.or_clear();
    body.avatar_url.or_clear();
    body.locale.or_clear();
    body.time_zone.or_clear();
    body.birthday_at.or_clear();
    body.gender.or_clear();
    body.default_lang.or_clear();
    body.sentiment.or_clear();
    body.external_ids.0.get_or_insert_default();
    body.shared_external_ids.0.get_or_insert_default();
    body.emails.0.get_or_insert_default();
    body.shared_emails.0.get_or_insert_default();
    body.phones.0.get_or_insert_default();
    body.shared_phones.0.get_or_insert_default();
    body.whatsapps.0.get_or_insert_default();
    body.facebook_ids.0.get_or_insert_default();
    body.instagram_ids.0.get_or_insert_default();
    body.socials.0.get_or_insert_default();
    body.shared_socials.0.get_or_insert_default();
    body.urls.0.get_or_insert_default();
    body.locations.0.get_or_insert_default();
    body
}

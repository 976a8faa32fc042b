//! Customers (contract `resources.md` §4).

use konverse_model::input::{CustomerBody, ExternalId, check_custom};
use konverse_model::resource::{
    ConversationCounts, Customer, CustomerAttributes, LastConversation, Object, Preview, RecentLocation,
};
use konverse_model::{CustomerId, Document, FieldError, Id, Instant, Kind, OrgId, Patch, Rel, UserId};
use konverse_store::{Changes, Hidden, Space};

use crate::access::permissions::{CreateCustomers, DeleteCustomers, ReadCustomers, UpdateCustomers};
use crate::conversations::{merge_custom, object};
use crate::draft::Draft;
use crate::references::References;
use crate::rules;
use crate::{Authorized, Domain, DomainError};

/// The kept count of an org's customers.
pub(crate) const CUSTOMERS: &str = "customers";

/// Most external ids of a customer, `externalId` among them.
const MOST_EXTERNAL_IDS: usize = 10;

/// What a body says of a customer, beside what it is tied to.
struct Edit<'a> {
    references: &'a mut References,
    changes: &'a mut Changes,
    author: Option<UserId>,
    now: Instant,
    replace: bool,
}

impl Domain {
    /// One customer, as text.
    pub async fn customer(&self, auth: &Authorized<ReadCustomers>, id: CustomerId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Customer, id.0).await?.doc)
    }

    /// The customer with this e-mail address, whatever its case, as text.
    pub async fn customer_by_email(
        &self,
        auth: &Authorized<ReadCustomers>,
        email: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerEmail, email.to_lowercase(), "email", email).await
    }

    /// The customer with this phone number, as text.
    pub async fn customer_by_phone(
        &self,
        auth: &Authorized<ReadCustomers>,
        phone: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerPhone, fold_phone(phone), "phone", phone).await
    }

    /// The customer with this external id, as text.
    pub async fn customer_by_external_id(
        &self,
        auth: &Authorized<ReadCustomers>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.customer_by(auth, Space::CustomerExternalId, external_id.to_owned(), "externalId", external_id).await
    }

    async fn customer_by(
        &self,
        auth: &Authorized<ReadCustomers>,
        space: Space,
        value: String,
        name: &str,
        asked: &str,
    ) -> Result<String, DomainError> {
        // No name holds a NUL, and not every database would be asked for one.
        let holder = match value.contains('\0') {
            true => None,
            false => self.store.holders(auth.org(), &[(space, value)]).await?.pop().flatten(),
        };
        let missing = || DomainError::NotFound(Kind::Customer, format!("{name}={asked}"));
        let row = self.row(auth.org(), Kind::Customer, holder.ok_or_else(missing)?).await?;
        Ok(row.doc)
    }

    /// Creates a customer.
    pub async fn create_customer(
        &self,
        auth: &Authorized<CreateCustomers>,
        body: CustomerBody,
    ) -> Result<Customer, DomainError> {
        let org = auth.org();
        self.commit(|| async {
            let mut references = References::new(self.store.clone(), org);
            let mut changes = Changes::new(org);
            let draft = self
                .new_customer(
                    org,
                    &mut references,
                    &mut changes,
                    body.clone(),
                    auth.actor().user,
                    auth.is_admin(),
                    true,
                )
                .await?;
            let now = self.now();
            let doc = draft.finish(now, auth.actor().user, || self.new_event_id(now), &mut changes)?;
            Ok((changes, doc))
        })
        .await
    }

    /// A new customer, with its names claimed.
    #[expect(clippy::too_many_arguments, reason = "imports and requests share it and differ in nearly all of them")]
    pub(crate) async fn new_customer(
        &self,
        org: OrgId,
        references: &mut References,
        changes: &mut Changes,
        body: CustomerBody,
        author: Option<UserId>,
        admin: bool,
        look_up: bool,
    ) -> Result<Draft<CustomerAttributes>, DomainError> {
        let now = self.now();
        if look_up {
            self.check_free(org, Kind::Customer, body.id.0.map(Id::from), None).await?;
        }
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some()).unwrap_or(now);
        let id = body.id.0.map_or_else(|| self.new_id(), Id::from);
        let mut customer = Document::new(id, org, fresh(created_at, now, imported_at));
        customer.relationships.set("messages", Rel::Collection("messages"));
        customer.relationships.set_one("createdBy", Kind::User, author.map(Id::from));
        customer.relationships.set_one("modifiedBy", Kind::User, author.map(Id::from));
        let mut draft = Draft::new(customer);
        let edit = Edit { references, changes, author, now, replace: false };
        self.apply_customer(&mut draft, body, edit, look_up).await?;
        changes.tally(CUSTOMERS, id, 1);
        Ok(draft)
    }

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
        self.commit(|| async {
            let mut draft = Draft::<CustomerAttributes>::read(self.row(org, Kind::Customer, id.0).await?)?;
            draft.expect_rev(body.rev.0)?;
            let mut references = References::new(self.store.clone(), org);
            let mut changes = Changes::new(org);
            let now = self.now();
            let author = auth.actor().user;
            let edit = Edit { references: &mut references, changes: &mut changes, author, now, replace };
            self.apply_customer(&mut draft, body.clone(), edit, true).await?;
            draft.edited(author, now);
            let doc = draft.finish(now, author, || self.new_event_id(now), &mut changes)?;
            Ok((changes, doc))
        })
        .await
    }

    /// Deletes a customer with everything of theirs: nothing of it shows any longer, and their names are free.
    pub async fn delete_customer(&self, auth: &Authorized<DeleteCustomers>, id: CustomerId) -> Result<(), DomainError> {
        let org = auth.org();
        let _lock = self.lock(org, id).await;
        self.commit(|| async {
            let mut draft = Draft::<CustomerAttributes>::read(self.row(org, Kind::Customer, id.0).await?)?;
            let now = self.now();
            draft.hidden = Hidden::Deleted;
            draft.edited(auth.actor().user, now);
            let mut changes = Changes::new(org);
            changes.releases.push((id.0, None));
            changes.tally(CUSTOMERS, id.0, -1);
            changes.hide_customer = Some(id);
            draft.finish(now, auth.actor().user, || self.new_event_id(now), &mut changes)?;
            Ok((changes, ()))
        })
        .await
    }

    async fn apply_customer(
        &self,
        draft: &mut Draft<CustomerAttributes>,
        mut body: CustomerBody,
        edit: Edit<'_>,
        look_up: bool,
    ) -> Result<(), DomainError> {
        let Edit { references, changes, author, now, replace } = edit;
        let mut errors = Vec::new();
        if let Some(custom) = &body.custom.0 {
            check_custom("/custom", custom, &mut errors);
        }
        let tags = match body.tags.take() {
            Some(names) => Some(references.tags(self, &names, "/tags", author, now, changes, &mut errors).await?),
            None => None,
        };
        let before = draft.before().map(names).unwrap_or_default();
        if replace {
            body = replacing(body);
            draft.doc.attributes.custom.clear();
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
        rules::name_customer(&mut draft.doc);

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
            let org = crate::draft::needed(draft.doc.relationships.one("org"), "org")?;
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

/// A phone number as it is compared: without spaces, dashes, dots and brackets.
fn fold_phone(phone: &str) -> String {
    let folded: String = phone.chars().filter(|c| !c.is_whitespace() && !"-.()".contains(*c)).collect();
    if folded.is_empty() { phone.to_owned() } else { folded }
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

fn fresh(created_at: Instant, now: Instant, imported_at: Option<Instant>) -> CustomerAttributes {
    let now = now.max(created_at);
    CustomerAttributes {
        name: None,
        display_name: String::new(),
        display_color: String::new(),
        display_icon: String::new(),
        first_name: None,
        last_name: None,
        external_id: None,
        external_ids: Vec::new(),
        shared_external_ids: Vec::new(),
        emails: Vec::new(),
        shared_emails: Vec::new(),
        phones: Vec::new(),
        shared_phones: Vec::new(),
        whatsapps: Vec::new(),
        shared_whatsapps: Vec::new(),
        facebook_ids: Vec::new(),
        instagram_ids: Vec::new(),
        smooch_ids: Vec::new(),
        socials: Vec::new(),
        shared_socials: Vec::new(),
        urls: Vec::new(),
        locations: Vec::new(),
        username: None,
        avatar_url: None,
        signed_up_at: None,
        birthday_at: None,
        gender: None,
        locale: None,
        time_zone: None,
        default_lang: None,
        active_users: Vec::new(),
        watchers: Vec::new(),
        presence: None,
        recent_location: RecentLocation { updated_at: created_at },
        last_seen_at: None,
        last_activity_at: created_at,
        last_customer_activity_at: created_at,
        last_message_in: None,
        last_message_out: None,
        last_message_at: None,
        last_message_unresponded_to: None,
        last_conversation: LastConversation::default(),
        conversation_counts: ConversationCounts::default(),
        progressive_status: None,
        preview: Preview::default(),
        sentiment: None,
        tags: Vec::new(),
        custom: Object::new(),
        verified: true,
        deleted: false,
        imported_at,
        created_at,
        updated_at: now,
        modified_at: now,
        rev: 1,
    }
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

//! Creating a customer (contract `endpoints.md`, `POST /v1/customers`).

use konverse_model::input::CustomerBody;
use konverse_model::resource::{
    ConversationCounts, Customer, CustomerAttributes, LastConversation, Object, Preview, RecentLocation,
};
use konverse_model::{Document, Id, Instant, Kind, OrgId, Rel, UserId};
use konverse_store::Changes;

use super::CUSTOMERS;
use super::update::Edit;
use crate::access::permissions::CreateCustomers;
use crate::directory::References;
use crate::timeline::not_ahead;
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Creates a customer.
    pub async fn create_customer(
        &self,
        auth: &Authorized<CreateCustomers>,
        body: CustomerBody,
    ) -> Result<Customer, DomainError> {
        let (org, actor) = (auth.org(), auth.actor().user);
        let (applied, created) = self
            .commit(|| async {
                let mut references = References::of(self.store.clone(), auth.actor());
                let mut changes = Changes::new(org, self.now());
                let body = body.clone();
                let draft =
                    self.new_customer(org, &mut references, &mut changes, body, actor, auth.is_admin(), true).await?;
                let created = draft.finish(actor, &mut changes)?;
                references.define(self, actor, &mut changes).await?;
                Ok((changes, created))
            })
            .await?;
        Ok(auth.actor().shown_record(created.settle(&applied)))
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
        let now = changes.at;
        if look_up {
            self.check_free(org, Kind::Customer, body.id.0.map(Id::from), None).await?;
        }
        let mut errors = Vec::new();
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some());
        let created_at = not_ahead(created_at, now, "/createdAt", &mut errors).unwrap_or(now);
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
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

//! Records by their keys, and the one way to write.

use async_trait::async_trait;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, TeamId, UserId};

use crate::{Applied, Changes, StoreError};

/// Whether a record shows, and if not, what hid it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hidden {
    /// It shows.
    #[default]
    No,
    /// It was itself deleted.
    Deleted,
    /// Its conversation was deleted.
    WithConversation,
    /// Its customer was deleted.
    WithCustomer,
}

impl Hidden {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::No, Self::Deleted, Self::WithConversation, Self::WithCustomer];
}

/// A stored record: its finished text, and beside it only what finds, orders and guards it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// The id.
    pub id: Id,
    /// The customer it belongs to: conversations, messages and notes.
    pub customer: Option<CustomerId>,
    /// The conversation it belongs to: messages and notes.
    pub conversation: Option<Id>,
    /// Whether it shows.
    pub hidden: Hidden,
    /// Its revision: an update names the one it read.
    pub rev: i64,
    /// Customers: how often anything of their timeline was written. Whoever writes any of it names the turn it read.
    pub turn: i64,
    /// The version of the renderer that made `doc`.
    pub version: i64,
    /// Its place in lists.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// When something is due to happen to it by itself: the end of a snooze.
    pub wake_at: Option<Instant>,
    /// Its key in another system; unique per kind among records that show.
    pub external_id: Option<String>,
    /// A word lists can select by: a user's type, a company's name in lower case.
    pub label: Option<String>,
    /// The resource object as it is answered.
    pub doc: String,
    /// What the rules keep beside it.
    pub state: Option<String>,
}

impl Row {
    /// Whether it shows.
    pub fn shows(&self) -> bool {
        self.hidden == Hidden::No
    }
}

/// Something of a timeline with what surrounds it, as one moment shows them; hidden ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The customer.
    pub customer: Row,
    /// The conversation.
    pub conversation: Row,
    /// The message or note itself, where that was asked for.
    pub entry: Option<Row>,
    /// The teams of a user.
    pub teams: Vec<TeamId>,
}

/// A name that only one record may hold, beside ids and external ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// A customer's e-mail address, in lower case.
    CustomerEmail,
    /// A customer's phone number.
    CustomerPhone,
    /// A customer's WhatsApp number.
    CustomerWhatsapp,
    /// A customer's social account.
    CustomerSocial,
    /// A customer's key in another system.
    CustomerExternalId,
    /// A user's e-mail address, in lower case.
    UserEmail,
    /// A team's name, in lower case.
    TeamName,
    /// A team's key in another system.
    TeamExternalId,
    /// A tag's name, in lower case.
    TagName,
    /// A company's key in another system.
    CompanyExternalId,
    /// A brand's name, in lower case.
    BrandName,
    /// Being the org's default brand: there is one such name, and one brand that holds it.
    DefaultBrand,
    /// A queue's name, in lower case.
    QueueName,
    /// A role group's name, in lower case.
    RoleGroupName,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::CustomerEmail,
        Self::CustomerPhone,
        Self::CustomerWhatsapp,
        Self::CustomerSocial,
        Self::CustomerExternalId,
        Self::UserEmail,
        Self::TeamName,
        Self::TeamExternalId,
        Self::TagName,
        Self::CompanyExternalId,
        Self::BrandName,
        Self::DefaultBrand,
        Self::QueueName,
        Self::RoleGroupName,
    ];

    /// The word stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CustomerEmail => "customer.email",
            Self::CustomerPhone => "customer.phone",
            Self::CustomerWhatsapp => "customer.whatsapp",
            Self::CustomerSocial => "customer.social",
            Self::CustomerExternalId => "customer.externalId",
            Self::UserEmail => "user.email",
            Self::TeamName => "team.name",
            Self::TeamExternalId => "team.externalId",
            Self::TagName => "tag.name",
            Self::CompanyExternalId => "company.externalId",
            Self::BrandName => "brand.name",
            Self::DefaultBrand => "brand.default",
            Self::QueueName => "queue.name",
            Self::RoleGroupName => "role_group.name",
        }
    }

    /// The kind of record that holds such names. An id may stand for records of several kinds, so an owner is a kind
    /// and an id.
    pub const fn kind(self) -> Kind {
        match self {
            Self::CustomerEmail
            | Self::CustomerPhone
            | Self::CustomerWhatsapp
            | Self::CustomerSocial
            | Self::CustomerExternalId => Kind::Customer,
            Self::UserEmail => Kind::User,
            Self::TeamName | Self::TeamExternalId => Kind::Team,
            Self::TagName => Kind::Tag,
            Self::CompanyExternalId => Kind::Company,
            Self::BrandName | Self::DefaultBrand => Kind::Brand,
            Self::QueueName => Kind::Queue,
            Self::RoleGroupName => Kind::RoleGroup,
        }
    }
}

/// Records: found by key, written by [`Changes`].
#[async_trait]
pub trait Records: Send + Sync + 'static {
    /// One record, hidden or not.
    async fn get(&self, org: OrgId, kind: Kind, id: Id) -> Result<Option<Row>, StoreError>;

    /// Several records, hidden or not, in the order of `ids`; unknown ids are left out.
    async fn get_many(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, StoreError>;

    /// Which of these records are there, hidden or not.
    async fn present(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Id>, StoreError>;

    /// The record that shows and has this external id: conversations, messages and notes.
    async fn by_external_id(&self, org: OrgId, kind: Kind, external_id: &str) -> Result<Option<Row>, StoreError>;

    /// Who holds each of these names, in the order asked.
    async fn holders(&self, org: OrgId, names: &[(Space, String)]) -> Result<Vec<Option<Id>>, StoreError>;

    /// A kept count: see [`Changes::tally`].
    async fn tally(&self, org: OrgId, name: &str) -> Result<u64, StoreError>;

    /// The teams of each of these users, in the order asked.
    async fn teams_of(&self, org: OrgId, users: &[UserId]) -> Result<Vec<Vec<TeamId>>, StoreError>;

    /// A conversation, a message or a note with what surrounds it, and the teams of the user who is about to change it:
    /// what most changes begin with. All rows are of one moment, so the customer's turn vouches for the others.
    async fn surroundings(
        &self,
        org: OrgId,
        kind: Kind,
        id: Id,
        user: Option<UserId>,
    ) -> Result<Option<Surroundings>, StoreError>;

    /// Applies changes as one transaction, and says what only the commit could know.
    async fn apply(&self, changes: Changes) -> Result<Applied, StoreError>;
}

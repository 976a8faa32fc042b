//! The storage contract: what can be read, and changes as data.
//!
//! A use case reads what it needs, computes a [`Changes`] in pure code, and [`Store::apply`] makes it one transaction:
//! all of it or nothing. No transaction is ever held open by a caller. Both engines execute the same planned steps, and
//! every test of this contract runs on both.
//!
//! What is *not* here: rules. The store neither knows what a status means nor computes an attribute.

mod changes;
mod read;

use async_trait::async_trait;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, TeamId, TokenId, UserId};

pub use changes::{Changes, Event, Membership, NewCredential, Put};
pub use read::{Field, Filter, List, Order, Page, Scope, Start, Window};

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
    /// Its place in lists.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// When something is due to happen to it by itself: the end of a snooze.
    pub wake_at: Option<Instant>,
    /// Its key in another system; unique per kind among records that show.
    pub external_id: Option<String>,
    /// A word lists can select by: a user's type.
    pub label: Option<String>,
    /// The resource object as it is answered.
    pub doc: String,
    /// What the rules keep beside it.
    pub state: Option<String>,
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
}

impl Space {
    /// The word stored.
    pub const fn name(self) -> &'static str {
        match self {
            Space::CustomerEmail => "customer.email",
            Space::CustomerPhone => "customer.phone",
            Space::CustomerWhatsapp => "customer.whatsapp",
            Space::CustomerSocial => "customer.social",
            Space::CustomerExternalId => "customer.externalId",
            Space::UserEmail => "user.email",
            Space::TeamName => "team.name",
            Space::TeamExternalId => "team.externalId",
            Space::TagName => "tag.name",
        }
    }
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, unique on this server.
    pub name: String,
    /// When it was created.
    pub created_at: Instant,
}

/// What a presented token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The org it opens.
    pub org: OrgId,
    /// The token's public id.
    pub token: TokenId,
    /// The user behind it.
    pub user: UserId,
    /// Role names, separated by spaces.
    pub roles: String,
    /// The only addresses it may come from.
    pub cidr: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Instant>,
}

/// Why a change could not be applied; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The record is no longer at the revision the change was computed from: compute it again.
    Stale(Kind, Id),
    /// The id or the external id is taken.
    Taken(Kind, Id),
    /// The name belongs to another record.
    Name(Space, String),
    /// Two transactions stood in each other's way: try again.
    Busy,
}

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The change lost against another; nothing of it was applied.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// The database did not answer or did not take the write. The text is for the log, not for callers.
    #[error("database: {0}")]
    Database(String),
    /// A stored record cannot be read.
    #[error("stored record: {0}")]
    Corrupt(String),
}

/// The storage contract.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// One record, hidden or not.
    async fn get(&self, org: OrgId, kind: Kind, id: Id) -> Result<Option<Row>, StoreError>;

    /// Several records, hidden or not, in the order of `ids`; unknown ids are left out.
    async fn get_many(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, StoreError>;

    /// The record that shows and has this external id: conversations, messages and notes.
    async fn by_external_id(&self, org: OrgId, kind: Kind, external_id: &str) -> Result<Option<Row>, StoreError>;

    /// Who holds each of these names, in the order asked.
    async fn holders(&self, org: OrgId, names: &[(Space, String)]) -> Result<Vec<Option<Id>>, StoreError>;

    /// A page of a list: the finished texts, joined by commas, appended to `buffer`.
    async fn page(&self, org: OrgId, list: &List, window: &Window, buffer: Vec<u8>) -> Result<Page, StoreError>;

    /// Full rows of a list in its order, for use cases that must look at every one.
    async fn rows(&self, org: OrgId, list: &List, window: &Window) -> Result<Vec<Row>, StoreError>;

    /// How many records a list has, by counting; for filtered lists only.
    async fn count(&self, org: OrgId, list: &List) -> Result<u64, StoreError>;

    /// A kept count: see [`Changes::tally`].
    async fn tally(&self, org: OrgId, name: &str) -> Result<u64, StoreError>;

    /// The teams of each of these users, in the order asked.
    async fn teams_of(&self, org: OrgId, users: &[UserId]) -> Result<Vec<Vec<TeamId>>, StoreError>;

    /// Records that are due, oldest first.
    async fn due(&self, now: Instant, limit: u32) -> Result<Vec<(OrgId, Id)>, StoreError>;

    /// What the token with this SHA-256 stands for.
    async fn credential(&self, hash: [u8; 32]) -> Result<Option<Credential>, StoreError>;

    /// All orgs, by name.
    async fn orgs(&self) -> Result<Vec<Org>, StoreError>;

    /// The org of this name.
    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError>;

    /// The org's events after a number, oldest first: `(seq, event)`. Only what no earlier number can still join.
    async fn events(&self, org: OrgId, after: i64, limit: u32) -> Result<Vec<(i64, Event)>, StoreError>;

    /// Applies a change as one transaction.
    async fn apply(&self, changes: Changes) -> Result<(), StoreError>;
}

//! Orgs and what opens them.

use std::sync::Arc;

use async_trait::async_trait;
use konverse_model::mask::Masks;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, TokenId, UserId};

use crate::{Holding, StoreError};

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
    /// Role names, separated by spaces. Of a session: those of its user, of the user's role groups and of the role groups of
    /// their teams, as of now.
    pub roles: String,
    /// The only addresses it may come from.
    pub cidr: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Instant>,
    /// How the org's custom attributes are described.
    pub described: Described,
}

/// How an org's custom attributes are described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// How often that has changed.
    pub version: i64,
    /// What is sensitive; none where nothing is.
    pub masks: Option<Arc<Masks>>,
}

/// Failures to sign in, of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub failures: i64,
    /// When the first was.
    pub since: Instant,
    /// When the last was.
    pub last: Instant,
}

/// How a customer's timeline stood at a moment within a request. Two equal versions of one customer, given by one store
/// of this process, prove that nothing of the timeline was written between them, by whatever process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// By the commits to the file.
    Commit {
        /// Counts commits of other processes.
        epoch: u64,
        /// The commit of this process that last touched the customer, or one that shares its place.
        touched: u64,
    },
    /// By the customer's turn, which every write to anything of the timeline moves.
    Turn(i64),
}

/// What a request begins with, looked up at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// What its token stands for.
    pub credential: Arc<Credential>,
    /// How the timeline stands that it is about: read no later than whatever is read afterwards. None when it names no
    /// customer of the org, or when no proof is to be had right now.
    pub version: Option<Version>,
}

/// Tokens and orgs: the only reads that name no org.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// What the token with this SHA-256 stands for, as of now, and how the timeline stands that the request is about.
    async fn enter(&self, hash: [u8; 32], about: Option<CustomerId>) -> Result<Option<Entrance>, StoreError>;

    /// How the org's custom attributes are described: read no later than whatever is read afterwards.
    async fn described(&self, org: OrgId) -> Result<Described, StoreError>;

    /// All orgs, by name.
    async fn orgs(&self) -> Result<Vec<Org>, StoreError>;

    /// One org.
    async fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError>;

    /// The org of this name.
    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError>;

    /// The hash of a user's password.
    async fn password(&self, org: OrgId, user: UserId) -> Result<Option<String>, StoreError>;

    /// Whether a user signed in from this network before.
    async fn is_remembered(&self, org: OrgId, user: UserId, network: &str) -> Result<bool, StoreError>;

    /// The roles a session of this user has now.
    async fn roles_of(&self, org: OrgId, user: UserId) -> Result<String, StoreError>;

    /// What a record gives, as it was last said; nothing was said of those that older releases wrote.
    async fn holding(&self, org: OrgId, kind: Kind, owner: Id) -> Result<Option<Holding>, StoreError>;

    /// The tokens of a user that are let in.
    async fn tokens_of(&self, org: OrgId, user: UserId) -> Result<Vec<TokenId>, StoreError>;

    /// Failures to sign in, by what they are kept under.
    async fn attempts(&self, hash: [u8; 32]) -> Result<Option<Attempts>, StoreError>;

    /// Keeps failures to sign in, if they still are what they were; false when another was faster. Some that are older than
    /// `forget` go.
    async fn put_attempts(
        &self,
        hash: [u8; 32],
        was: Option<Attempts>,
        now: Attempts,
        forget: Instant,
    ) -> Result<bool, StoreError>;

    /// Forgets failures to sign in.
    async fn forget_attempts(&self, hashes: &[[u8; 32]]) -> Result<(), StoreError>;
}

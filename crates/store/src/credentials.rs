//! Orgs and what opens them.

use async_trait::async_trait;
use konverse_model::{Instant, OrgId, TokenId, UserId};

use crate::StoreError;

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

/// Tokens and orgs: the only reads that name no org.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// What the token with this SHA-256 stands for.
    async fn credential(&self, hash: [u8; 32]) -> Result<Option<Credential>, StoreError>;

    /// All orgs, by name.
    async fn orgs(&self) -> Result<Vec<Org>, StoreError>;

    /// The org of this name.
    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError>;
}

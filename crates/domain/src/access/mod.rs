//! Who may come in and what they may do (contract README §3–4).
//!
//! [`Authorized<P>`] is the proof that a caller holds one of the roles of `P`. Operations ask for it as an argument and
//! it can only be had from [`Actor::authorize`], so no surface can forget the check.

mod authenticate;
mod orgs;
pub mod permissions;
mod tokens;

use std::marker::PhantomData;

use konverse_model::{OrgId, Role, TokenId, UserId};

use crate::DomainError;

pub use authenticate::Access;
pub(crate) use authenticate::TokenUses;
pub use tokens::{MintedToken, NewToken};

/// Who is acting.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The only org they can see.
    pub org: OrgId,
    /// The user who will be the author; none for the system itself.
    pub user: Option<UserId>,
    /// The token they came with.
    pub token: Option<TokenId>,
    /// The roles they hold.
    pub roles: Vec<Role>,
}

impl Actor {
    /// The system itself: imports and clocks. Holds every role of its org and is nobody's author.
    pub fn system(org: OrgId) -> Self {
        Self { org, user: None, token: None, roles: "org".parse().into_iter().collect() }
    }

    /// Whether any held role grants `needed`.
    pub fn holds(&self, needed: &str) -> bool {
        self.roles.iter().any(|role| role.grants(needed))
    }

    /// The proof that this actor may do `P`.
    pub fn authorize<P: Permission>(self) -> Result<Authorized<P>, DomainError> {
        if P::ROLES.is_empty() || P::ROLES.iter().any(|needed| self.holds(needed)) {
            Ok(Authorized { actor: self, permission: PhantomData })
        } else {
            Err(DomainError::Forbidden(P::ROLES))
        }
    }
}

/// Something a role allows.
pub trait Permission: Send + Sync + 'static {
    /// The roles of which any one suffices; empty when any valid token does.
    const ROLES: &'static [&'static str];
}

/// The proof that its actor may do `P`.
#[derive(Clone, Debug)]
pub struct Authorized<P> {
    actor: Actor,
    permission: PhantomData<fn() -> P>,
}

impl<P> Authorized<P> {
    /// Who.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The org everything happens in.
    pub fn org(&self) -> OrgId {
        self.actor.org
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.actor.holds("org.admin")
    }
}

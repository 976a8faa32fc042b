//! Who may come in and what they may do (contract README §3–4).
//!
//! [`Authorized<P>`] is the proof that a caller holds one of the roles of `P`. Operations ask for it as an argument and
//! it can only be had from [`Actor::authorize`], so no surface can forget the check.

mod authenticate;
mod orgs;
mod password;
pub mod permissions;
mod sign_in;
mod throttle;
mod tokens;

use std::marker::PhantomData;
use std::sync::Arc;

use konverse_model::mask::Masks;
use konverse_model::{Attributes, CustomerId, Document, Kind, OrgId, Role, TokenId, UserId};
use konverse_store::Version;

use crate::DomainError;

pub use authenticate::Access;
pub(crate) use authenticate::TokenUses;
pub(crate) use password::Passwords;
pub use sign_in::{Session, SignIn};
pub(crate) use sign_in::{granting, put_password};
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
    /// How the timeline stood that the request is about, before anything of it was read.
    pub seen: Option<(CustomerId, Version)>,
    /// How often the org's custom attributes had been described anew when they were let in.
    pub described: Option<i64>,
    /// What they must not see; none for those who may see everything, and in orgs where nothing is sensitive.
    pub masks: Option<Arc<Masks>>,
}

impl Actor {
    /// The system itself: imports and clocks. Holds every role of its org and is nobody's author.
    pub fn system(org: OrgId) -> Self {
        Self {
            org,
            user: None,
            token: None,
            roles: "org".parse().into_iter().collect(),
            seen: None,
            described: None,
            masks: None,
        }
    }

    /// Whether any held role grants `needed`.
    pub fn holds(&self, needed: &str) -> bool {
        self.roles.iter().any(|role| role.grants(needed))
    }

    /// Whether any held role grants one of those needed; anybody holds what needs none.
    pub fn holds_any(&self, needed: &[&str]) -> bool {
        needed.is_empty() || needed.iter().any(|needed| self.holds(needed))
    }

    /// Whether this custom attribute of such records is hidden from them: what it holds must not be found out by asking for
    /// it either.
    pub fn is_hidden(&self, kind: Kind, attribute: &str) -> bool {
        self.masks.as_ref().is_some_and(|masks| masks.of(kind, attribute).is_some())
    }

    /// A record's text as they may see it.
    pub fn shown(&self, kind: Kind, text: String) -> Result<String, DomainError> {
        match &self.masks {
            Some(masks) => Ok(masks.record(kind, &text)?.into_owned()),
            None => Ok(text),
        }
    }

    /// What an event tells of such a record, as they may see it.
    pub fn shown_changes(&self, kind: Kind, changes: String) -> Result<String, DomainError> {
        match &self.masks {
            Some(masks) => Ok(masks.changes(kind, &changes)?.into_owned()),
            None => Ok(changes),
        }
    }

    /// Texts of records of one kind, joined by commas, which begin at `from`, as they may see them.
    pub(crate) fn shown_page(&self, kind: Kind, from: usize, mut page: Vec<u8>) -> Result<Vec<u8>, DomainError> {
        let Some(masks) = self.masks.as_ref().filter(|masks| masks.concern(kind)) else { return Ok(page) };
        let mut texts = page.split_off(from);
        texts.insert(0, b'[');
        texts.push(b']');
        let texts: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&texts)?;
        for (n, text) in texts.into_iter().enumerate() {
            if n > 0 {
                page.push(b',');
            }
            page.extend_from_slice(masks.record(kind, text.get())?.as_bytes());
        }
        Ok(page)
    }

    /// A record as they may see it.
    pub(crate) fn shown_record<A: Attributes>(&self, mut record: Document<A>) -> Document<A> {
        if let (Some(masks), Some(custom)) = (&self.masks, record.attributes.custom()) {
            masks.custom(A::KIND, custom);
        }
        record
    }

    /// How this customer's timeline stood when the actor was let in, if the request is about it: whatever is read
    /// afterwards is of that version or a later one.
    pub fn seen(&self, customer: CustomerId) -> Option<Version> {
        self.seen.filter(|(seen, _)| *seen == customer).map(|(_, version)| version)
    }

    /// The proof that this actor may do `P`.
    pub fn authorize<P: Permission>(self) -> Result<Authorized<P>, DomainError> {
        if self.holds_any(P::ROLES) {
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

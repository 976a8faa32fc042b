//! Who may come in and what they may do (contract README §3–4).
//!
//! [`Authorized<P>`] is the proof that a caller holds one of the roles of `P`. Operations ask for it as an argument and
//! it can only be had from [`Actor::authorize`], so no surface can forget the check.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use konverse_model::{Instant, Kind, OrgId, Role, TokenId, UserId};
use konverse_store::{Changes, StoreError};
use sha2::{Digest, Sha256};

use crate::{Domain, DomainError};

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

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: [$($role:literal),*];)*) => {
        /// What roles allow: one type each, with the roles of contract README §4.
        pub mod permissions {
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl super::Permission for $name {
                    const ROLES: &'static [&'static str] = &[$($role),*];
                }
            )*
        }
    };
}

permissions! {
    /// Any valid token.
    Anyone: [];
    /// Reading conversations.
    ReadConversations: ["org.permission.conversation.read", "org.user.conversation.read"];
    /// Creating conversations.
    CreateConversations: ["org.permission.conversation.create", "org.user.conversation.write"];
    /// Changing conversations.
    UpdateConversations: ["org.permission.conversation.update", "org.user.conversation.write"];
    /// Deleting conversations.
    DeleteConversations: ["org.permission.conversation.delete", "org.user.conversation.delete"];
    /// Taking tags off conversations: the documentation lists the delete permission, users expect update.
    UntagConversations: ["org.permission.conversation.delete", "org.permission.conversation.update", "org.user.conversation.write"];
    /// Reading customers.
    ReadCustomers: ["org.permission.customer.read", "org.user.customer.read"];
    /// Creating customers.
    CreateCustomers: ["org.permission.customer.create", "org.user.customer.write"];
    /// Changing customers.
    UpdateCustomers: ["org.permission.customer.update", "org.user.customer.write"];
    /// Deleting customers.
    DeleteCustomers: ["org.permission.customer.delete", "org.user.customer.delete"];
    /// Reading messages.
    ReadMessages: ["org.permission.message.read", "org.user.message.read"];
    /// Recording messages.
    CreateMessages: ["org.permission.message.create", "org.user.message.write"];
    /// Changing messages.
    UpdateMessages: ["org.permission.message.update", "org.user.message.write"];
    /// Reading notes.
    ReadNotes: ["org.permission.note.read", "org.user.note.read"];
    /// Creating notes.
    CreateNotes: ["org.permission.note.create", "org.user.note.write"];
    /// Creating notes inside a conversation: the documentation lists the legacy *read* role.
    CreateConversationNotes: ["org.permission.note.create", "org.user.note.read", "org.user.note.write"];
    /// Changing notes.
    UpdateNotes: ["org.permission.note.update", "org.user.note.write"];
    /// Deleting notes.
    DeleteNotes: ["org.permission.note.delete", "org.user.note.write"];
    /// Reading users.
    ReadUsers: ["org.permission.user.read", "org.user.user.read"];
    /// Creating users.
    CreateUsers: ["org.permission.user.create", "org.admin.user"];
    /// Reading teams; the specification names no legacy role, the pattern gives this one.
    ReadTeams: ["org.permission.team.read", "org.user.team.read"];
    /// Creating teams.
    CreateTeams: ["org.permission.team.create", "org.admin.team.write"];
    /// Reading tags.
    ReadTags: ["org.permission.tag.read", "org.user.tag.read"];
    /// Creating tags; the legacy role is by pattern.
    CreateTags: ["org.permission.tag.create", "org.user.tag.write"];
    /// Listing and revoking tokens.
    ManageTokens: ["org.permission.security", "org.admin.security"];
    /// Reading one token.
    ReadTokens: ["org.permission.security", "org.admin"];
}

/// What a request presents.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The token.
    pub token: &'a str,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// When and how a token was last used, waiting to be stored.
#[derive(Clone, Debug)]
struct TokenUse {
    at: Instant,
    address: Option<IpAddr>,
    user_agent: Option<String>,
}

/// Uses of tokens not yet stored. A token's `lastAccessedAt` is kept to the minute, so that reading does not write.
#[derive(Default)]
pub(crate) struct TokenUses(Mutex<HashMap<(OrgId, TokenId), Recent>>);

#[derive(Default)]
struct Recent {
    noted: Option<Instant>,
    pending: Option<TokenUse>,
}

/// How old a token's stored last use may be.
const USE_RESOLUTION_MS: i64 = 60_000;

impl TokenUses {
    fn is_due(&self, key: (OrgId, TokenId), now: Instant) -> bool {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.get(&key).and_then(|recent| recent.noted).is_none_or(|noted| now.since(noted) >= USE_RESOLUTION_MS)
    }

    fn note(&self, key: (OrgId, TokenId), token_use: TokenUse) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.insert(key, Recent { noted: Some(token_use.at), pending: Some(token_use) });
    }

    fn take(&self, now: Instant) -> Vec<((OrgId, TokenId), TokenUse)> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pending =
            uses.iter_mut().filter_map(|(key, recent)| recent.pending.take().map(|one| (*key, one))).collect();
        // What was stored and is old needs no memory: the next use is noted afresh.
        uses.retain(|_, recent| recent.noted.is_some_and(|noted| now.since(noted) < 2 * USE_RESOLUTION_MS));
        pending
    }
}

impl Domain {
    /// The actor behind a presented token. Errors say which of the known reasons it was; `Expired token` is a text
    /// clients look for.
    pub async fn authenticate(&self, access: Access<'_>) -> Result<Actor, DomainError> {
        let hash = Sha256::digest(access.token.as_bytes()).into();
        let Some(credential) = self.store.credential(hash).await? else {
            return Err(DomainError::Unauthorized("Invalid token"));
        };
        let now = self.clock.now();
        if credential.expires_at.is_some_and(|at| at <= now) {
            return Err(DomainError::Unauthorized("Expired token"));
        }
        if let Some(range) = &credential.cidr {
            let range: ipnet::IpNet = range.parse().map_err(|_| DomainError::internal("stored CIDR is no CIDR"))?;
            if !access.address.is_some_and(|address| range.contains(&address.to_canonical())) {
                return Err(DomainError::Unauthorized("Token may not be used from this address"));
            }
        }
        let roles = credential.roles.split(' ').filter_map(|role| role.parse().ok()).collect();
        Ok(Actor { org: credential.org, user: Some(credential.user), token: Some(credential.token), roles })
    }

    /// Remembers that a token was used, unless that was remembered within the last minute. `user_agent` is asked for
    /// only when it will be kept.
    pub fn note_use(&self, actor: &Actor, address: Option<IpAddr>, user_agent: impl FnOnce() -> Option<String>) {
        let Some(token) = actor.token else { return };
        let (key, now) = ((actor.org, token), self.clock.now());
        if self.token_use.is_due(key, now) {
            self.token_use.note(key, TokenUse { at: now, address, user_agent: user_agent() });
        }
    }

    /// Stores the uses of tokens remembered since the last call. A use that loses against another change is dropped.
    pub async fn store_token_uses(&self) -> Result<(), DomainError> {
        for ((org, token), token_use) in self.token_use.take(self.clock.now()) {
            let Some(was) = self.store.get(org, Kind::Token, token.0).await? else { continue };
            let mut doc = konverse_model::resource::Token::from_text(&was.doc)?;
            doc.attributes.last_accessed_at = Some(token_use.at);
            doc.attributes.ip_address = token_use.address.map(|address| address.to_canonical().to_string());
            doc.attributes.user_agent = token_use.user_agent;
            let mut now = was.clone();
            now.doc = doc.to_text();
            now.rev += 1;
            let mut changes = Changes::new(org);
            changes.update(was, now);
            match self.store.apply(changes).await {
                Ok(()) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The rules, to be shared by surfaces and clockwork.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

//! Tokens presented: who they stand for, and when they were last used.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use konverse_model::resource::TokenAttributes;
use konverse_model::{CustomerId, Instant, Kind, OrgId, TokenId};
use konverse_store::{Changes, Entrance, StoreError};
use sha2::{Digest, Sha256};

use super::permissions::ReadSensitive;
use super::{Actor, Permission};
use crate::unit::Draft;
use crate::{Domain, DomainError};

/// What a request presents.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The token.
    pub token: &'a str,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The customer whose timeline it is about.
    pub about: Option<CustomerId>,
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
        let Some(Entrance { credential, version }) = self.store.enter(hash, access.about).await? else {
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
        let mut actor = Actor {
            org: credential.org,
            user: Some(credential.user),
            token: Some(credential.token),
            roles: credential.roles.split(' ').filter_map(|role| role.parse().ok()).collect(),
            seen: access.about.zip(version),
            described: Some(credential.described.version),
            masks: None,
        };
        if !actor.holds_any(ReadSensitive::ROLES) {
            actor.masks.clone_from(&credential.described.masks);
        }
        Ok(actor)
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

    /// Stores the uses of tokens remembered since the last call. A use that loses against another change is dropped, and
    /// one that cannot be stored holds up no other: the first such failure is given when all were tried.
    pub async fn store_token_uses(&self) -> Result<(), DomainError> {
        let mut failure = None;
        for ((org, token), token_use) in self.token_use.take(self.clock.now()) {
            if let Err(error) = self.store_token_use(org, token, token_use).await {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn store_token_use(&self, org: OrgId, token: TokenId, token_use: TokenUse) -> Result<(), DomainError> {
        let row = self.store.get(org, Kind::Token, token.0).await?;
        let Some(row) = row.filter(konverse_store::Row::shows) else { return Ok(()) };
        let mut draft = Draft::<TokenAttributes>::read(row)?;
        draft.doc.attributes.last_accessed_at = Some(token_use.at);
        draft.doc.attributes.ip_address = token_use.address.map(|address| address.to_canonical().to_string());
        draft.doc.attributes.user_agent = token_use.user_agent;
        let mut changes = Changes::new(org, self.clock.now());
        draft.finish(None, &mut changes)?;
        match self.apply(changes).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

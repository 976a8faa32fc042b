//! A change's way to its turn.
//!
//! Most changes win at once or at the second attempt. One that takes long to compute (a long conversation is folded anew)
//! would lose for ever beside a process that writes to the same customer all the time. So a change that has lost a few
//! times, or once if that took long, claims its customers: others lose to it until it is done, and wait. Claims only make
//! it fair; what may be written is decided by the customers' turns.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use konverse_model::{CustomerId, Id, Instant, OrgId};
use konverse_store::{CLAIM_MS, Changes, Conflict, StoreError, claim_on};

use super::{ATTEMPTS, EAGER, LONGEST_WAIT};
use crate::Domain;

/// How often a claim is renewed while the change is computed.
const RENEWAL: Duration = Duration::from_millis(CLAIM_MS as u64 / 3);

/// How often it is looked whether others' claims have ended, half of [`LONGEST_WAIT`] apart: for half a minute.
const LOOKS: u32 = 1_500;

/// From how many milliseconds on an attempt is a dear one. Who loses such a one claims the next: it would lose that, too.
const DEAR_MS: i64 = 100;

/// The attempts of one change.
pub(crate) struct Turn<'a> {
    domain: &'a Domain,
    attempts: u32,
    /// Attempts that lost to others who wrote to the same customers.
    lost: u32,
    /// When the last attempt began, and whether one that lost took long.
    begun: Instant,
    is_dear: bool,
    /// What the last attempt was about.
    about: Option<(OrgId, BTreeSet<CustomerId>)>,
    claim: Option<Claim>,
}

/// Claims that are held.
struct Claim {
    holder: Id,
    names: BTreeSet<String>,
    until: Instant,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(domain: &'a Domain) -> Self {
        Self { domain, attempts: 0, lost: 0, begun: domain.now(), is_dear: false, about: None, claim: None }
    }

    /// Waits until the next attempt may begin; false when there were enough.
    pub(crate) async fn comes(&mut self) -> Result<bool, StoreError> {
        if self.attempts == ATTEMPTS {
            return Ok(false);
        }
        self.domain.wait_turn(self.attempts).await;
        self.attempts += 1;
        let names = match &self.about {
            Some((org, customers)) if self.lost > 0 => {
                customers.iter().map(|customer| claim_on(*org, *customer)).collect()
            }
            _ => BTreeSet::new(),
        };
        if names.is_empty() {
            return Ok(true);
        }
        let claims = self.is_dear || self.lost >= EAGER;
        for _ in 0..LOOKS {
            if self.is_free(&names).await? && (!claims || self.take(&names).await?) {
                self.begun = self.domain.now();
                return Ok(true);
            }
            self.domain.wait_by_chance(LONGEST_WAIT).await;
        }
        Err(StoreError::Conflict(Conflict::Busy))
    }

    /// Computes the change; its claims are renewed meanwhile.
    pub(crate) async fn holding<T>(&mut self, computing: impl Future<Output = T>) -> T {
        if self.claim.is_none() {
            return computing.await;
        }
        let mut computing = pin!(computing);
        loop {
            tokio::select! {
                biased;
                computed = &mut computing => return computed,
                () = tokio::time::sleep(RENEWAL) => self.renew().await,
            }
        }
    }

    /// The change is about to be applied.
    pub(crate) fn sign(&mut self, changes: &mut Changes) {
        changes.holder = self.claim.as_ref().map(|claim| claim.holder);
        self.about = Some((changes.org, changes.turns()));
    }

    /// It was not applied.
    pub(crate) fn lost(&mut self, conflict: &Conflict) {
        if matches!(conflict, Conflict::Stale(..) | Conflict::Busy) {
            self.lost += 1;
            self.is_dear |= self.domain.now() >= self.begun.plus(DEAR_MS);
        }
    }

    /// It was applied, and the claims on what it was about ended with it.
    pub(crate) fn won(&mut self) {
        if let (Some(claim), Some((org, customers))) = (&mut self.claim, &self.about) {
            claim.names.retain(|name| customers.iter().all(|customer| *name != claim_on(*org, *customer)));
        }
    }

    /// Whether nobody else claims any of these.
    async fn is_free(&self, names: &BTreeSet<String>) -> Result<bool, StoreError> {
        let now = self.domain.now();
        for name in names {
            let holder = self.domain.store.holder(name, now, now.plus(CLAIM_MS)).await?;
            if holder.is_some() && holder != self.claim.as_ref().map(|claim| claim.holder) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Claims all of these, always in the same order; false when somebody else was faster.
    async fn take(&mut self, names: &BTreeSet<String>) -> Result<bool, StoreError> {
        let now = self.domain.now();
        let until = now.plus(CLAIM_MS);
        let domain = self.domain;
        let claim = self.claim.get_or_insert_with(|| Claim { holder: domain.new_id(), names: BTreeSet::new(), until });
        if claim.until > now.plus(CLAIM_MS / 2) && names.is_subset(&claim.names) {
            return Ok(true);
        }
        for name in names {
            // Noted before: whoever goes away meanwhile gives it back all the same.
            claim.names.insert(name.clone());
            if !domain.store.lease(name, claim.holder, now, until).await? {
                claim.names.remove(name);
                return Ok(false);
            }
        }
        claim.until = until;
        Ok(true)
    }

    /// A renewal that fails ends nothing: then others may win once more.
    async fn renew(&mut self) {
        if let Some(claim) = &mut self.claim {
            let now = self.domain.now();
            let until = now.plus(CLAIM_MS);
            for name in &claim.names {
                drop(self.domain.store.lease(name, claim.holder, now, until).await);
            }
            claim.until = until;
        }
    }
}

impl Drop for Turn<'_> {
    /// What is given up, or was not applied, gives its claims back. Where that fails they end by themselves.
    fn drop(&mut self) {
        let claim = self.claim.take().filter(|claim| !claim.names.is_empty());
        if let (Some(Claim { holder, names, .. }), Ok(runtime)) = (claim, tokio::runtime::Handle::try_current()) {
            let store = Arc::clone(&self.domain.store);
            runtime.spawn(async move {
                for name in names {
                    drop(store.release(&name, holder).await);
                }
            });
        }
    }
}

//! Passwords: hashed with argon2id, off the runtime's threads, few at once.
//!
//! A hash takes 19 MiB and some ten milliseconds of a processor (argon2id, 19 MiB, 2 passes, 1 lane: the first choice of
//! OWASP's Password Storage Cheat Sheet). So that strangers cannot take all memory and processors by asking, two are made
//! at once and a bounded number wait; whoever comes to more is told to come again.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use konverse_model::{FieldError, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::DomainError;

/// Hashes made at once.
const AT_ONCE: usize = 2;

/// Sign-ins that may be under way, those that wait for their hash included.
const UNDER_WAY: usize = 32;

/// Fewest characters of a new password: what NIST SP 800-63B asks for at least.
const FEWEST: usize = 8;

/// Most characters of a password. Argon2 takes any number; a body does not.
pub(super) const MOST: usize = 256;

/// Somebody's hash who is not there: checking it is the same work, and no password fits.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW9mLW5vLW9yZw$QNsMuXBhpHYv2o+pIBB0LKAXciFeijWHn3l90zQ8su0";

/// Who may hash now.
pub(crate) struct Passwords {
    hashing: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { hashing: Arc::new(Semaphore::new(AT_ONCE)), under_way: Arc::new(Semaphore::new(UNDER_WAY)) }
    }
}

/// A place among those who sign in.
pub(super) struct Place {
    hashing: Arc<Semaphore>,
    _under_way: OwnedSemaphorePermit,
}

impl Passwords {
    /// A place, if one is free.
    pub(super) fn place(&self) -> Result<Place, DomainError> {
        let under_way = Arc::clone(&self.under_way).try_acquire_owned().map_err(|_| DomainError::Crowded)?;
        Ok(Place { hashing: Arc::clone(&self.hashing), _under_way: under_way })
    }
}

impl Place {
    /// Whether the password is the one the hash was made of. Without a hash it never is, after the same work.
    pub(super) async fn fits(self, password: String, hash: Option<String>) -> Result<bool, DomainError> {
        self.hash(move || {
            let fits =
                Argon2::default().verify_password(password.as_bytes(), hash.as_deref().unwrap_or(NOBODYS)).is_ok();
            Ok(fits && hash.is_some())
        })
        .await
    }

    /// The hash to keep of a password.
    pub(super) async fn made(self, password: String, salt: [u8; 16]) -> Result<String, DomainError> {
        self.hash(move || {
            let made = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            made.map(|hash| hash.to_string()).map_err(|_| DomainError::internal("a password could not be hashed"))
        })
        .await
    }

    /// The place is kept until the work is done, also when whoever asked goes away.
    async fn hash<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, DomainError> + Send + 'static,
    ) -> Result<T, DomainError> {
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| DomainError::Crowded)?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = (turn, self);
            work()
        });
        done.await.unwrap_or_else(|_| Err(DomainError::internal("the thread that hashes passwords failed")))
    }
}

/// What is wrong with a new password.
pub(super) fn check_new(password: &str, pointer: &'static str) -> Result<(), DomainError> {
    if (FEWEST..=MOST).contains(&password.chars().count()) {
        return Ok(());
    }
    let message = format!("must have {FEWEST} to {MOST} characters");
    Err(DomainError::Invalid(vec![FieldError::at(pointer, message)]))
}

/// What a record shows of its user's password.
pub(super) fn policy(at: Instant) -> konverse_model::resource::PasswordPolicy {
    konverse_model::resource::PasswordPolicy { allow_new: true, force_new: false, updated_at: Some(at) }
}

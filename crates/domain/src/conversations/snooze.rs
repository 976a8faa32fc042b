//! Snoozes that end by themselves.

use konverse_model::{ConversationId, Instant};
use konverse_store::Due;

use super::edit::Edit;
use crate::{Actor, Domain, DomainError};

impl Domain {
    /// Snoozes whose time has come, without those `job` is in trouble with.
    pub async fn due_snoozes(&self, job: &str, now: Instant, most: u32) -> Result<Vec<Due>, DomainError> {
        Ok(self.store.due(job, now, most).await?)
    }

    /// Ends a snooze, unless it was ended meanwhile.
    pub async fn end_snooze(&self, due: Due) -> Result<(), DomainError> {
        match self.edit_conversation(&Actor::system(due.org), ConversationId(due.id), Edit::Elapse).await {
            Ok(_) | Err(DomainError::NotFound(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

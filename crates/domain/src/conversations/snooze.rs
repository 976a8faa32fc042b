//! Snoozes that end by themselves.

use konverse_model::{ConversationId, Instant, Kind};
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
        let id = ConversationId(due.id);
        match self.edit_conversation(&Actor::system(due.org), id, Edit::Elapse).await {
            Ok(_) | Err(DomainError::NotFound(..)) => {}
            Err(error) => return Err(error),
        }
        // What is due still, whatever its text says, would be found again at once and without end.
        let row = self.store.get(due.org, Kind::Conversation, due.id).await?;
        match row.and_then(|row| row.wake_at) {
            Some(at) if at <= self.now() => Err(DomainError::internal("it is due, but it is not snoozed or not shown")),
            _ => Ok(()),
        }
    }
}

//! The snooze clock: conversations whose snooze has come to its end open again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use konverse_domain::{Domain, Due};
use konverse_model::Instant;

use crate::{Item, Job, JobError};

/// Ends snoozes.
pub struct Snoozes(pub Arc<Domain>);

#[async_trait]
impl Job for Snoozes {
    type Work = Due;

    const NAME: &'static str = "snooze";
    const PAUSE: Duration = Duration::from_millis(500);

    async fn due(&self, now: Instant, most: u32) -> Result<Vec<Item<Due>>, JobError> {
        let due = self.0.due_snoozes(Self::NAME, now, most).await?;
        Ok(due.into_iter().map(|due| Item { org: due.org, id: due.id, work: due }).collect())
    }

    async fn run(&self, due: Due) -> Result<(), JobError> {
        Ok(self.0.end_snooze(due).await?)
    }
}

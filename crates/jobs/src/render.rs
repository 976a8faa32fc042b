//! Rendering anew what an older renderer made, in the background, until there is nothing left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use konverse_domain::{Domain, Outdated};
use konverse_model::Instant;

use crate::{Item, Job, JobError};

/// Rows rendered in one round: a few hundred, so that requests hardly notice.
const AT_ONCE: u32 = 300;

/// Renders outdated texts anew.
pub struct Rerender(pub Arc<Domain>);

#[async_trait]
impl Job for Rerender {
    type Work = Outdated;

    const NAME: &'static str = "render";
    const PAUSE: Duration = Duration::from_secs(60);
    const BREATH: Duration = Duration::from_millis(50);

    async fn due(&self, now: Instant, most: u32) -> Result<Vec<Item<Outdated>>, JobError> {
        for kind in Domain::RENDERED {
            let found = self.0.outdated(Self::NAME, kind, now, most.min(AT_ONCE)).await?;
            if !found.is_empty() {
                return Ok(found.into_iter().map(|work| Item { org: work.org, id: work.id(), work }).collect());
            }
        }
        Ok(Vec::new())
    }

    async fn run(&self, outdated: Outdated) -> Result<(), JobError> {
        Ok(self.0.render_anew(outdated).await?)
    }
}

//! Keeping the counted blocks of long lists small, so that a page is found by its number at the same cost at any depth.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use konverse_model::{Id, Instant, OrgId};
use konverse_store::{List, Scope, Store};

use crate::{Item, Job, JobError};

/// Rows of a block at most. To find a page costs the rows skipped within its block: a third of this on average, and on
/// SQLite their texts lie between them where a list is the table's own order. Smaller blocks only make more of them.
pub const BLOCK: u32 = 256;

/// Counts long lists and divides blocks that have grown.
pub struct Blocks {
    store: Arc<dyn Store>,
    size: u32,
}

/// The lists of one org, customer or conversation.
pub struct Uneven {
    org: OrgId,
    lists: Vec<List>,
}

impl Blocks {
    /// Over this store, with blocks of [`BLOCK`] rows.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::of_size(store, BLOCK)
    }

    /// With blocks of another size.
    pub fn of_size(store: Arc<dyn Store>, size: u32) -> Self {
        Self { store, size }
    }
}

#[async_trait]
impl Job for Blocks {
    type Work = Uneven;

    const NAME: &'static str = "blocks";
    const PAUSE: Duration = Duration::from_secs(10);
    const BREATH: Duration = Duration::from_millis(250);
    // Each locks a customer's lane or all of an org's. Side by side they would wait for each other, on PostgreSQL with as
    // many of the connections that requests write on.
    const ABREAST: usize = 1;

    async fn due(&self, now: Instant, most: u32) -> Result<Vec<Item<Uneven>>, JobError> {
        let mut items: Vec<Item<Uneven>> = Vec::new();
        // Those of one scope come one after the other.
        for (org, list) in self.store.uneven(Self::NAME, now, self.size, most).await? {
            let id = scope(org, &list);
            match items.last_mut().filter(|item| item.org == org && item.id == id) {
                Some(item) => item.work.lists.push(list),
                None => items.push(Item { org, id, work: Uneven { org, lists: vec![list] } }),
            }
        }
        Ok(items)
    }

    async fn run(&self, work: Uneven) -> Result<(), JobError> {
        // One that fails does not hold up the others.
        let mut outcome = Ok(());
        for list in &work.lists {
            let evened = self.store.even_out(work.org, list, self.size).await;
            outcome = outcome.and(evened);
        }
        Ok(outcome?)
    }
}

fn scope(org: OrgId, list: &List) -> Id {
    match list.scope {
        Scope::Org => org.0,
        Scope::Customer(id) => id.0,
        Scope::Conversation(id) => id.0,
    }
}

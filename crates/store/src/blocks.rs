//! Counts that let a page be found by its number.

use async_trait::async_trait;
use konverse_model::{Instant, OrgId};

use crate::{List, StoreError};

/// Counted blocks of long lists. The counts are exact at any time; what is kept up from time to time is only that blocks
/// are small.
#[async_trait]
pub trait Blocks: Send + Sync + 'static {
    /// Lists that may have become long, and lists whose blocks have changed a lot, without those of a scope that `job` is
    /// in trouble with and shall not try yet. `size` is the rows a block has at most.
    async fn uneven(&self, job: &str, now: Instant, size: u32, limit: u32) -> Result<Vec<(OrgId, List)>, StoreError>;

    /// Cuts a list that is longer than `size` into blocks of no more rows than that. Rows of one instant stay together.
    async fn even_out(&self, org: OrgId, list: &List, size: u32) -> Result<(), StoreError>;
}

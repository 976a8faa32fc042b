//! What work that runs by itself keeps in the database: what is due, who does it, what failed, how far it came.

use async_trait::async_trait;
use konverse_model::{Id, Instant, Kind, OrgId};

use crate::{Row, StoreError};

/// A record something is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its org.
    pub org: OrgId,
    /// The record.
    pub id: Id,
}

/// An item a job could not do. It waits by itself; the job goes on with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The job.
    pub job: String,
    /// The item's org.
    pub org: OrgId,
    /// The item.
    pub item: Id,
    /// How often it failed.
    pub attempts: i64,
    /// Not before then it is tried again.
    pub retry_at: Instant,
    /// Why, for people.
    pub reason: String,
}

/// Jobs, leases, followers.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Conversations whose time has come, oldest first, without those `job` is in trouble with and shall not try yet.
    async fn due(&self, job: &str, now: Instant, limit: u32) -> Result<Vec<Due>, StoreError>;

    /// Records of a kind whose text an older renderer made, without those `job` is in trouble with.
    async fn outdated(&self, job: &str, kind: Kind, now: Instant, limit: u32) -> Result<Vec<(OrgId, Row)>, StoreError>;

    /// Takes or renews the lease on `name` for `holder` until `until`; false while another holds it. One that ends more
    /// than a lease later than `until` was taken before the clock was set back, and holds no longer.
    async fn lease(&self, name: &str, holder: Id, now: Instant, until: Instant) -> Result<bool, StoreError>;

    /// Who holds the lease on `name`, so that another may not take it until `until`.
    async fn holder(&self, name: &str, now: Instant, until: Instant) -> Result<Option<Id>, StoreError>;

    /// Gives a lease back, if `holder` has it.
    async fn release(&self, name: &str, holder: Id) -> Result<(), StoreError>;

    /// What `job` is in trouble with, the soonest to try again first.
    async fn troubles(&self, job: &str, limit: u32) -> Result<Vec<Trouble>, StoreError>;

    /// What `job` is in trouble with in one org and shall try again by now, the longest waiting first.
    async fn due_troubles(&self, job: &str, org: OrgId, now: Instant, limit: u32) -> Result<Vec<Trouble>, StoreError>;

    /// The trouble with one item.
    async fn trouble(&self, job: &str, org: OrgId, item: Id) -> Result<Option<Trouble>, StoreError>;

    /// Notes that an item failed (again).
    async fn put_trouble(&self, trouble: Trouble) -> Result<(), StoreError>;

    /// The item is done, or gone.
    async fn clear_trouble(&self, job: &str, org: OrgId, item: Id) -> Result<(), StoreError>;

    /// How far a follower came in an org's sequence, as it was put.
    async fn position(&self, follower: &str, org: OrgId) -> Result<Option<String>, StoreError>;

    /// Keeps how far a follower came.
    async fn put_position(&self, follower: &str, org: OrgId, position: &str) -> Result<(), StoreError>;
}

//! Followers: handed every event, from where they were left.

use std::time::Duration;

use async_trait::async_trait;
use konverse_jobs::{JobError, LEASE_MS, Runner, unpanicked};
use konverse_model::OrgId;
use konverse_store::{Event, lane_and_seq};
use tokio::sync::watch;

use crate::{Feed, FeedError, Position};

/// Events handed over before the position is kept.
const AT_ONCE: u32 = 500;

/// Failed events tried again in one round.
const TROUBLES: u32 = 100;

/// Somebody for whom things follow from changes.
#[async_trait]
pub trait Follower: Send + Sync {
    /// Its name, under which its position, its lease and its troubles are kept.
    fn name(&self) -> &str;

    /// Takes an event. It may come twice: a process can end between the work and the note of it. An error puts the event
    /// aside; it comes again later, out of order.
    async fn take(&self, org: OrgId, event: &Event) -> Result<(), JobError>;

    /// The follower was away for longer than events are kept: it begins anew, from the records as they are.
    async fn begin_anew(&self, org: OrgId) -> Result<(), JobError>;
}

/// What one look brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Events taken.
    pub taken: usize,
    /// Events put aside.
    pub failed: usize,
    /// Another process follows at present.
    pub elsewhere: bool,
}

/// Hands a follower what it has not seen of one org, a batch at most.
pub async fn follow_once(runner: &Runner, follower: &dyn Follower, org: OrgId) -> Result<Followed, JobError> {
    let name = follower.name();
    // Of one org by one process: orgs can be followed by several.
    let lease = format!("{name} {org}");
    if !runner.holds(&lease).await? {
        return Ok(Followed { elsewhere: true, ..Followed::default() });
    }
    let mut followed = again(runner, follower, org).await?;
    let store = runner.store();
    let feed = Feed::new(store.clone(), org);
    let kept = store.position(name, org).await?;
    let position: Position = match kept.map(|text| text.parse()) {
        Some(Ok(position)) => position,
        Some(Err(_)) | None => Position::default(),
    };
    let batch = match feed.after(&position, AT_ONCE).await {
        Ok(batch) => batch,
        Err(FeedError::Gone) => {
            tracing::warn!(follower = name, %org, "events it had not seen are no longer kept: it begins anew");
            let newest = feed.newest().await.map_err(|error| JobError(error.to_string()))?;
            follower.begin_anew(org).await?;
            store.put_position(name, org, &newest.to_string()).await?;
            return Ok(followed);
        }
        Err(FeedError::Store(error)) => return Err(error.into()),
    };
    let mut held_at = runner.now();
    for event in &batch.events {
        // A slow follower keeps its turn. One that lost it leaves the position to whoever has it now.
        if runner.now() > held_at.plus(LEASE_MS / 3) {
            if !runner.holds(&lease).await? {
                return Ok(Followed { elsewhere: true, ..followed });
            }
            held_at = runner.now();
        }
        match unpanicked(follower.take(org, event)).await {
            Ok(()) => followed.taken += 1,
            Err(error) => {
                // Kept before the position moves on, so that it cannot be forgotten.
                runner.put_aside(name, org, event.id().0, &error).await?;
                followed.failed += 1;
            }
        }
    }
    if batch.position != position {
        store.put_position(name, org, &batch.position.to_string()).await?;
    }
    Ok(followed)
}

/// Tries again what was put aside and whose time has come.
async fn again(runner: &Runner, follower: &dyn Follower, org: OrgId) -> Result<Followed, JobError> {
    let (name, now) = (follower.name(), runner.now());
    let mut followed = Followed::default();
    // Those of this org alone: the troubles of another may be more than anybody looks at.
    for trouble in runner.store().due_troubles(name, org, now, TROUBLES).await? {
        let (lane, seq) = lane_and_seq(konverse_model::EventId(trouble.item));
        let event = runner.store().events(org, lane, seq - 1, 1).await?.pop().filter(|event| event.seq == seq);
        let outcome = match &event {
            Some(event) => unpanicked(follower.take(org, event)).await,
            // No longer kept: nothing can be tried any more.
            None => Ok(()),
        };
        match outcome {
            Ok(()) => {
                runner.mended(name, org, trouble.item).await?;
                followed.taken += usize::from(event.is_some());
            }
            Err(error) => {
                runner.put_aside(name, org, trouble.item, &error).await?;
                followed.failed += 1;
            }
        }
    }
    Ok(followed)
}

/// Follows every org until told to stop. `changed` wakes it when this process changed something; other processes'
/// changes are found by looking every `pause`.
pub async fn follow(
    runner: &Runner,
    follower: &dyn Follower,
    mut changed: watch::Receiver<u64>,
    mut stopped: watch::Receiver<bool>,
    pause: Duration,
) {
    let mut leases = Vec::new();
    loop {
        changed.borrow_and_update();
        let mut more = false;
        match runner.store().orgs().await {
            Ok(orgs) => {
                for org in orgs {
                    match follow_once(runner, follower, org.id).await {
                        Ok(followed) => {
                            // A batch is seldom full: it is shared by the lanes, and some of it may have failed.
                            more |= followed.taken + followed.failed > 0;
                            let lease = format!("{} {}", follower.name(), org.id);
                            if !followed.elsewhere && !leases.contains(&lease) {
                                leases.push(lease);
                            }
                        }
                        // One org's failure holds up no other's.
                        Err(error) => {
                            tracing::error!(follower = follower.name(), org = %org.id, "cannot follow: {error}")
                        }
                    }
                }
            }
            Err(error) => tracing::error!(follower = follower.name(), "cannot follow: {error}"),
        }
        if more && !*stopped.borrow() {
            continue;
        }
        tokio::select! {
            Ok(()) = changed.changed() => {}
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    for lease in leases {
        if let Err(error) = runner.let_go(&lease).await {
            tracing::warn!(lease, "the lease could not be given back: {error}");
        }
    }
}

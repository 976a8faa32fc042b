//! Forgetting old events.

use konverse_model::Instant;
use konverse_store::{Store, StoreError};

/// Events forgotten in one transaction.
const AT_ONCE: u32 = 1_000;

/// Forgets what happened before `before`, in every org; gives how many events. An org that fails holds up no other: the
/// first failure is given when all were tried.
pub async fn forget_old(store: &dyn Store, before: Instant) -> Result<u64, StoreError> {
    let (mut forgotten, mut failure) = (0, None);
    for org in store.orgs().await? {
        let heads = match store.heads(org.id).await {
            Ok(heads) => heads,
            Err(error) => {
                failure.get_or_insert(error);
                continue;
            }
        };
        for head in heads {
            loop {
                match store.forget(org.id, head.lane, before, AT_ONCE).await {
                    Ok(0) => break,
                    Ok(count) => forgotten += count,
                    Err(error) => {
                        failure.get_or_insert(error);
                        break;
                    }
                }
            }
        }
    }
    failure.map_or(Ok(forgotten), Err)
}

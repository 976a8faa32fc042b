//! Deleting a customer with all that is theirs (contract `resources.md` §4).

use konverse_model::resource::CustomerAttributes;
use konverse_model::{CustomerId, Kind};
use konverse_store::{Changes, Hidden, Hide, Op};

use super::CUSTOMERS;
use crate::access::permissions::DeleteCustomers;
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Deletes a customer with everything of theirs: nothing of it shows any longer, and their names are free.
    pub async fn delete_customer(&self, auth: &Authorized<DeleteCustomers>, id: CustomerId) -> Result<(), DomainError> {
        let (org, actor) = (auth.org(), auth.actor().user);
        let _lock = self.lock(org, id).await;
        self.commit(|| async {
            let mut draft = Draft::<CustomerAttributes>::read(self.row(org, Kind::Customer, id.0).await?)?;
            let now = self.now();
            draft.hidden = Hidden::Deleted;
            draft.edited(actor, now);
            let mut changes = Changes::new(org, now);
            changes.ops.push(Op::ReleaseAll(Kind::Customer, id.0));
            changes.ops.push(Op::Hide(Hide::OfCustomer(id), actor));
            changes.tally(CUSTOMERS, id.0, -1);
            draft.finish(actor, &mut changes)?;
            Ok((changes, ()))
        })
        .await
        .map(drop)
    }
}

//! Texts that an older renderer made, rendered anew: the record stays as it is, its text gets the members it lacks.

use konverse_model::resource::{
    ConversationAttributes, CustomerAttributes, MessageAttributes, MetadataAttributes, NoteAttributes, TokenAttributes,
};
use konverse_model::{Id, Instant, Kind, OrgId};
use konverse_store::{Changes, Row, StoreError};

use crate::directory::{self, of_kind};
use crate::unit::{Draft, Tracked};
use crate::{Domain, DomainError};

/// A record whose text is outdated.
#[derive(Clone, Debug)]
pub struct Outdated {
    /// Its org.
    pub org: OrgId,
    row: Row,
}

impl Outdated {
    /// Its id.
    pub fn id(&self) -> Id {
        self.row.id
    }
}

impl Domain {
    /// The kinds of record whose texts are kept.
    pub const RENDERED: [Kind; 6 + directory::KINDS.len()] = {
        let mut kinds = [Kind::Token; 6 + directory::KINDS.len()];
        (kinds[0], kinds[1], kinds[2], kinds[3]) = (Kind::Conversation, Kind::Customer, Kind::Message, Kind::Note);
        kinds[4] = Kind::Metadata;
        let mut n = 0;
        while n < directory::KINDS.len() {
            kinds[5 + n] = directory::KINDS[n];
            n += 1;
        }
        kinds
    };

    /// Records of a kind whose text an older renderer made, without those `job` is in trouble with.
    pub async fn outdated(&self, job: &str, kind: Kind, now: Instant, most: u32) -> Result<Vec<Outdated>, DomainError> {
        let rows = self.store.outdated(job, kind, now, most).await?;
        Ok(rows.into_iter().map(|(org, row)| Outdated { org, row }).collect())
    }

    /// Renders a record anew. Neither `rev` nor `updatedAt` moves and nothing is told of it. One that changed meanwhile
    /// has been rendered by whoever changed it.
    pub async fn render_anew(&self, outdated: Outdated) -> Result<(), DomainError> {
        let Outdated { org, row } = outdated;
        let mut changes = Changes::new(org, self.now());
        match row.kind {
            Kind::Customer => rendered::<CustomerAttributes>(row, &mut changes)?,
            Kind::Conversation => rendered::<ConversationAttributes>(row, &mut changes)?,
            Kind::Message => rendered::<MessageAttributes>(row, &mut changes)?,
            Kind::Note => rendered::<NoteAttributes>(row, &mut changes)?,
            Kind::Token => rendered::<TokenAttributes>(row, &mut changes)?,
            Kind::Metadata => rendered::<MetadataAttributes>(row, &mut changes)?,
            kind => of_kind!(
                kind,
                K => rendered::<K>(row, &mut changes)?,
                else return Err(DomainError::internal(format!("no text is kept of {}", kind.name())))
            ),
        }
        match self.apply(changes).await {
            Ok(_) | Err(StoreError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn rendered<A: Tracked>(row: Row, changes: &mut Changes) -> Result<(), DomainError> {
    Draft::<A>::read(row)?.render_anew(changes);
    Ok(())
}

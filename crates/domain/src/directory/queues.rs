//! Queues (contract `endpoints.md`, `GET /v1/queues`). They come in by import.

use konverse_model::Id;
use konverse_model::input::QueueRow;
use konverse_model::resource::{Queue, QueueAttributes};
use konverse_store::Space;

use super::entry::{Desk, Entry, Imported, Name, NoFilter, Only};
use crate::DomainError;
use crate::access::permissions::ReadQueues;

impl Entry for QueueAttributes {
    type Create = QueueRow;
    type Filter = NoFilter;
    type MayRead = ReadQueues;

    fn names(&self) -> Vec<Name> {
        vec![Name::folded(Space::QueueName, &self.name, "/name")]
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(body: &QueueRow) -> Option<Id> {
        body.id.0
    }

    async fn fresh(desk: &mut Desk<'_>, body: QueueRow) -> Result<Queue, DomainError> {
        let created_at = desk.created_at(body.created_at.0);
        let attributes = QueueAttributes {
            name: body.name.0.unwrap_or_default(),
            display_name: body.display_name.given(),
            description: body.description.given(),
            priority: body.priority.given(),
            created_at,
            updated_at: desk.now(),
            modified_at: desk.modified_at(body.modified_at.0, created_at),
        };
        let mut queue = desk.document(body.id.0, attributes);
        desk.sign(&mut queue, body.created_by.0, body.modified_by.0).await?;
        Ok(queue)
    }
}

impl Imported for QueueAttributes {
    fn known_by(body: &QueueRow) -> Option<(Space, String)> {
        body.name.0.as_ref().map(|name| (Space::QueueName, name.to_lowercase()))
    }
}

//! Conversations: creating, changing, tagging, moving, deleting, waking (contract `resources.md` §1).

mod create;
mod edit;
mod move_to;
mod snooze;
mod update;

use konverse_model::input::{ConversationUpdate, Queue};
use konverse_model::resource::Conversation;
use konverse_model::{ConversationId, CustomerId, Id, Kind};
use konverse_store::{Hidden, Hide};

use crate::access::permissions::{ReadAttachments, ReadConversations};
use crate::timeline::Timeline;
use crate::{Authorized, Domain, DomainError, ListRequest, WholePage};

/// Priority of a conversation that was given none.
const PRIORITY: u8 = 3;

/// Most tags a conversation carries.
const MOST_TAGS: usize = 20;

/// A change to a conversation.
#[derive(Clone, Debug)]
pub enum ConversationEdit {
    /// Form A: some of its attributes; `replace` resets those not named.
    Attributes {
        /// What changes.
        body: Box<ConversationUpdate>,
        /// Whether attributes not named go back to their fresh values.
        replace: bool,
    },
    /// Form B: to another customer.
    Move(CustomerId),
}

impl Domain {
    /// One conversation, as text.
    pub async fn conversation(
        &self,
        auth: &Authorized<ReadConversations>,
        id: ConversationId,
    ) -> Result<String, DomainError> {
        auth.actor().shown(Kind::Conversation, self.row(auth.org(), Kind::Conversation, id.0).await?.doc)
    }

    /// Several conversations, in the order asked; ids that are unknown or deleted are left out.
    pub async fn conversations(
        &self,
        auth: &Authorized<ReadConversations>,
        ids: &[ConversationId],
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        let ids: Vec<Id> = ids.iter().map(|id| id.0).collect();
        self.page_of(auth.actor(), Kind::Conversation, &ids, "id", request).await
    }

    /// The attachments of a conversation's messages. Messages name theirs by id alone and nothing else is known of any, so
    /// there are none to list.
    pub async fn conversation_attachments(
        &self,
        auth: &Authorized<ReadAttachments>,
        id: ConversationId,
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        self.row(auth.org(), Kind::Conversation, id.0).await?;
        self.page_of(auth.actor(), Kind::Attachment, &[], "pageSize", request).await
    }

    /// The conversation with this external id, as text.
    pub async fn conversation_by_external_id(
        &self,
        auth: &Authorized<ReadConversations>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.doc_by_external_id(auth.actor(), Kind::Conversation, external_id).await
    }
}

fn hide(timeline: &mut Timeline<'_>, id: ConversationId) -> Result<(), DomainError> {
    let draft = timeline.conversation(id)?;
    draft.hidden = Hidden::Deleted;
    let doc = draft.doc.clone();
    timeline.hide(Hide::OfConversation(timeline.customer_id(), id.0));
    timeline.reassess_if_shown(&doc);
    Ok(())
}

fn set_queue(conversation: &mut Conversation, queue: Option<Queue>) {
    let Some(queue) = queue else { return };
    conversation.relationships.set_one("queue", Kind::Queue, queue.id.0);
    conversation.attributes.external_queue = queue.external.0;
}

//! Moving a conversation to another customer (contract `endpoints.md`, form B).

use konverse_model::resource::{Conversation, ConversationAttributes, MessageAttributes, NoteAttributes};
use konverse_model::{ConversationId, CustomerId, Document, Kind, Rel};
use konverse_store::{Changes, Scope};
use tokio::sync::OnceCell;

use crate::access::permissions::UpdateConversations;
use crate::directory::References;
use crate::timeline::{Anchor, Timeline};
use crate::unit::{Draft, Stored};
use crate::{Authorized, Domain, DomainError};

/// What a move leaves: the conversation, moved or where it was.
enum Moved {
    There(Box<Stored<ConversationAttributes>>),
    Already(Box<Conversation>),
}

impl Domain {
    pub(super) async fn move_conversation(
        &self,
        auth: &Authorized<UpdateConversations>,
        id: ConversationId,
        target: CustomerId,
    ) -> Result<Conversation, DomainError> {
        let org = auth.org();
        let held = self.hold_with(auth.actor(), Anchor::Conversation(id), target).await?;
        // Held until what was rewritten is stored, where it is much.
        let turn = OnceCell::new();
        let (applied, moved) = self
            .commit(|| async {
                let mut references = References::new(self.store.clone(), org);
                let (mut leaving, _) = Timeline::around(self, auth.actor(), &mut references, &held).await?;
                let source = leaving.customer_id();
                let (author, now) = (leaving.author.clone(), leaving.now);
                let missing = || DomainError::NotFound(Kind::Conversation, id.to_string());
                let mut draft = leaving.conversations.shift_remove(&id).filter(Draft::shows).ok_or_else(missing)?;
                if source == target {
                    return Ok((Changes::new(org, now), Moved::Already(Box::new(draft.doc))));
                }
                let mut arriving = match Timeline::load(self, org, author.clone(), target).await {
                    Err(DomainError::NotFound(..)) => {
                        return Err(DomainError::invalid(
                            "/customer",
                            format!("names no customer of this org: {target}"),
                        ));
                    }
                    other => other?,
                };
                leaving.leave(&draft.doc);
                let to = Rel::One(Kind::Customer, target.0);
                draft.doc.relationships.set("customer", to.clone());
                draft.edited(author.user, now);
                arriving.reassess_if_shown(&draft.doc);
                arriving.conversations.insert(id, draft);
                let mut messages = self.pages(org, Kind::Message, Scope::Conversation(id));
                while let Some(rows) = messages.next().await? {
                    if messages.goes_on() {
                        turn.get_or_try_init(|| self.move_much()).await?;
                    }
                    for row in rows {
                        let mut message = Draft::read(row)?;
                        message.doc.relationships.set("customer", to.clone());
                        arriving.rewrite::<MessageAttributes>(message)?;
                    }
                }
                let mut notes = self.pages(org, Kind::Note, Scope::Conversation(id));
                while let Some(rows) = notes.next().await? {
                    if notes.goes_on() {
                        turn.get_or_try_init(|| self.move_much()).await?;
                    }
                    for row in rows {
                        let mut note = Draft::read(row)?;
                        note.doc.relationships.set("customer", to.clone());
                        arriving.rewrite::<NoteAttributes>(note)?;
                    }
                }
                // The source only looks at what remains: the conversation is stored once, by the target.
                let (mut changes, finished) = arriving.finish().await?;
                let (left, _) = leaving.finish().await?;
                changes.ops.extend(left.ops);
                Ok((changes, Moved::There(Box::new(finished.conversation(id)?))))
            })
            .await?;
        let moved = match moved {
            Moved::There(stored) => stored.settle(&applied),
            Moved::Already(doc) => Document::clone(&doc),
        };
        Ok(auth.actor().shown_record(moved))
    }
}

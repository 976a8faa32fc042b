//! What follows for conversations and customers, worked out anew from everything there is and changing nothing: what a check
//! compares with what is stored.
//!
//! Closings, reopenings, times in a status and the newest activity were recorded when they happened. Nothing else tells of
//! them, so they are kept as they are.

use konverse_model::resource::{
    Conversation, ConversationCounts, ConversationState, Customer, CustomerAttributes, CustomerMessageMark, Message,
    MessageMark,
};
use konverse_model::{ConversationId, Id, Instant};

use super::customer::{Remaining, customer_heard, set_last_conversation};
use super::messages::{fold_message, forget_messages};

/// A conversation whose messages are folded anew, in the order they were sent.
pub(crate) struct Refold {
    /// The conversation as its messages have left it so far.
    pub(crate) doc: Conversation,
    /// What is kept beside it.
    pub(crate) state: ConversationState,
}

impl Refold {
    /// The conversation before its first message.
    pub(crate) fn begin(doc: &Conversation, state: &ConversationState) -> Self {
        let (mut doc, mut state) = (doc.clone(), state.clone());
        forget_messages(&mut doc, &mut state);
        Self { doc, state }
    }

    /// The next message; what follows for it is set.
    pub(crate) fn fold(&mut self, message: &mut Message) {
        fold_message(&mut self.doc, &mut self.state, message);
    }

    /// After the last message: so many notes, the newest of them of that moment.
    pub(crate) fn with_notes(&mut self, count: u64, newest: Option<Instant>) {
        let attributes = &mut self.doc.attributes;
        attributes.note_count = count;
        attributes.last_activity_at =
            newest.map_or(attributes.last_activity_at, |at| at.max(attributes.last_activity_at));
    }
}

/// What follows for a customer from their conversations that show. Of two that would do equally well, the one that is shown
/// is right.
pub(crate) struct Reassessment {
    stored: CustomerAttributes,
    counts: ConversationCounts,
    remaining: Remaining,
    /// The conversation shown as the last one.
    shown: Option<Conversation>,
    latest: Option<Instant>,
    /// Whether a conversation has the newest inbound and outbound message as shown.
    marks: [bool; 2],
}

impl Reassessment {
    /// Of a customer as they are stored.
    pub(crate) fn begin(stored: &CustomerAttributes) -> Self {
        Self {
            stored: stored.clone(),
            counts: ConversationCounts::default(),
            remaining: Remaining::default(),
            shown: None,
            latest: None,
            marks: [false; 2],
        }
    }

    /// The next conversation, in any order.
    pub(crate) fn see(&mut self, conversation: Conversation) {
        let attributes = &conversation.attributes;
        self.counts.add(attributes.status, 1);
        self.latest = self.latest.max(attributes.last_message_at);
        let mark = |mark: &Option<MessageMark>| {
            mark.as_ref().map(|mark| CustomerMessageMark { sent_at: mark.sent_at, channel: mark.channel.clone() })
        };
        let stored = &self.stored;
        self.marks[0] |=
            stored.last_message_in.is_some() && stored.last_message_in == mark(&attributes.last_message_in);
        self.marks[1] |=
            stored.last_message_out.is_some() && stored.last_message_out == mark(&attributes.last_message_out);
        if stored.last_conversation.id == Some(conversation.conversation_id()) {
            self.shown = Some(conversation.clone());
        }
        self.remaining.see(conversation);
    }

    /// The conversation whose newest message the customer shows, if any has one.
    pub(crate) fn last_with_messages(&self) -> Option<ConversationId> {
        let shown = self.shown.as_ref().filter(|shown| self.is_last(shown));
        shown.map(Conversation::conversation_id).or_else(|| self.remaining.newest_with_messages())
    }

    fn is_last(&self, conversation: &Conversation) -> bool {
        self.latest.is_some() && conversation.attributes.last_message_at == self.latest
    }

    /// The customer as they should be; `last_message` is the newest of [`Reassessment::last_with_messages`].
    pub(crate) fn settle(self, customer: &Customer, last_message: Option<Message>) -> Customer {
        let mut expected = customer.clone();
        let shown = self.shown.clone().filter(|shown| self.is_last(shown));
        let newest = |mark: &Option<CustomerMessageMark>| mark.as_ref().map(|mark| mark.sent_at);
        self.remaining.settle(&mut expected, last_message.clone());
        let attributes = &mut expected.attributes;
        if let Some(shown) = shown {
            set_last_conversation(attributes, &shown);
            if let Some(message) = last_message {
                customer_heard(attributes, &shown, &message);
            }
        }
        let stored = &self.stored;
        for (own, kept, found) in [
            (&mut attributes.last_message_in, &stored.last_message_in, self.marks[0]),
            (&mut attributes.last_message_out, &stored.last_message_out, self.marks[1]),
        ] {
            if found && newest(own) == newest(kept) {
                own.clone_from(kept);
            }
        }
        // What somebody may have said of the customer since, and what only ever grows.
        attributes.sentiment.clone_from(&stored.sentiment);
        attributes.last_customer_activity_at = stored.last_customer_activity_at;
        attributes.last_activity_at = stored.last_activity_at;
        attributes.conversation_counts = self.counts;
        attributes.progressive_status = self.counts.progressive();
        expected
    }
}

/// The order in which messages are folded.
pub(crate) fn fold_order(message: &Message) -> (Instant, Id) {
    (message.attributes.sent_at, message.id)
}

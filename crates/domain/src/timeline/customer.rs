//! What follows for a customer from their conversations and messages (contract `resources.md` §4).

use konverse_model::resource::{
    Conversation, ConversationAttributes, Customer, CustomerAttributes, CustomerMessageMark, Direction,
    LastConversation, Message, MessageMark, Preview,
};
use konverse_model::{ConversationId, Instant, MessageId};

use super::messages::PREVIEW_LENGTH;
use super::shorten;

/// What a message makes of its customer.
pub(crate) fn customer_heard(customer: &mut CustomerAttributes, conversation: &Conversation, message: &Message) {
    let said = &message.attributes;
    let mark = CustomerMessageMark { sent_at: said.sent_at, channel: Some(said.channel.clone()) };
    let last = match said.direction {
        Direction::In => {
            customer.last_customer_activity_at = customer.last_customer_activity_at.max(said.sent_at);
            &mut customer.last_message_in
        }
        Direction::Out => &mut customer.last_message_out,
    };
    if last.as_ref().is_none_or(|last| last.sent_at <= said.sent_at) {
        // The channel of an outbound message is not shown (§4).
        let channel = mark.channel.filter(|_| said.direction == Direction::In);
        *last = Some(CustomerMessageMark { channel, ..mark });
    }
    customer.last_activity_at = customer.last_activity_at.max(said.sent_at);
    if customer.last_message_at.is_none_or(|at| at <= said.sent_at) {
        customer.last_message_at = Some(said.sent_at);
        customer.preview = Preview {
            kind: Some(format!("message_{}", said.direction.name())),
            text: said.preview.as_ref().map(|text| shorten(text, PREVIEW_LENGTH)),
            subject: said.subject.clone(),
            channel: Some(said.channel.clone()),
            preview_at: Some(said.sent_at),
        };
        set_last_conversation(customer, conversation);
    }
}

/// The channel of an inbound message, where the conversation's own marks tell it.
fn channel_of(attributes: &ConversationAttributes, id: MessageId) -> Option<String> {
    let marks = [&attributes.first_message_in, &attributes.last_message_in];
    marks.into_iter().flatten().find(|mark| mark.id == id).and_then(|mark| mark.channel.clone())
}

/// Makes a conversation the customer's last one, as it is now.
pub(crate) fn set_last_conversation(customer: &mut CustomerAttributes, conversation: &Conversation) {
    let attributes = &conversation.attributes;
    customer.last_conversation = LastConversation {
        id: Some(conversation.conversation_id()),
        tags: attributes.tags.clone(),
        channels: attributes.channels.clone(),
        sentiment: Some(attributes.sentiment.clone()),
    };
    if !attributes.sentiment.is_empty() {
        customer.sentiment = Some(attributes.sentiment.clone());
    }
    customer.last_message_unresponded_to = attributes
        .last_message_unresponded_to
        .as_ref()
        .map(|mark| CustomerMessageMark { sent_at: mark.sent_at, channel: channel_of(attributes, mark.id) });
}

/// Keeps the customer's last conversation right after one of theirs was created or changed.
pub(crate) fn follow_conversation(customer: &mut CustomerAttributes, conversation: &Conversation) {
    let id = conversation.conversation_id();
    let is_last = match (customer.last_conversation.id, customer.last_message_at) {
        (Some(last), _) if last == id => true,
        // Without any message the newest conversation counts; ids sort by creation.
        (last, None) => last.is_none_or(|last| last < id),
        (last, Some(_)) => last.is_none(),
    };
    if is_last {
        set_last_conversation(customer, conversation);
    }
    let attributes = &conversation.attributes;
    customer.last_activity_at = customer.last_activity_at.max(attributes.last_activity_at);
}

/// Whether the customer shows anything of this conversation, or would: only then does its leaving or coming back make it
/// necessary to look at all the others.
pub(crate) fn shows_in(customer: &CustomerAttributes, conversation: &Conversation) -> bool {
    let attributes = &conversation.attributes;
    let newest = |mark: &Option<MessageMark>, last: &Option<CustomerMessageMark>| match (mark, last) {
        (Some(mark), Some(last)) => mark.sent_at >= last.sent_at,
        (mark, _) => mark.is_some(),
    };
    customer.last_conversation.id.is_none_or(|last| last == conversation.conversation_id())
        || customer.last_message_at.is_none()
        || attributes.last_message_at >= customer.last_message_at
        || newest(&attributes.last_message_in, &customer.last_message_in)
        || newest(&attributes.last_message_out, &customer.last_message_out)
}

/// Works out anew what follows from a customer's conversations, after one was deleted or moved away. Every remaining one
/// is looked at once.
#[derive(Default)]
pub(crate) struct Remaining {
    newest: Option<((Option<Instant>, ConversationId), Conversation)>,
    last_in: Option<CustomerMessageMark>,
    last_out: Option<CustomerMessageMark>,
}

impl Remaining {
    pub(crate) fn see(&mut self, conversation: Conversation) {
        let attributes = &conversation.attributes;
        let newer = |mark: &Option<MessageMark>, last: &Option<CustomerMessageMark>| {
            mark.as_ref()
                .filter(|mark| last.as_ref().is_none_or(|last| last.sent_at < mark.sent_at))
                .map(|mark| CustomerMessageMark { sent_at: mark.sent_at, channel: mark.channel.clone() })
        };
        if let Some(mark) = newer(&attributes.last_message_in, &self.last_in) {
            self.last_in = Some(mark);
        }
        if let Some(mark) = newer(&attributes.last_message_out, &self.last_out) {
            self.last_out = Some(mark);
        }
        let key = (attributes.last_message_at, conversation.conversation_id());
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest < key) {
            self.newest = Some((key, conversation));
        }
    }

    /// Settles the customer; `last_message` is the newest message of the conversation found newest.
    pub(crate) fn settle(self, customer: &mut Customer, last_message: Option<Message>) {
        let attributes = &mut customer.attributes;
        if let Some(last) = &self.last_in {
            attributes.last_customer_activity_at = attributes.last_customer_activity_at.max(last.sent_at);
        }
        attributes.last_message_in = self.last_in;
        attributes.last_message_out = self.last_out;
        attributes.last_message_at = None;
        attributes.last_message_unresponded_to = None;
        attributes.last_conversation = LastConversation::default();
        attributes.preview = Preview::default();
        if let Some((_, conversation)) = self.newest {
            set_last_conversation(attributes, &conversation);
            if let Some(message) = last_message {
                customer_heard(attributes, &conversation, &message);
            }
        }
    }

    /// The conversation found newest, if it has messages.
    pub(crate) fn newest_with_messages(&self) -> Option<ConversationId> {
        self.newest.as_ref().filter(|((at, _), _)| at.is_some()).map(|((_, id), _)| *id)
    }
}

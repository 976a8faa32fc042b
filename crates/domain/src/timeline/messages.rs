//! What follows for a conversation from its messages, folded in the order they were sent (contract `resources.md` §1,
//! §1.2, §2).

use konverse_model::resource::{
    Conversation, ConversationAttributes, ConversationState, Direction, DirectionType, Message, MessageMark, ReplyMark,
};
use konverse_model::{MessageId, UserId};

use super::shorten;

/// Characters of a name taken from a message.
const NAME_LENGTH: usize = 256;

/// Characters of a preview on a conversation or a customer: enough for a line of a list.
pub(super) const PREVIEW_LENGTH: usize = 256;

/// Whether a message follows everything folded so far, so that folding it alone is enough.
pub(crate) fn follows(conversation: &Conversation, state: &ConversationState, message: &Message) -> bool {
    let last = conversation.attributes.last_message_at.zip(state.last_message);
    last.is_none_or(|last| last < (message.attributes.sent_at, MessageId(message.id)))
}

/// Forgets what messages made of a conversation, so that they can be folded anew. What happened at a moment and was
/// recorded then (closings, reopenings) stays.
pub(crate) fn forget_messages(conversation: &mut Conversation, state: &mut ConversationState) {
    let attributes = &mut conversation.attributes;
    attributes.message_count = 0;
    attributes.inbound_message_count = 0;
    attributes.outbound_message_count = 0;
    attributes.channels.clear();
    attributes.preview = None;
    attributes.first_message_in = None;
    attributes.last_message_in = None;
    attributes.first_message_out = None;
    attributes.last_message_out = None;
    attributes.last_message_at = None;
    attributes.last_message_direction = None;
    attributes.last_received_at = None;
    attributes.last_message_unresponded_to = None;
    attributes.last_message_unresponded_to_since_last_done = None;
    attributes.first_response = None;
    attributes.first_response_since_last_done = None;
    attributes.last_response = None;
    state.channels.clear();
    state.last_direction_type = None;
    state.last_message = None;
    if !state.name_given {
        attributes.name.clear();
    }
    if !state.direction_given {
        attributes.direction = Direction::In;
    }
}

/// Folds the next message, in order of time, into its conversation; sets what the conversation tells of the message.
pub(crate) fn fold_message(conversation: &mut Conversation, state: &mut ConversationState, message: &mut Message) {
    let attributes = &mut conversation.attributes;
    let created_by = message.relationships.one("createdBy").map(UserId);
    let said = &mut message.attributes;
    let is_first = attributes.message_count == 0;
    said.direction_type = DirectionType::after(attributes.last_message_direction, said.direction);
    said.response_time = None;
    said.response_business_time = None;

    if is_first {
        let first_text = said.subject.as_ref().or(said.preview.as_ref());
        if !state.name_given {
            attributes.name = first_text.map(|text| shorten(text, NAME_LENGTH)).unwrap_or_default();
        }
        if !state.direction_given {
            attributes.direction = said.direction;
        }
        attributes.preview = said.preview.as_ref().map(|text| shorten(text, PREVIEW_LENGTH));
    }
    attributes.message_count += 1;
    if !attributes.channels.contains(&said.channel) {
        attributes.channels.push(said.channel.clone());
    }
    let counts = state.channels.entry(said.channel.clone()).or_default();
    attributes.last_message_at = Some(said.sent_at);
    attributes.last_message_direction = Some(said.direction);
    attributes.last_activity_at = attributes.last_activity_at.max(said.sent_at);
    state.last_direction_type = Some(said.direction_type);
    state.last_message = Some(MessageId(message.id));

    let bare = MessageMark {
        id: MessageId(message.id),
        sent_at: said.sent_at,
        created_at: said.created_at,
        created_by: None,
        created_by_teams: None,
        channel: None,
        direction_type: None,
        meta: None,
    };
    let after_last_done = attributes.last_done.as_ref().is_none_or(|done| said.sent_at > done.created_at);
    match said.direction {
        Direction::In => {
            counts.0 += 1;
            attributes.inbound_message_count += 1;
            attributes.last_received_at = Some(said.sent_at);
            let full =
                MessageMark { channel: Some(said.channel.clone()), meta: Some(said.meta.clone()), ..bare.clone() };
            attributes
                .first_message_in
                .get_or_insert_with(|| MessageMark { direction_type: Some(said.direction_type), ..full.clone() });
            attributes.last_message_in = Some(full);
            if after_last_done {
                attributes.last_message_unresponded_to_since_last_done.get_or_insert_with(|| bare.clone());
            }
            attributes.last_message_unresponded_to.get_or_insert(bare);
        }
        Direction::Out => {
            counts.1 += 1;
            attributes.outbound_message_count += 1;
            attributes.first_message_out.get_or_insert_with(|| MessageMark {
                created_by,
                created_by_teams: Some(said.created_by_teams.clone()),
                channel: Some(said.channel.clone()),
                direction_type: Some(said.direction_type),
                ..bare.clone()
            });
            attributes.last_message_out = Some(MessageMark { created_by, ..bare });
            if !said.auto {
                reply(attributes, message, created_by, after_last_done);
            }
        }
    }
}

/// What an outbound message that no machine wrote by itself answers.
fn reply(
    attributes: &mut ConversationAttributes,
    message: &mut Message,
    created_by: Option<UserId>,
    after_last_done: bool,
) {
    let said = &mut message.attributes;
    let waited = attributes.last_message_unresponded_to.take().map(|asked| said.sent_at.since(asked.sent_at));
    let waited_since_done =
        attributes.last_message_unresponded_to_since_last_done.take().map(|asked| said.sent_at.since(asked.sent_at));
    if said.direction_type == DirectionType::ResponseOut {
        said.response_time = waited;
        said.response_business_time = waited;
    }
    let mark = |time: i64| ReplyMark {
        id: MessageId(message.id),
        sent_at: said.sent_at,
        created_at: said.created_at,
        created_by,
        created_by_teams: said.created_by_teams.clone(),
        assigned_users: said.assigned_users.clone(),
        assigned_teams: said.assigned_teams.clone(),
        time,
        business_time: time,
        response_time: said.response_time,
        source: said.source.clone(),
    };
    if let (None, Some(first_in), Some(_)) = (&attributes.first_response, &attributes.first_message_in, created_by) {
        attributes.first_response = Some(mark(said.sent_at.since(first_in.sent_at)));
    }
    if let (None, Some(time), Some(_), true) =
        (&attributes.first_response_since_last_done, waited_since_done, created_by, after_last_done)
    {
        attributes.first_response_since_last_done = Some(mark(time));
    }
    if let (Some(time), DirectionType::ResponseOut) = (waited, said.direction_type) {
        attributes.last_response = Some(mark(time));
    }
}

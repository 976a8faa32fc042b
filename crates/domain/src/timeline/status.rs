//! What follows from a change of status (contract `resources.md` §1.1).

use indexmap::IndexMap;
use konverse_model::Instant;
use konverse_model::resource::{
    Conversation, ConversationAttributes, ConversationState, DoneSnapshot, OpenTotal, Snooze, SnoozeStatus, StateSince,
    Status, Total,
};

use crate::directory::Author;

/// Why a status changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody or something asked for it.
    Request,
    /// The snooze's time came.
    Elapsed,
}

/// Moves a conversation to another status, with all that follows. The same status again changes nothing.
pub(crate) fn change_status(
    conversation: &mut Conversation,
    state: &mut ConversationState,
    to: Status,
    cause: Cause,
    author: &Author,
    at: Instant,
) {
    let from = conversation.attributes.status;
    if from == to {
        return;
    }
    state.restored_done = false;
    leave(conversation, cause, at);
    let attributes = &mut conversation.attributes;
    attributes.status = to;
    match to {
        Status::Open => {
            attributes.open = Some(StateSince { status_at: at });
            attributes.reopen_count += 1;
        }
        Status::Snoozed => {
            attributes.snooze_count += 1;
            if from == Status::Done {
                attributes.reopen_count += 1;
            }
            // The caller sets the time; without one it lasts until the customer replies.
            attributes.snooze = Some(Snooze { status: SnoozeStatus::Scheduled, time: None, status_at: at });
        }
        Status::Done => close(conversation, state, author, at),
    }
    let attributes = &mut conversation.attributes;
    if from == Status::Done {
        attributes.reopen_from_done_count += 1;
    }
    attributes.modification_history.insert("statusAt".into(), at);
    attributes.last_activity_at = attributes.last_activity_at.max(at);
    conversation.relationships.remove("subStatus");
}

fn leave(conversation: &mut Conversation, cause: Cause, at: Instant) {
    let attributes = &mut conversation.attributes;
    match attributes.status {
        Status::Open => {
            let time = at.since(attributes.open.as_ref().map_or(attributes.created_at, |open| open.status_at));
            let total = attributes.total_open.get_or_insert_with(OpenTotal::default);
            total.time += time;
            total.business_time += time;
            total.time_since_last_done += time;
            total.business_time_since_last_done += time;
        }
        Status::Snoozed => {
            if let Some(snooze) = &mut attributes.snooze {
                let time = at.since(snooze.status_at);
                snooze.status = match cause {
                    Cause::Elapsed => SnoozeStatus::Elapsed,
                    Cause::Request => SnoozeStatus::Canceled,
                };
                snooze.status_at = at;
                let total = attributes.total_snooze.get_or_insert_with(Total::default);
                total.time += time;
                total.business_time += time;
            }
        }
        Status::Done => {
            let time = attributes.last_done.as_ref().map_or(0, |done| at.since(done.created_at));
            let total = attributes.total_done.get_or_insert_with(Total::default);
            total.time += time;
            total.business_time += time;
        }
    }
}

fn close(conversation: &mut Conversation, state: &ConversationState, author: &Author, at: Instant) {
    let snapshot = done_snapshot(&conversation.attributes, state, author, at);
    let attributes = &mut conversation.attributes;
    attributes.done_count += 1;
    attributes.first_done.get_or_insert_with(|| snapshot.clone());
    attributes.last_done = Some(snapshot);
    reset_since_last_done(attributes);
}

fn reset_since_last_done(attributes: &mut ConversationAttributes) {
    attributes.first_response_since_last_done = None;
    attributes.last_message_unresponded_to_since_last_done = None;
    if let Some(total) = &mut attributes.total_open {
        total.time_since_last_done = 0;
        total.business_time_since_last_done = 0;
    }
}

fn done_snapshot(
    attributes: &ConversationAttributes,
    state: &ConversationState,
    author: &Author,
    at: Instant,
) -> DoneSnapshot {
    let start = attributes.first_message_in.as_ref().map_or(attributes.created_at, |message| message.sent_at);
    let by_channel = |count: fn(u64, u64) -> u64| -> IndexMap<String, u64> {
        let counted = state.channels.iter().map(|(channel, counts)| (channel.clone(), count(counts.0, counts.1)));
        counted.filter(|(_, count)| *count > 0).collect()
    };
    let time = at.since(start);
    DoneSnapshot {
        created_at: at,
        created_by: author.user,
        created_by_teams: author.teams.clone(),
        assigned_users: attributes.assigned_users.clone(),
        assigned_teams: attributes.assigned_teams.clone(),
        time,
        business_time: time,
        message_count: attributes.message_count,
        message_count_by_channel: by_channel(|inbound, outbound| inbound + outbound),
        note_count: attributes.note_count,
        outbound_message_count: attributes.outbound_message_count,
        outbound_message_count_by_channel: by_channel(|_, outbound| outbound),
        last_message_direction: attributes.last_message_direction,
        last_message_direction_type: state.last_direction_type,
    }
}

/// A conversation that begins closed: created so, or imported so.
pub(crate) fn begin_done(conversation: &mut Conversation, state: &mut ConversationState, author: &Author, at: Instant) {
    close(conversation, state, author, at);
    state.restored_done = conversation.attributes.imported_at.is_some();
}

/// After history was imported into a conversation that was imported closed: it was closed after that history.
pub(crate) fn move_restored_closing(conversation: &mut Conversation, state: &ConversationState) {
    if !state.restored_done {
        return;
    }
    let attributes = &conversation.attributes;
    let Some(done) = &attributes.last_done else { return };
    let author = Author { user: done.created_by, teams: done.created_by_teams.clone() };
    let snapshot = done_snapshot(attributes, state, &author, done.created_at.max(attributes.last_activity_at));
    let attributes = &mut conversation.attributes;
    attributes.first_done = Some(snapshot.clone());
    attributes.last_done = Some(snapshot);
    reset_since_last_done(attributes);
}

//! The pure rules: what follows from a message, a note, a change of status (contract `resources.md` §1–4).
//!
//! Every derived attribute is computed here, when its cause is stored, and never when it is read.

use indexmap::IndexMap;
use konverse_model::resource::{
    Conversation, ConversationAttributes, ConversationState, Customer, CustomerAttributes, CustomerMessageMark,
    Direction, DirectionType, DoneSnapshot, LastConversation, Message, MessageMark, OpenTotal, Preview, ReplyMark,
    Snooze, SnoozeStatus, StateSince, Status, Total,
};
use konverse_model::{ConversationId, Instant, MessageId, TeamId, UserId};

/// Characters of a name taken from a message.
const NAME_LENGTH: usize = 256;

/// Characters of a preview on a conversation or a customer: enough for a line of a list.
const PREVIEW_LENGTH: usize = 256;

/// Who acts, with what a snapshot repeats of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Author {
    pub(crate) user: Option<UserId>,
    pub(crate) teams: Vec<TeamId>,
}

/// When a conversation wakes up by itself: the time of a running snooze.
pub(crate) fn wake_at(attributes: &ConversationAttributes) -> Option<Instant> {
    let snooze = attributes.snooze.as_ref()?;
    let running = attributes.status == Status::Snoozed && snooze.status == SnoozeStatus::Scheduled;
    if running { snooze.time } else { None }
}

/// The first characters of a text.
pub(crate) fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

// ---- status (§1.1) ----

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

// ---- messages (§1, §1.2, §2) ----

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

// ---- customers (§4) ----

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

/// The names a customer is shown under.
pub(crate) fn name_customer(customer: &mut Customer) {
    const COLORS: [&str; 7] = ["orange", "silver", "red", "teal", "black", "purple", "yellow"];
    const ICONS: [&str; 6] = ["balloon", "binoculars", "anchor", "sun", "cake", "flower"];
    let bytes = customer.id.bytes();
    let seed = bytes.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (color, icon) = (COLORS[seed % COLORS.len()], ICONS[(seed / COLORS.len()) % ICONS.len()]);
    let attributes = &mut customer.attributes;
    attributes.display_color = color.to_owned();
    attributes.display_icon = icon.to_owned();
    let name = attributes.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    match name.map(|name| name.split_once(char::is_whitespace).unwrap_or((name, ""))) {
        Some((first, last)) => {
            attributes.first_name = Some(first.to_owned());
            attributes.last_name = Some(last.trim()).filter(|last| !last.is_empty()).map(str::to_owned);
        }
        None => (attributes.first_name, attributes.last_name) = (None, None),
    }
    let title = |word: &str| word[..1].to_uppercase() + &word[1..];
    attributes.display_name = name
        .map(str::to_owned)
        .or_else(|| attributes.emails.first().map(|email| email.email.clone()))
        .or_else(|| attributes.phones.first().map(|phone| phone.phone.clone()))
        .or_else(|| attributes.socials.first().map(|social| social.username.clone()))
        .unwrap_or_else(|| format!("{} {}", title(color), title(icon)));
}

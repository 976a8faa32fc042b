//! What can be searched, and how records of one kind lead to those of another.

use konverse_model::Kind;

/// A kind of object a query can return or ask about (contract `search.md` §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Companies.
    Company,
    /// Customers.
    Customer,
    /// Conversations.
    Conversation,
    /// Messages.
    Message,
    /// Notes.
    Note,
    /// Objects of klasses; there are none yet.
    Kobject,
    /// Times agents spent on conversations; there are none yet.
    ConversationTime,
    /// Work sessions and items; there are none yet.
    Work,
}

/// What two records share when one belongs to the other, or both to a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The same company.
    Company,
    /// The same customer.
    Customer,
    /// The same conversation.
    Conversation,
}

/// From one object to another: records that share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What they share.
    pub by: Key,
    /// The object it leads to.
    pub to: Object,
}

const ITS_CUSTOMERS: Step = Step { by: Key::Company, to: Object::Customer };
const ITS_COMPANY: Step = Step { by: Key::Company, to: Object::Company };
const ITS_CUSTOMER: Step = Step { by: Key::Customer, to: Object::Customer };
const OF_CUSTOMER: [Step; 3] = steps(Key::Customer);
const OF_CONVERSATION: [Step; 3] = steps(Key::Conversation);

const fn steps(by: Key) -> [Step; 3] {
    [Step { by, to: Object::Conversation }, Step { by, to: Object::Message }, Step { by, to: Object::Note }]
}

impl Object {
    /// All objects, those with longer prefixes first, so that the first that fits a name is its object.
    pub const ALL: [Object; 8] = [
        Object::ConversationTime,
        Object::Company,
        Object::Customer,
        Object::Conversation,
        Object::Message,
        Object::Note,
        Object::Kobject,
        Object::Work,
    ];

    /// What its attributes' names begin with, before the underscore.
    pub const fn prefix(self) -> &'static str {
        match self {
            Object::Company => "company",
            Object::Customer => "customer",
            Object::Conversation => "conversation",
            Object::Message => "message",
            Object::Note => "note",
            Object::Kobject => "kobject",
            Object::ConversationTime => "conversation_time",
            Object::Work => "work",
        }
    }

    /// The kind of record it is; none where konverse keeps none, so that nothing is ever found.
    pub const fn kind(self) -> Option<Kind> {
        match self {
            Object::Company => Some(Kind::Company),
            Object::Customer => Some(Kind::Customer),
            Object::Conversation => Some(Kind::Conversation),
            Object::Message => Some(Kind::Message),
            Object::Note => Some(Kind::Note),
            Object::Kobject | Object::ConversationTime | Object::Work => None,
        }
    }

    /// The object whose records are of this kind.
    pub fn of(kind: Kind) -> Option<Self> {
        Self::ALL.into_iter().find(|object| object.kind() == Some(kind))
    }

    /// The steps from this object to another; none when there is no way (or it is the same).
    pub const fn path(self, to: Object) -> &'static [Step] {
        use Object::{Company, Conversation, Customer, Message, Note};
        match (self, to) {
            (Company, Customer) => &[ITS_CUSTOMERS],
            (Customer, Company) => &[ITS_COMPANY],
            (Customer, Conversation) => &[OF_CUSTOMER[0]],
            (Customer, Message) => &[OF_CUSTOMER[1]],
            (Customer, Note) => &[OF_CUSTOMER[2]],
            (Conversation | Message | Note, Customer) => &[ITS_CUSTOMER],
            (Message | Note, Conversation) => &[OF_CONVERSATION[0]],
            (Conversation | Note, Message) => &[OF_CONVERSATION[1]],
            (Conversation | Message, Note) => &[OF_CONVERSATION[2]],
            (Company, Conversation) => &[ITS_CUSTOMERS, OF_CUSTOMER[0]],
            (Company, Message) => &[ITS_CUSTOMERS, OF_CUSTOMER[1]],
            (Company, Note) => &[ITS_CUSTOMERS, OF_CUSTOMER[2]],
            (Conversation | Message | Note, Company) => &[ITS_CUSTOMER, ITS_COMPANY],
            _ => &[],
        }
    }
}

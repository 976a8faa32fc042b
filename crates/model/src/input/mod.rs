//! Request bodies: one struct each, from which the JSON Schema is derived, which `openapi.json` shows. A body is held
//! against it while it is read into its struct; the schema's validator itself runs only to say what is wrong with one. Limits and closed key sets are those of contract `endpoints.md`, "Bodies of the core write
//! operations".

mod bodies;
mod checked;
mod parts;
mod shape;

pub(crate) use shape::escaped;

pub use bodies::{
    ConversationCreate, ConversationMove, ConversationUpdate, CustomerBody, MessageCreate, MessageUpdate, NoteCreate,
    NoteUpdate, OperationInput, OperationParameters, OwnUserUpdate, RoleGroupBody, SignInBody, TagCreate, TagUpdate,
    TeamCreate, TeamMembers, TeamUpdate, UserCreate, UserUpdate,
};
pub use parts::{
    Email, EmailType, ExternalId, FacebookId, Gender, InstagramId, Location, Mention, Phone, PhoneType, Queue,
    Satisfaction, Sentiment, SnoozeInput, Social, SocialType, SuggestedShortcut, SuggestedTag, Url, Whatsapp,
    WhatsappType, check_custom, check_custom_size,
};
pub use shape::{
    CONVERSATION_CREATE, CONVERSATION_CREATE_FOR_CUSTOMER, CONVERSATION_MOVE, CONVERSATION_UPDATE, CUSTOMER_CREATE,
    CUSTOMER_IMPORT, CUSTOMER_UPDATE, MESSAGE_CREATE, MESSAGE_CREATE_IN_ORG, MESSAGE_REPLACE, MESSAGE_UPDATE,
    NOTE_CREATE, NOTE_CREATE_IN_CONVERSATION, NOTE_REPLACE, NOTE_UPDATE, OPERATION_INPUT, OWN_USER_UPDATE,
    ROLE_GROUP_CREATE, ROLE_GROUP_UPDATE, SIGN_IN, Shape, TAG_CREATE, TAG_IMPORT, TAG_NAMES, TAG_UPDATE, TEAM_CREATE,
    TEAM_IMPORT, TEAM_MEMBERS, TEAM_REPLACE, TEAM_UPDATE, USER_CREATE, USER_IMPORT, USER_UPDATE, Unread,
};

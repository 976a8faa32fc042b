//! Request bodies: one struct each, from which the JSON Schema is derived, which `openapi.json` shows. A body is held
//! against it while it is read into its struct; the schema's validator itself runs only to say what is wrong with one. Limits and closed key sets are those of contract `endpoints.md`, "Bodies of the core write
//! operations".

mod bodies;
mod checked;
mod parts;
mod settings;
mod shape;

pub use shape::escaped;

pub use bodies::{
    ConversationCreate, ConversationMove, ConversationUpdate, CustomerBody, DefinitionUpdate, MessageCreate,
    MessageUpdate, MetadataUpdate, NoteCreate, NoteUpdate, OperationInput, OperationParameters, OwnUserUpdate,
    RoleGroupBody, SensitiveInput, SignInBody, TagCreate, TagUpdate, TeamCreate, TeamMembers, TeamUpdate, UserCreate,
    UserUpdate,
};
pub use parts::{
    CustomType, Email, EmailType, ExternalId, FacebookId, Gender, InstagramId, Location, Mention, Phone, PhoneType,
    Queue, Satisfaction, Sentiment, SnoozeInput, Social, SocialType, SuggestedShortcut, SuggestedTag, Url, Whatsapp,
    WhatsappType, check_custom, check_custom_size, custom_type,
};
pub use settings::{
    BrandBody, CompanyBody, CompanyDomain, QueueRow, SearchBody, ShortcutBody, ShortcutConversation, SlaRow,
    SlaVersionRow,
};
pub use shape::{
    BRAND_CREATE, BRAND_IMPORT, BRAND_UPDATE, COMPANY_CREATE, COMPANY_IMPORT, COMPANY_UPDATE, CONVERSATION_CREATE,
    CONVERSATION_CREATE_FOR_CUSTOMER, CONVERSATION_MOVE, CONVERSATION_UPDATE, CUSTOMER_CREATE, CUSTOMER_IMPORT,
    CUSTOMER_UPDATE, MESSAGE_CREATE, MESSAGE_CREATE_IN_ORG, MESSAGE_REPLACE, MESSAGE_UPDATE, METADATA_UPDATE,
    NOTE_CREATE, NOTE_CREATE_IN_CONVERSATION, NOTE_REPLACE, NOTE_UPDATE, OPERATION_INPUT, OWN_USER_UPDATE,
    QUEUE_IMPORT, ROLE_GROUP_CREATE, ROLE_GROUP_UPDATE, SEARCH_CREATE, SEARCH_UPDATE, SHORTCUT_CREATE, SHORTCUT_IMPORT,
    SHORTCUT_UPDATE, SIGN_IN, SLA_IMPORT, Shape, TAG_CREATE, TAG_IMPORT, TAG_NAMES, TAG_UPDATE, TEAM_CREATE,
    TEAM_IMPORT, TEAM_MEMBERS, TEAM_REPLACE, TEAM_UPDATE, USER_CREATE, USER_IMPORT, USER_UPDATE, Unread,
};

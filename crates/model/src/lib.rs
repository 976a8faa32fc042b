//! What konverse talks about: ids, instants, resources, request bodies, roles and page cursors.
//!
//! Plain data and parsing. Nothing here reads a clock, draws randomness, opens a file or knows a database or HTTP.

mod cursor;
mod document;
mod field;
mod id;
pub mod input;
mod instant;
mod kind;
pub mod limits;
pub mod mask;
pub mod resource;
mod role;

pub use cursor::{Cursor, CursorError, Direction, Fingerprint, Position};
pub use document::{Attributes, Document, RENDERER, Rel, Relationships, Rendered};
pub use field::{FieldError, Opt, Patch};
pub use id::{
    ConversationId, CustomerId, EventId, HEX_DIGITS, Id, IdError, MessageId, NoteId, OrgId, TagId, TeamId, TokenId,
    UserId,
};
pub use instant::{Clock, Instant, InstantError};
pub use kind::Kind;
pub use role::{Role, grants};

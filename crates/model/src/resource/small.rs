//! Notes, users, teams, tags and tokens (contract `resources.md` §3, §6–9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::{Attributes, Document, Instant, Kind, TeamId, UserId};

/// A note.
pub type Note = Document<NoteAttributes>;
/// A user.
pub type User = Document<UserAttributes>;
/// A team.
pub type Team = Document<TeamAttributes>;
/// A tag.
pub type Tag = Document<TagAttributes>;
/// A role group.
pub type RoleGroup = Document<RoleGroupAttributes>;
/// An access token, without its secret.
pub type Token = Document<TokenAttributes>;

/// A note's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "NoteAttributes")]
pub struct NoteAttributes {
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The text.
    pub body: String,
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The author's teams at the time.
    pub created_by_teams: Vec<TeamId>,
    /// When it was brought in from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
    /// 1 at creation, one more with every stored change.
    pub rev: i64,
}

impl Attributes for NoteAttributes {
    const KIND: Kind = Kind::Note;
    const EMPTY: &'static [(&'static str, &'static str)] = &[("userMentions", r#"{"data":[]}"#)];

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}

/// An attachment's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "AttachmentAttributes")]
pub struct AttachmentAttributes {
    /// Its file's name.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content_length: u64,
    /// Whether what it held was taken away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub redacted: bool,
}

/// What kind of user: a person, or the one behind a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UserType {
    /// A person.
    #[default]
    User,
    /// A token's own user: the author of what the token writes.
    Machine,
    /// A person with a limited seat.
    Limited,
    /// A person paid by the hour.
    Hourly,
}

impl UserType {
    /// The labels of those who were invited and have not signed in yet.
    pub const PENDING: [&'static str; 4] = ["user pending", "machine pending", "limited pending", "hourly pending"];

    /// The wire word.
    pub const fn name(self) -> &'static str {
        match self {
            UserType::User => "user",
            UserType::Machine => "machine",
            UserType::Limited => "limited",
            UserType::Hourly => "hourly",
        }
    }
}

/// A user's password rules. The password itself, and its hash, are in no record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct PasswordPolicy {
    /// Whether a new password may be set.
    pub allow_new: bool,
    /// Whether a new password must be set.
    pub force_new: bool,
    /// When the password last changed.
    #[serde(default)]
    pub updated_at: Option<Instant>,
}

/// A user's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "UserAttributes")]
pub struct UserAttributes {
    /// The name shown to customers.
    pub display_name: Option<String>,
    /// The name.
    pub name: String,
    /// The address; unique in the org.
    pub email: String,
    /// What kind of user.
    pub user_type: UserType,
    /// Phone.
    pub mobile: Option<String>,
    /// Picture.
    #[serde(default)]
    pub avatar_url: Option<String>,
    /// Closing lines of their e-mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_signature: Option<String>,
    /// Always null: konverse sends no mail, so no address is ever verified.
    #[serde(default)]
    pub email_verified_at: Option<Instant>,
    /// Whether mail reaches the address; nothing has shown otherwise.
    pub is_email_valid: bool,
    /// Password rules.
    pub password: PasswordPolicy,
    /// Role names.
    pub roles: Vec<String>,
    /// Permission-set ids.
    pub role_groups: Vec<crate::Id>,
    /// Whether they were invited and have not signed in yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending: bool,
    /// When they first signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_login_at: Option<Instant>,
    /// When they last signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_recent_login_at: Option<Instant>,
    /// When they were deactivated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
    /// When they came to be.
    pub created_at: Instant,
    /// When anything about them last changed.
    pub updated_at: Instant,
    /// When someone last edited them.
    pub modified_at: Instant,
}

impl UserAttributes {
    /// What lists select users by: their type, and whether they are still pending.
    pub const fn label(&self) -> &'static str {
        match (self.pending, self.user_type) {
            (false, user_type) => user_type.name(),
            (true, UserType::User) => UserType::PENDING[0],
            (true, UserType::Machine) => UserType::PENDING[1],
            (true, UserType::Limited) => UserType::PENDING[2],
            (true, UserType::Hourly) => UserType::PENDING[3],
        }
    }
}

impl Attributes for UserAttributes {
    const KIND: Kind = Kind::User;
}

/// A team's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "TeamAttributes")]
pub struct TeamAttributes {
    /// The name; unique in the org.
    pub name: String,
    /// The name shown to customers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its icon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// User ids.
    pub members: Vec<UserId>,
    /// Permission-set ids.
    pub role_groups: Vec<crate::Id>,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// When it was brought in from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
}

impl Attributes for TeamAttributes {
    const KIND: Kind = Kind::Team;

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}

/// A tag's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "TagAttributes")]
pub struct TagAttributes {
    /// The name; unique in the org, whatever the case.
    pub name: String,
    /// A colour such as `#26c281`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Whether it has been deleted; its id stays in the records that carry it.
    pub deleted: bool,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
}

impl Attributes for TagAttributes {
    const KIND: Kind = Kind::Tag;
}

/// A role group's attributes (contract `resources.md` §10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "RoleGroupAttributes")]
pub struct RoleGroupAttributes {
    /// The name; unique in the org, whatever the case.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it is offered where people are given role groups.
    pub display: bool,
    /// Whether it comes with konverse and cannot be changed.
    pub system: bool,
    /// Role names.
    pub roles: Vec<String>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
}

impl Attributes for RoleGroupAttributes {
    const KIND: Kind = Kind::RoleGroup;
}

/// A token's attributes: everything but the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "TokenAttributes")]
pub struct TokenAttributes {
    /// What it is for.
    pub name: String,
    /// The last six characters of the token.
    pub last_token_chars: String,
    /// The address it was last used from.
    pub ip_address: Option<String>,
    /// The program it was last used by.
    pub user_agent: Option<String>,
    /// Role names, fixed at creation. Of a session: those its user had when it was opened; it always has those they have.
    pub roles: Vec<String>,
    /// Whether it was opened by signing in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub session: bool,
    /// The only addresses it may be used from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
    /// Whether it was revoked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub revoked: bool,
    /// When it was made.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When it was last used, to the minute.
    pub last_accessed_at: Option<Instant>,
}

impl Attributes for TokenAttributes {
    const KIND: Kind = Kind::Token;
}

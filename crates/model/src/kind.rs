//! The kinds of record: those konverse keeps, and those its records refer to.

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $path:literal, $title:literal;)*) => {
        /// The kind of a record: its JSON:API `type` and where its path begins.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// The JSON:API `type`.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// The collection's path, `/v1/conversations` for instance.
            pub const fn path(self) -> &'static str {
                match self { $(Kind::$kind => $path,)* }
            }

            /// The word for people: `Conversation`.
            pub const fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title,)* }
            }

            /// The kind a stored `type` stands for.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Kind::$kind),)* _ => None }
            }
        }
    };
}

kinds! {
    /// The organisation itself.
    Org = "org", "/v1/orgs", "Org";
    /// A customer.
    Customer = "customer", "/v1/customers", "Customer";
    /// A conversation.
    Conversation = "conversation", "/v1/conversations", "Conversation";
    /// A message.
    Message = "message", "/v1/messages", "Message";
    /// A note.
    Note = "note", "/v1/notes", "Note";
    /// A user.
    User = "user", "/v1/users", "User";
    /// A team.
    Team = "team", "/v1/teams", "Team";
    /// A tag.
    Tag = "tag", "/v1/tags", "Tag";
    /// An access token.
    Token = "auth_token", "/v1/auth/tokens", "Token";
    /// The definitions of a resource's custom attributes.
    Metadata = "metadata", "/v1/metadata", "Metadata";
    /// A role group: roles under one name.
    RoleGroup = "role_group", "/v1/role-groups", "Role group";
    /// A company.
    Company = "company", "/v1/companies", "Company";
    /// A queue.
    Queue = "queue", "/v1/queues", "Queue";
    /// A campaign; referred to only.
    Campaign = "campaign", "/v1/campaigns", "Campaign";
    /// A sub-status; referred to only.
    SubStatus = "sub_status", "/v1/sub-statuses", "Sub-status";
    /// An attachment; referred to only.
    Attachment = "attachment", "/v1/attachments", "Attachment";
    /// A shortcut.
    Shortcut = "shortcut", "/v1/shortcuts", "Shortcut";
    /// A brand.
    Brand = "brand", "/v1/brands", "Brand";
    /// An SLA.
    Sla = "sla", "/v1/slas", "SLA";
    /// A version of an SLA; read along with it only.
    SlaVersion = "sla_version", "/v1/slas/versions", "SLA version";
    /// A klass: a kind of custom object. There are none yet.
    Klass = "klass", "/v1/klasses", "Klass";
    /// A custom object. There are none yet.
    Kobject = "kobject", "/v1/kobjects", "KObject";
    /// A saved search.
    Search = "search", "/v1/customers/searches", "Saved search";
    /// A knowledge-base article; referred to only.
    KbArticle = "kb_article", "/v1/kb/articles", "Article";
}

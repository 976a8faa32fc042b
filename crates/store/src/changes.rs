//! Changes: a transaction described as data.

use konverse_model::{CustomerId, EventId, Id, Instant, Kind, OrgId, TeamId, TokenId, UserId};

use crate::{Hidden, Org, Row, Space};

/// A record to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// A record that must not exist yet.
    Insert(Row),
    /// A record that must still be as it was read.
    Update {
        /// As it was read: where it lies and at which revision.
        was: Box<Row>,
        /// As it shall be.
        now: Row,
    },
}

/// An event of the org's sequence (contract `events-and-webhooks.md` §2): what happened to which record.
///
/// It carries the change, not the record: the record after event *n* is the record now, with the later changes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's id: what receivers know it by.
    pub id: EventId,
    /// When it happened.
    pub at: Instant,
    /// `create`, `update` or `delete`.
    pub verb: &'static str,
    /// The record's kind.
    pub kind: Kind,
    /// The record.
    pub object: Id,
    /// The customer it belongs to.
    pub customer: Option<CustomerId>,
    /// Who did it; none for what happens by itself.
    pub actor: Option<UserId>,
    /// The record's revision after it.
    pub rev: i64,
    /// `{"attributes":{name:{op,before,after}},"relationships":{…}}`; none for a creation.
    pub changes: Option<String>,
}

impl Event {
    /// The event's name: `kustomer.conversation.update`.
    pub fn name(&self) -> String {
        format!("kustomer.{}.{}", self.kind.name(), self.verb)
    }
}

/// A user's place in a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The user.
    pub user: UserId,
    /// The team.
    pub team: TeamId,
}

/// A token to let in: what it stands for and the hash it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCredential {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The token's public id.
    pub token: TokenId,
    /// The user behind it.
    pub user: UserId,
    /// Role names, separated by spaces.
    pub roles: String,
    /// The only addresses it may come from.
    pub cidr: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Instant>,
}

/// A transaction: everything in it is applied, or nothing.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The org all of it belongs to.
    pub org: OrgId,
    /// A new org.
    pub new_org: Option<Org>,
    /// Records.
    pub puts: Vec<Put>,
    /// Names to give back, by owner; `None` stands for all of the owner's.
    pub releases: Vec<(Id, Option<(Space, String)>)>,
    /// Names to take.
    pub claims: Vec<(Space, String, Id)>,
    /// Kept counts to move: name, slot owner, amount.
    pub tallies: Vec<(&'static str, Id, i64)>,
    /// Team places to add.
    pub memberships: Vec<Membership>,
    /// Tokens to let in.
    pub credentials: Vec<NewCredential>,
    /// Tokens to let in no longer.
    pub revoked: Vec<TokenId>,
    /// A customer whose conversations, messages and notes shall show no longer.
    pub hide_customer: Option<CustomerId>,
    /// A conversation whose messages and notes shall (not) show.
    pub hide_conversation: Option<(Id, bool)>,
    /// What happened.
    pub events: Vec<Event>,
}

impl Changes {
    /// No change yet.
    pub fn new(org: OrgId) -> Self {
        Self {
            org,
            new_org: None,
            puts: Vec::new(),
            releases: Vec::new(),
            claims: Vec::new(),
            tallies: Vec::new(),
            memberships: Vec::new(),
            credentials: Vec::new(),
            revoked: Vec::new(),
            hide_customer: None,
            hide_conversation: None,
            events: Vec::new(),
        }
    }

    /// Stores a record that must not exist yet.
    pub fn insert(&mut self, row: Row) {
        self.puts.push(Put::Insert(row));
    }

    /// Stores a record that must still be at the revision it was read at.
    pub fn update(&mut self, was: Row, now: Row) {
        self.puts.push(Put::Update { was: Box::new(was), now });
    }

    /// Takes a name for `owner`; a conflict if another holds it.
    pub fn claim(&mut self, space: Space, value: String, owner: Id) {
        self.claims.push((space, value, owner));
    }

    /// Gives a name back.
    pub fn release(&mut self, space: Space, value: String, owner: Id) {
        self.releases.push((owner, Some((space, value))));
    }

    /// Moves a kept count. The count is spread over slots, chosen by `by`, so that no two customers share one row.
    pub fn tally(&mut self, name: &'static str, by: Id, amount: i64) {
        self.tallies.push((name, by, amount));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.new_org.is_none()
            && self.puts.is_empty()
            && self.releases.is_empty()
            && self.claims.is_empty()
            && self.tallies.is_empty()
            && self.memberships.is_empty()
            && self.credentials.is_empty()
            && self.revoked.is_empty()
            && self.hide_customer.is_none()
            && self.hide_conversation.is_none()
            && self.events.is_empty()
    }
}

impl Row {
    /// Whether it shows.
    pub fn shows(&self) -> bool {
        self.hidden == Hidden::No
    }
}

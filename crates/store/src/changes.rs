//! Changes: a transaction described as data.
//!
//! A change names what it depends on, not only what it writes: an update names the row as it was read (revision and
//! visibility), and whatever is written to anything of a customer names the customer's *turn*. The turn is the version
//! of the whole timeline: every such write moves it, so a writer who looked at any of it before another wrote to any of
//! it loses and computes again. One that lost often *claims* the customer: for a few seconds others lose to it, whichever
//! process they are of. A claim is a lease and decides nothing; the turn does.

use std::collections::BTreeSet;

use konverse_model::mask::Masks;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, TeamId, TokenId, UserId};

use crate::{Org, Row, Space};

/// How long a claim holds when its process is gone, in milliseconds. Clocks of hosts that differ by as much make it hold up
/// to twice as long, or not at all.
pub const CLAIM_MS: i64 = 6_000;

/// The lease that is a claim on a customer's next turn.
pub fn claim_on(org: OrgId, customer: CustomerId) -> String {
    format!("turn {} {}", org.0, customer.0)
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It came to be.
    Create,
    /// It changed.
    Update,
    /// It shows no longer.
    Delete,
    /// It shows again.
    Restore,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Restore];

    /// The word stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Restore => "restore",
        }
    }
}

/// An event to leave: see [`crate::Event`]. Its place in the sequence and its moment are the commit's to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub verb: Verb,
    /// The record's kind.
    pub kind: Kind,
    /// The record.
    pub object: Id,
    /// The customer it belongs to.
    pub customer: Option<CustomerId>,
    /// Who did it.
    pub actor: Option<UserId>,
    /// The record's revision after it.
    pub rev: i64,
    /// The difference.
    pub changes: Option<String>,
    /// Where in `changes` the 24 characters of the new `updatedAt` are, to be overwritten by the commit's.
    pub stamp_at: Option<usize>,
}

/// A record to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// As it was read: it must still be at that revision, just as visible, at the same place. None for a record that
    /// must not exist yet.
    pub was: Option<Box<Row>>,
    /// As it shall be.
    pub now: Row,
    /// Where in the text the 24 characters of `updatedAt` are: the commit writes its own moment there and into the row.
    /// None leaves both as they are, which is for what is no change anybody can see.
    pub stamp_at: Option<usize>,
    /// What is told of it.
    pub event: Option<NewEvent>,
}

/// Records that stop or begin to show together, told of one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hide {
    /// Conversations, messages and notes of a deleted customer hide.
    OfCustomer(CustomerId),
    /// Messages and notes of a deleted conversation hide.
    OfConversation(CustomerId, Id),
    /// Messages and notes that hid with their conversation show again.
    Undo(CustomerId, Id),
}

/// A user's place in a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The user.
    pub user: UserId,
    /// The team.
    pub team: TeamId,
}

/// What a record gives to whoever is, or is in, it: the roles and role groups of a user, the role groups of a team, the roles
/// of a role group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The record's kind.
    pub kind: Kind,
    /// The record.
    pub owner: Id,
    /// Role names, separated by spaces.
    pub roles: String,
    /// Ids of role groups.
    pub groups: Vec<Id>,
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
    /// Role names, separated by spaces. Without any it is a session, which has those of its user: see [`Op::Hold`].
    pub roles: String,
    /// The only addresses it may come from.
    pub cidr: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Instant>,
}

/// A password's hash. It is not shown: whoever has it can guess the password at their own pace.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// One part of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new org.
    Found(Org),
    /// The customer shows and their timeline is at this turn; moves it on. A put of the customer does the same.
    Guard(CustomerId, i64),
    /// Stores a record.
    Put(Put),
    /// Takes a name; a conflict if another holds it.
    Claim(Space, String, Id),
    /// Gives a name back.
    Release(Space, String, Id),
    /// Gives back all names of a record.
    ReleaseAll(Kind, Id),
    /// Hides or shows what belongs to a record.
    Hide(Hide, Option<UserId>),
    /// Moves a kept count: name, slot owner, amount.
    Tally(&'static str, Id, i64),
    /// Gives a user a place in a team.
    Join(Membership),
    /// Takes a user's place in a team away.
    Leave(Membership),
    /// Custom attributes are described otherwise than they were at this version, and this is what of them is sensitive now.
    Describe(i64, Masks),
    /// Lets a token in.
    Admit(NewCredential),
    /// Lets a token in no longer.
    Revoke(TokenId),
    /// Says what a record gives from now on, in place of what it gave before.
    Hold(Holding),
    /// Keeps the hash of a user's password.
    SetPassword(UserId, PasswordHash),
    /// Remembers the network a user signed in from.
    Remember(UserId, String),
    /// Tells of something that is no put.
    Emit(NewEvent),
}

/// A transaction: everything in it is applied, or nothing.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The org all of it belongs to.
    pub org: OrgId,
    /// The present moment: the least `updatedAt` its records get. The lane may already be later.
    pub at: Instant,
    /// Who holds the [claims](claim_on) on its customers, if they are claimed. They end with it. Where another holds one, a
    /// change of that customer is stale.
    pub holder: Option<Id>,
    /// Its parts. Their events are told in this order.
    pub ops: Vec<Op>,
    /// Puts that have a `stamp_at`.
    stamped: usize,
}

/// What a commit gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The `updatedAt` of each put that has a `stamp_at`, in the order of the change.
    pub stamps: Vec<Instant>,
}

impl Changes {
    /// No change yet.
    pub fn new(org: OrgId, at: Instant) -> Self {
        Self { org, at, holder: None, ops: Vec::new(), stamped: 0 }
    }

    /// Stores a record; gives where in [`Applied::stamps`] its moment will be, if it gets one.
    pub fn put(&mut self, put: Put) -> usize {
        let place = self.stamped;
        self.stamped += usize::from(put.stamp_at.is_some());
        self.ops.push(Op::Put(put));
        place
    }

    /// Takes back all parts but the first so many.
    pub fn truncate(&mut self, parts: usize) {
        let gone = self.ops.drain(parts.min(self.ops.len())..);
        self.stamped -= gone.filter(|op| matches!(op, Op::Put(Put { stamp_at: Some(_), .. }))).count();
    }

    /// Adds another change of the same org, which is applied with this one or not at all.
    pub fn append(&mut self, mut other: Self) {
        self.at = self.at.max(other.at);
        self.holder = self.holder.or(other.holder);
        self.ops.append(&mut other.ops);
        self.stamped += other.stamped;
    }

    /// Stores a record that must not exist yet.
    pub fn insert(&mut self, now: Row) {
        self.ops.push(Op::Put(Put { was: None, now, stamp_at: None, event: None }));
    }

    /// Stores a record that must still be as it was read.
    pub fn update(&mut self, was: Row, now: Row) {
        self.ops.push(Op::Put(Put { was: Some(Box::new(was)), now, stamp_at: None, event: None }));
    }

    /// Takes a name for `owner`; a conflict if another holds it.
    pub fn claim(&mut self, space: Space, value: String, owner: Id) {
        self.ops.push(Op::Claim(space, value, owner));
    }

    /// Gives a name back.
    pub fn release(&mut self, space: Space, value: String, owner: Id) {
        self.ops.push(Op::Release(space, value, owner));
    }

    /// Moves a kept count. The count is spread over slots, chosen by `by`, so that no two customers share one row.
    pub fn tally(&mut self, name: &'static str, by: Id, amount: i64) {
        self.ops.push(Op::Tally(name, by, amount));
    }

    /// The customers whose turns it moves, in ascending order.
    pub fn turns(&self) -> BTreeSet<CustomerId> {
        let turn = |op: &Op| match op {
            Op::Guard(customer, _) => Some(*customer),
            Op::Put(Put { was: Some(_), now, .. }) if now.kind == Kind::Customer => Some(CustomerId(now.id)),
            _ => None,
        };
        self.ops.iter().filter_map(turn).collect()
    }

    /// The record that takes this name in this change.
    pub fn claimant(&self, space: Space, value: &str) -> Option<Id> {
        self.ops.iter().find_map(|op| match op {
            Op::Claim(of, name, owner) if *of == space && name == value => Some(*owner),
            _ => None,
        })
    }
}

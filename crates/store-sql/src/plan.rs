//! From changes to steps.
//!
//! Two phases: first the lanes of the change are locked and read, then everything is written, with the numbers and
//! moments the lanes gave. A driver runs both in one transaction.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, UserId};
use konverse_store::{
    Applied, CLAIM_MS, Changes, Conflict, Hidden, Hide, Holding, NewEvent, Op, PasswordHash, Put, Row, Space,
    StoreError, Verb, claim_on,
};

use crate::block::{self, BlockChanges};
use crate::lane::{Counts, LaneState, Stamps};
use crate::store::{END_LEASE, NOBODY};
use crate::table::{self, Table};
use crate::{Dialect, Query, Step, Value};

/// Slots a kept count is spread over: enough that concurrent writers of one org seldom meet in one row.
const SLOTS: u8 = 16;

/// Columns of an event.
const EVENT_COLUMNS: usize = 11;

/// Characters of an instant.
const STAMP: usize = 24;

const FOUND: &str = "INSERT INTO org (id, name, created_at) VALUES ($1, $2, $3)";
/// Parameters of it as [`table::unclaimed`] says.
static GUARD: LazyLock<String> = LazyLock::new(|| {
    let unclaimed = table::unclaimed(5);
    format!(
        "UPDATE customer SET turn = turn + 1 WHERE org = $1 AND id = $2 AND turn = $3 AND hidden = $4 AND {unclaimed}"
    )
});
const RELEASE: &str = "DELETE FROM identifier WHERE org = $1 AND space = $2 AND value = $3 AND owner = $4";
const RELEASE_ALL: &str = "DELETE FROM identifier WHERE org = $1 AND owner = $2 AND space = $3";
const CLAIM: &str = "INSERT INTO identifier (org, space, value, owner) VALUES ($1, $2, $3, $4)";
const TALLY: &str = "INSERT INTO tally (org, name, slot, amount) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (org, name, slot) DO UPDATE SET amount = tally.amount + excluded.amount";
const JOIN: &str =
    "INSERT INTO membership (org, user_id, team) VALUES ($1, $2, $3) ON CONFLICT (org, user_id, team) DO NOTHING";
const LEAVE: &str = "DELETE FROM membership WHERE org = $1 AND user_id = $2 AND team = $3";
const ADMIT: &str = "INSERT INTO credential (hash, org, token, user_id, roles, cidr, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// Codes of the kinds in `holding` and `assignment`.
pub(crate) const fn holder_code(kind: Kind) -> i64 {
    match kind {
        Kind::User => 1,
        Kind::Team => 2,
        _ => 3,
    }
}

/// Networks that are remembered of a user.
const NETWORKS: i64 = 16;

const HOLD: &str = "INSERT INTO holding (org, kind, owner, roles) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (org, kind, owner) DO UPDATE SET roles = excluded.roles";
const UNASSIGN: &str = "DELETE FROM assignment WHERE org = $1 AND kind = $2 AND owner = $3";
const ASSIGN: &str = "INSERT INTO assignment (org, kind, owner, role_group) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (org, kind, owner, role_group) DO NOTHING";
const SET_PASSWORD: &str = "INSERT INTO password (org, user_id, hash) VALUES ($1, $2, $3) \
    ON CONFLICT (org, user_id) DO UPDATE SET hash = excluded.hash";
const REMEMBER: &str = "INSERT INTO network (org, user_id, prefix, at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (org, user_id, prefix) DO UPDATE SET at = excluded.at";
const FORGET_NETWORKS: &str = "DELETE FROM network WHERE org = $1 AND user_id = $2 AND prefix NOT IN \
    (SELECT n.prefix FROM network n WHERE n.org = $3 AND n.user_id = $4 ORDER BY n.at DESC, n.prefix LIMIT $5)";
const DESCRIBE: &str = "UPDATE org SET described = described + 1, masks = $1 WHERE id = $2 AND described = $3";
const REVOKE: &str = "DELETE FROM credential WHERE org = $1 AND token = $2";
const EVENT: &str = "INSERT INTO event (org, lane, seq, at, verb, kind, object, customer, actor, rev, changes) VALUES ";
const LANE: &str = "SELECT seq, at, used FROM lane WHERE org = $1 AND n = $2";
const LANE_LOCKED: &str = "SELECT seq, at, used FROM lane WHERE org = $1 AND n = $2 FOR UPDATE";
const NEW_LANE: &str = "INSERT INTO lane (org, n, seq, at, used, gone) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (org, n) DO NOTHING";
const MOVE_LANE: &str = "UPDATE lane SET seq = $1, at = $2, used = $3 WHERE org = $4 AND n = $5";
/// The number of events told along with a record is known only once they are stored.
const COUNT_LANE: &str = "UPDATE lane SET seq = \
    (SELECT coalesce(max(e.seq), CAST($1 AS bigint)) FROM event e WHERE e.org = $2 AND e.lane = $3 AND e.seq >= $4), \
    at = $5, used = $6 WHERE org = $7 AND n = $8";

/// What a driver makes a part of one transaction, or all of it.
pub struct Work {
    dialect: Dialect,
    org: Id,
    lanes: Vec<u8>,
    /// Records that want a stamp.
    wanted: Counts,
    part: Part,
}

enum Part {
    Steps(Vec<Step>),
    Changes(Changes),
}

impl Work {
    /// Changes of an org's records.
    pub fn changes(dialect: Dialect, changes: Changes) -> Self {
        let mut lanes = BTreeSet::new();
        let mut wanted = Counts::default();
        let mut moves = false;
        for op in &changes.ops {
            match op {
                Op::Put(put) => {
                    moves |= block::moves(put.was.as_deref(), &put.now);
                    if put.stamp_at.is_some() {
                        wanted.add(put.now.kind);
                    }
                    lanes.extend(put.event.iter().map(|event| dialect.lane_of(event.customer)));
                }
                Op::Emit(event) => drop(lanes.insert(dialect.lane_of(event.customer))),
                Op::Hide(hide, _) => drop(lanes.insert(dialect.lane_of(Some(customer_of(*hide))))),
                // Also when nothing is told: whoever writes anything of a customer waits at the lane, not at their rows.
                Op::Guard(customer, _) => drop(lanes.insert(dialect.lane_of(Some(*customer)))),
                _ => {}
            }
        }
        if lanes.is_empty() && (wanted.any() || moves) {
            // Without an event there is no lane; its moment must still be one that some lane gave, and what it moves out of
            // or into lists must be known to whoever counts them.
            lanes.insert(0);
        }
        let (org, lanes) = (changes.org.into(), lanes.into_iter().collect());
        Self { dialect, org, lanes, wanted, part: Part::Changes(changes) }
    }

    /// Steps that belong to no org's sequence.
    pub fn of_steps(dialect: Dialect, steps: Vec<Step>) -> Self {
        let org = Id::from_bytes([0; 12]);
        Self { dialect, org, lanes: Vec::new(), wanted: Counts::default(), part: Part::Steps(steps) }
    }

    /// Steps beside which nobody else writes in these lanes of an org.
    pub(crate) fn within_lanes(dialect: Dialect, org: OrgId, lanes: Vec<u8>, steps: Vec<Step>) -> Self {
        Self { dialect, org: org.into(), lanes, wanted: Counts::default(), part: Part::Steps(steps) }
    }

    /// Whether it is upkeep that nobody waits for, though others wait for its lanes.
    pub fn is_upkeep(&self) -> bool {
        matches!(self.part, Part::Steps(_)) && !self.lanes.is_empty()
    }

    /// The lanes to lock before anything else, in this order.
    pub fn lanes(&self) -> &[u8] {
        &self.lanes
    }

    /// The customers to whose timelines it writes; some may come more than once.
    pub fn customers(&self) -> impl Iterator<Item = (OrgId, CustomerId)> {
        let changes = match &self.part {
            Part::Changes(changes) => Some(changes),
            Part::Steps(_) => None,
        };
        changes.into_iter().flat_map(|changes| {
            let of_op = |op: &Op| match op {
                Op::Guard(customer, _) => [Some(*customer), None],
                Op::Hide(hide, _) => [Some(customer_of(*hide)), None],
                // A conversation that moves leaves one timeline and comes to another.
                Op::Put(put) => [Some(&put.now), put.was.as_deref()].map(|row| row.and_then(timeline_of)),
                _ => [None, None],
            };
            changes.ops.iter().flat_map(of_op).flatten().map(|customer| (changes.org, customer))
        })
    }

    /// Whether it lets a token in, or in no longer, or changes what one may do, or what its look-up
    /// brings along.
    pub fn moves_doors(&self) -> bool {
        match &self.part {
            Part::Changes(changes) => changes.ops.iter().any(|op| {
                matches!(op, Op::Admit(_) | Op::Revoke(_) | Op::Hold(_) | Op::Join(_) | Op::Leave(_) | Op::Describe(..))
            }),
            Part::Steps(_) => false,
        }
    }

    /// About how many statements it is.
    pub fn size(&self) -> usize {
        match &self.part {
            Part::Steps(steps) => steps.len(),
            Part::Changes(changes) => 2 * changes.ops.len() + self.lanes.len(),
        }
    }

    /// Locks and reads a lane: [`Work::lane_state`] reads its row. No row means that the lane has to be made first.
    pub fn lock(&self, lane: u8) -> Query {
        let sql = match self.dialect {
            Dialect::Sqlite => LANE,
            Dialect::Postgres => LANE_LOCKED,
        };
        Query::bounded(sql, vec![self.org.into(), Value::Int(lane.into())])
    }

    /// Makes a lane.
    pub fn make(&self, lane: u8) -> Step {
        new_lane(self.org, lane)
    }

    /// A lane's row as [`Work::lock`] found it.
    pub fn lane_state(&self, row: Vec<Value>) -> Result<LaneState, StoreError> {
        let mut columns = crate::Columns::new(row);
        let (seq, at, used) = (columns.int()?, columns.int()?, columns.int()?);
        Ok(LaneState { seq, at: Instant::from_millis(at), used })
    }

    /// Whether it can share a transaction with others of its lane: it takes one lane, no name and no kept count. Those are
    /// taken in one order within a change, but not from one change to the next, so that two lanes would often wait for each
    /// other. They still can, over the ids and external ids of records.
    pub fn is_plain(&self) -> bool {
        let Part::Changes(changes) = &self.part else { return false };
        let [_] = *self.lanes else { return false };
        changes.ops.iter().all(|op| matches!(op, Op::Put(_) | Op::Guard(..) | Op::Emit(_)))
    }

    /// The lane of a [plain](Work::is_plain) change, and whose it is.
    pub fn lane(&self) -> Option<(Id, u8)> {
        self.lanes.first().map(|lane| (self.org, *lane))
    }

    /// The statements, given how the lanes were found, in the order of [`Work::lanes`].
    pub fn plan(&self, lanes: &[LaneState]) -> Result<Plan<'_>, StoreError> {
        match &self.part {
            Part::Steps(steps) => Ok(Plan { steps: Cow::Borrowed(steps), ..Plan::default() }),
            Part::Changes(changes) => {
                let mut planner = Planner::new(self, changes, lanes);
                for op in &changes.ops {
                    planner.take(op)?;
                }
                Ok(planner.finish())
            }
        }
    }

    /// Stores where a lane stands after a change, or after several.
    pub fn leave(&self, lane: u8, state: LaneState) -> Step {
        let LaneState { seq, at, used } = state;
        any(MOVE_LANE, vec![Value::Int(seq), at.into(), Value::Int(used), self.org.into(), Value::Int(lane.into())])
    }
}

/// The customer in whose timeline a row lies.
fn timeline_of(row: &Row) -> Option<CustomerId> {
    row.customer.or_else(|| (row.kind == Kind::Customer).then_some(CustomerId(row.id)))
}

/// The statements of a change.
#[derive(Default)]
pub struct Plan<'a> {
    /// Statements, in this order.
    steps: Cow<'a, [Step]>,
    /// Rows of events: see [`tell`].
    events: Vec<Vec<Value>>,
    /// Statements that follow the events.
    after: Vec<Step>,
    /// Where the lanes stand after it, in the order of [`Work::lanes`].
    lanes: Vec<LaneState>,
    /// What is known once it is committed.
    pub applied: Applied,
}

impl Plan<'_> {
    /// All of it as one transaction's statements.
    pub fn alone(self, work: &Work) -> (Vec<Step>, Applied) {
        let mut steps = self.steps.into_owned();
        steps.extend(tell(self.events));
        // What is told along with a record is counted by the database, and so is where the lane stands.
        let left = if self.after.is_empty() { self.lanes } else { Vec::new() };
        steps.extend(self.after);
        steps.extend(work.lanes.iter().zip(left).map(|(lane, state)| work.leave(*lane, state)));
        (steps, self.applied)
    }
}

/// Plain changes of one lane as one transaction's statements, given how the lane was found.
pub fn together(works: &[&Work], lane: LaneState) -> Result<(Vec<Step>, Vec<Applied>), StoreError> {
    let (mut steps, mut events, mut applied, mut state) = (Vec::new(), Vec::new(), Vec::new(), lane);
    for work in works {
        let plan = work.plan(&[state])?;
        state = *plan.lanes.first().unwrap_or(&state);
        steps.extend(plan.steps.into_owned());
        events.extend(plan.events);
        applied.push(plan.applied);
    }
    steps.extend(tell(events));
    if let Some((work, (_, n))) = works.first().and_then(|work| Some((work, work.lane()?))) {
        steps.push(work.leave(n, state));
    }
    Ok((steps, applied))
}

/// Events as statements of many rows each. Their numbers of rows are few, so that their texts are.
fn tell(mut events: Vec<Vec<Value>>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (rows, sql) in TELL.iter() {
        while events.len() >= *rows {
            let left = events.split_off(*rows);
            steps.push(any(sql, events.into_iter().flatten().collect()));
            events = left;
        }
    }
    steps
}

/// The texts that store so many events, the largest first.
static TELL: LazyLock<[(usize, String); 5]> = LazyLock::new(|| {
    [16, 8, 4, 2, 1].map(|rows| {
        let slots = |row: usize| (1..=EVENT_COLUMNS).map(move |n| format!("${}", row * EVENT_COLUMNS + n));
        let values = |row| format!("({})", slots(row).collect::<Vec<_>>().join(", "));
        (rows, format!("{EVENT}{}", (0..rows).map(values).collect::<Vec<_>>().join(", ")))
    })
});

fn customer_of(hide: Hide) -> CustomerId {
    match hide {
        Hide::OfCustomer(customer) | Hide::OfConversation(customer, _) | Hide::Undo(customer, _) => customer,
    }
}

fn any(sql: &'static str, params: Vec<Value>) -> Step {
    Step { sql: Cow::Borrowed(sql), params, must_change: false, conflict: None }
}

fn must(sql: impl Into<Cow<'static, str>>, params: Vec<Value>, conflict: Conflict) -> Step {
    Step { sql: sql.into(), params, must_change: true, conflict: Some(conflict) }
}

fn new_lane(org: Id, lane: u8) -> Step {
    let zero = || Value::Int(0);
    any(NEW_LANE, vec![org.into(), Value::Int(lane.into()), zero(), zero(), zero(), zero()])
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Writes the moment of the commit over the placeholder.
fn stamp(target: &mut String, from: usize, at: &str) -> Result<(), StoreError> {
    let place = from..from + STAMP;
    if at.len() != STAMP || target.get(place.clone()).is_none() {
        return Err(StoreError::Corrupt("a text has no place for its updatedAt".into()));
    }
    target.replace_range(place, at);
    Ok(())
}

/// Sorts the parts of a change into the order they are executed in. Guards and existing rows come first, so that a stale
/// picture is met before anything else is written; names are given back before they are taken.
struct Planner<'a> {
    dialect: Dialect,
    org: OrgId,
    changes: &'a Changes,
    lanes: &'a [u8],
    states: Vec<LaneState>,
    stamps: Stamps,
    given: Counts,
    first: Vec<Step>,
    updates: Vec<Step>,
    inserts: Vec<Step>,
    releases: Vec<Step>,
    claims: Vec<(Space, &'a str, Id)>,
    /// What is added to each slot of a kept count.
    tallies: BTreeMap<(&'a str, u8), i64>,
    rest: Vec<Step>,
    events: Vec<Vec<Value>>,
    hides: Vec<(Hide, Option<UserId>)>,
    blocks: BlockChanges,
    applied: Applied,
}

impl<'a> Planner<'a> {
    fn new(work: &'a Work, changes: &'a Changes, states: &[LaneState]) -> Self {
        Self {
            dialect: work.dialect,
            org: changes.org,
            changes,
            lanes: &work.lanes,
            states: states.to_vec(),
            stamps: Stamps::new(work.dialect, states, changes.at, work.wanted),
            given: Counts::default(),
            first: Vec::new(),
            updates: Vec::new(),
            inserts: Vec::new(),
            releases: Vec::new(),
            claims: Vec::new(),
            tallies: BTreeMap::new(),
            rest: Vec::new(),
            events: Vec::new(),
            hides: Vec::new(),
            blocks: BlockChanges::default(),
            applied: Applied::default(),
        }
    }

    fn take(&mut self, op: &'a Op) -> Result<(), StoreError> {
        let org: Id = self.org.into();
        match op {
            Op::Found(new) => {
                let conflict = Conflict::Taken(Kind::Org, new.id.0);
                self.first.push(must(FOUND, vec![new.id.0.into(), text(&new.name), new.created_at.into()], conflict));
                self.first.extend((0..self.dialect.lanes()).map(|lane| new_lane(new.id.0, lane)));
                self.first.extend(block::found(new.id));
            }
            Op::Guard(customer, turn) => {
                let mut params =
                    vec![org.into(), customer.0.into(), Value::Int(*turn), Value::Int(table::hidden_code(Hidden::No))];
                params.extend(self.unclaimed(*customer));
                self.first.push(must(&**GUARD, params, Conflict::Stale(Kind::Customer, customer.0)));
                self.blocks.turned(*customer, turn + 1);
            }
            Op::Put(put) => self.put(put)?,
            Op::Claim(space, value, owner) => self.claims.push((*space, value, *owner)),
            Op::Release(space, value, owner) => {
                let params = vec![org.into(), text(space.name()), text(value), (*owner).into()];
                self.releases.push(any(RELEASE, params));
            }
            Op::ReleaseAll(kind, owner) => {
                for space in Space::ALL.into_iter().filter(|space| space.kind() == *kind) {
                    self.releases.push(any(RELEASE_ALL, vec![org.into(), (*owner).into(), text(space.name())]));
                }
            }
            Op::Hide(hide, actor) => {
                self.hides.push((*hide, *actor));
                self.rest.extend(hide_steps(self.dialect, self.org, *hide));
                match *hide {
                    Hide::OfCustomer(customer) => self.rest.extend(block::forget_customer(self.org, customer)),
                    Hide::OfConversation(_, id) => self.rest.extend(block::forget_conversation(self.org, id)),
                    Hide::Undo(_, id) => self.blocks.shown_again(id),
                }
            }
            Op::Tally(name, by, amount) => {
                *self.tallies.entry((*name, by.bytes()[11] % SLOTS)).or_default() += amount;
            }
            Op::Join(place) => self.rest.push(any(JOIN, vec![org.into(), place.user.0.into(), place.team.0.into()])),
            Op::Leave(place) => self.rest.push(any(LEAVE, vec![org.into(), place.user.0.into(), place.team.0.into()])),
            Op::Describe(was, masks) => {
                let masks = (!masks.is_empty()).then(|| masks.to_text());
                let stale = Conflict::Stale(Kind::Org, org);
                self.updates.push(must(DESCRIBE, vec![masks.into(), org.into(), Value::Int(*was)], stale));
            }
            Op::Admit(new) => self.rest.push(any(
                ADMIT,
                vec![
                    Value::Hash(new.hash),
                    org.into(),
                    new.token.0.into(),
                    new.user.0.into(),
                    text(&new.roles),
                    new.cidr.clone().into(),
                    new.expires_at.into(),
                ],
            )),
            Op::Revoke(token) => self.rest.push(any(REVOKE, vec![org.into(), token.0.into()])),
            Op::Hold(Holding { kind, owner, roles, groups }) => {
                let key = || vec![org.into(), Value::Int(holder_code(*kind)), (*owner).into()];
                let with = |last: Value| key().into_iter().chain([last]).collect();
                self.rest.push(any(HOLD, with(text(roles))));
                self.rest.push(any(UNASSIGN, key()));
                self.rest.extend(groups.iter().map(|group| any(ASSIGN, with((*group).into()))));
            }
            Op::SetPassword(user, PasswordHash(hash)) => {
                self.rest.push(any(SET_PASSWORD, vec![org.into(), user.0.into(), text(hash)]));
            }
            Op::Remember(user, network) => {
                let at = self.changes.at.into();
                self.rest.push(any(REMEMBER, vec![org.into(), user.0.into(), text(network), at]));
                let params = vec![org.into(), user.0.into(), org.into(), user.0.into(), Value::Int(NETWORKS)];
                self.rest.push(any(FORGET_NETWORKS, params));
            }
            Op::Emit(event) => self.event(event, self.stamps.start())?,
        }
        Ok(())
    }

    fn put(&mut self, put: &Put) -> Result<(), StoreError> {
        let mut now = put.now.clone();
        let at = match put.stamp_at {
            Some(place) => {
                let at = self.stamps.nth(now.kind, self.given.of(now.kind));
                self.given.add(now.kind);
                stamp(&mut now.doc, place, &at.to_string())?;
                now.updated_at = at;
                self.applied.stamps.push(at);
                at
            }
            None => now.updated_at,
        };
        if let Some(event) = &put.event {
            self.event(event, at)?;
        }
        let Some(was) = &put.was else {
            self.blocks.put(self.org, None, &now);
            self.inserts.push(insert(self.org, table::of(now.kind), now));
            return Ok(());
        };
        let table = table::of(now.kind);
        self.blocks.put(self.org, Some(was), &now);
        let stale = Conflict::Stale(now.kind, now.id);
        if table.same_place(self.org, was, &now) {
            let unclaimed = (now.kind == Kind::Customer).then(|| self.unclaimed(CustomerId(now.id)));
            let mut params = table.update_params(self.org, was, now);
            params.extend(unclaimed.into_iter().flatten());
            self.updates.push(must(&*table.update, params, stale));
        } else {
            self.updates.push(must(&*table.delete, table.delete_params(self.org, was), stale));
            self.inserts.push(insert(self.org, table, now));
        }
        Ok(())
    }

    /// What [`table::unclaimed`] needs to know.
    fn unclaimed(&self, customer: CustomerId) -> [Value; 4] {
        let holder = self.changes.holder.unwrap_or(NOBODY);
        let (now, latest) = (self.changes.at, self.changes.at.plus(2 * CLAIM_MS));
        [Value::Text(claim_on(self.org, customer)), holder.into(), now.into(), latest.into()]
    }

    fn event(&mut self, event: &NewEvent, at: Instant) -> Result<(), StoreError> {
        let lane = self.dialect.lane_of(event.customer);
        let missing = || StoreError::Corrupt("an event's lane was not locked".into());
        let place = self.lanes.iter().position(|one| *one == lane).ok_or_else(missing)?;
        let state = self.states.get_mut(place).ok_or_else(missing)?;
        state.seq += 1;
        let mut changes = event.changes.clone();
        if let (Some(changes), Some(place)) = (&mut changes, event.stamp_at) {
            stamp(changes, place, &at.to_string())?;
        }
        let params = vec![
            self.org.0.into(),
            Value::Int(lane.into()),
            Value::Int(state.seq),
            at.into(),
            text(event.verb.name()),
            text(event.kind.name()),
            event.object.into(),
            event.customer.map(Id::from).into(),
            event.actor.map(Id::from).into(),
            event.rev.into(),
            changes.into(),
        ];
        self.events.push(params);
        Ok(())
    }

    fn finish(mut self) -> Plan<'a> {
        let org: Id = self.org.into();
        // In one order for everybody, so that two changes cannot wait for each other's names.
        self.claims.sort_unstable();
        let claims = self.claims.iter().map(|(space, value, owner)| {
            let params = vec![org.into(), text(space.name()), text(value), (*owner).into()];
            must(CLAIM, params, Conflict::Name(*space, (*value).to_owned()))
        });
        let mut steps = self.first;
        steps.append(&mut self.updates);
        steps.append(&mut self.inserts);
        steps.append(&mut self.releases);
        steps.extend(claims);
        steps.append(&mut self.rest);
        steps.extend(self.blocks.steps(self.dialect, self.org, self.lanes.first().copied().unwrap_or(0)));
        // Kept counts in one order as well, each slot once: changes of other lanes add to the same ones.
        steps.extend(self.tallies.iter().map(|((name, slot), amount)| {
            any(TALLY, vec![org.into(), text(name), Value::Int((*slot).into()), Value::Int(*amount)])
        }));
        // Its own claims end with it.
        if let Some(holder) = self.changes.holder {
            let claims = self.changes.turns().into_iter().map(|customer| claim_on(self.org, customer));
            steps.extend(claims.map(|claim| any(END_LEASE, vec![Value::Text(claim), holder.into()])));
        }
        let (at, used) = self.stamps.end();
        let mut after = Vec::new();
        for (hide, actor) in &self.hides {
            let lane = self.dialect.lane_of(Some(customer_of(*hide)));
            let seq = self.lanes.iter().position(|one| *one == lane).map_or(0, |place| self.states[place].seq);
            after.extend(hide_events(org, *hide, *actor, lane, seq, at));
        }
        for state in &mut self.states {
            (state.at, state.used) = (at, used);
        }
        if !self.hides.is_empty() {
            after.extend(self.lanes.iter().zip(&self.states).map(|(lane, state)| {
                let (n, seq) = (Value::Int((*lane).into()), Value::Int(state.seq));
                let (at, used) = (at.into(), Value::Int(used));
                any(COUNT_LANE, vec![seq.clone(), org.into(), n.clone(), seq, at, used, org.into(), n])
            }));
        }
        Plan { steps: Cow::Owned(steps), events: self.events, after, lanes: self.states, applied: self.applied }
    }
}

fn insert(org: OrgId, table: &'static Table, row: Row) -> Step {
    let conflict = Conflict::Taken(row.kind, row.id);
    must(&*table.insert, table.insert_params(org, row), conflict)
}

/// One of the sets of rows that a [`Hide`] moves: its kind and table, where it is found, from which mark to which.
struct Along {
    kind: Kind,
    table: &'static str,
    place: Place,
    from: i64,
    to: i64,
}

/// Where rows are found: by what their table is ordered by, so that nothing is read but them.
#[derive(Clone, Copy)]
enum Place {
    Customer(Id),
    Conversation(Id),
    /// In the conversations of this customer, hidden ones too.
    ConversationsOf(Id),
}

impl Place {
    /// The condition, whose first parameter is `$first`, and its parameters.
    fn condition(self, org: Id, first: usize) -> (String, Vec<Value>) {
        match self {
            Self::Customer(id) => (format!("customer = ${first}"), vec![id.into()]),
            Self::Conversation(id) => (format!("conversation = ${first}"), vec![id.into()]),
            Self::ConversationsOf(id) => (
                format!(
                    "conversation IN (SELECT id FROM conversation WHERE org = ${first} AND customer = ${})",
                    first + 1
                ),
                vec![org.into(), id.into()],
            ),
        }
    }
}

fn along(hide: Hide) -> Vec<Along> {
    const OF_CONVERSATION: [(Kind, &str); 2] = [(Kind::Message, "message"), (Kind::Note, "note")];
    let code = table::hidden_code;
    let of = |place, from, to| {
        OF_CONVERSATION.map(|(kind, table)| Along { kind, table, place, from: code(from), to: code(to) })
    };
    match hide {
        Hide::OfCustomer(customer) => {
            let conversations = Along {
                kind: Kind::Conversation,
                table: "conversation",
                place: Place::Customer(customer.0),
                from: code(Hidden::No),
                to: code(Hidden::WithCustomer),
            };
            let inner = of(Place::ConversationsOf(customer.0), Hidden::No, Hidden::WithCustomer);
            [conversations].into_iter().chain(inner).collect()
        }
        Hide::OfConversation(_, id) => of(Place::Conversation(id), Hidden::No, Hidden::WithConversation).into(),
        Hide::Undo(_, id) => of(Place::Conversation(id), Hidden::WithConversation, Hidden::No).into(),
    }
}

fn hide_steps(dialect: Dialect, org: OrgId, hide: Hide) -> impl Iterator<Item = Step> {
    let owner = match hide {
        Hide::OfCustomer(customer) => customer.0,
        Hide::OfConversation(_, id) | Hide::Undo(_, id) => id,
    };
    // All that is locked is the customer's lane.
    let (customer, lane) = (customer_of(hide), dialect.lane_of(Some(customer_of(hide))));
    along(hide).into_iter().flat_map(move |Along { kind, table, place, from, to }| {
        // A deleted customer's own lists need no counts any more.
        let of_customer = block::of_customer(customer, kind).filter(|_| !matches!(hide, Hide::OfCustomer(_)));
        let lists: Vec<_> = block::of_org(org, kind).into_iter().chain(of_customer).collect();
        let sign = if to == table::hidden_code(Hidden::No) { 1 } else { -1 };
        let counted = block::along(dialect, org, lane, &lists, sign, |first| {
            let (condition, mut params) = place.condition(org.0, first);
            params.push(Value::Int(from));
            (format!("{condition} AND hidden = ${}", first + params.len() - 1), params)
        });
        let org: Id = org.into();
        let asleep = if kind == Kind::Conversation { ", wake_at = NULL" } else { "" };
        let (condition, of_place) = place.condition(org, 3);
        let mut params = vec![Value::Int(to), org.into()];
        params.extend(of_place);
        params.push(Value::Int(from));
        let last = params.len();
        let sql = format!("UPDATE {table} SET hidden = $1{asleep} WHERE org = $2 AND {condition} AND hidden = ${last}");
        let hidden = Step {
            sql: sql.into(),
            params,
            must_change: false,
            // Showing them again can meet an external id that was taken meanwhile.
            conflict: Some(Conflict::Taken(Kind::Conversation, owner)),
        };
        counted.into_iter().chain([hidden])
    })
}

/// Tells of every row that was hidden or shown along: those that now carry the mark are exactly those that just got it,
/// since nothing can be added to what does not show.
fn hide_events(
    org: Id,
    hide: Hide,
    actor: Option<UserId>,
    lane: u8,
    seq: i64,
    at: Instant,
) -> impl Iterator<Item = Step> {
    let verb = if matches!(hide, Hide::Undo(..)) { Verb::Restore } else { Verb::Delete };
    along(hide).into_iter().map(move |Along { kind, table, place, to, .. }| {
        let (condition, of_place) = place.condition(org, 11);
        let last = 11 + of_place.len();
        let sql = format!(
            "INSERT INTO event (org, lane, seq, at, verb, kind, object, customer, actor, rev, changes) \
             SELECT org, CAST($1 AS bigint), (SELECT coalesce(max(e.seq), CAST($2 AS bigint)) FROM event e \
             WHERE e.org = $3 AND e.lane = $4 AND e.seq >= $5) + row_number() OVER (ORDER BY created_at, id), \
             CAST($6 AS bigint), CAST($7 AS text), CAST($8 AS text), id, customer, $9, rev, NULL \
             FROM {table} WHERE org = $10 AND {condition} AND hidden = ${last}"
        );
        let lane = Value::Int(lane.into());
        let mut params = vec![
            lane.clone(),
            Value::Int(seq),
            org.into(),
            lane,
            Value::Int(seq),
            at.into(),
            text(verb.name()),
            text(kind.name()),
            actor.map(Id::from).into(),
            org.into(),
        ];
        params.extend(of_place);
        params.push(Value::Int(to));
        Step { sql: sql.into(), params, must_change: false, conflict: None }
    })
}

//! Looking at everything: counts are counted again, every text is compared with what is kept beside it, and what follows
//! from something else is worked out anew, by the rules that every write uses.
//!
//! It runs beside servers. Nothing holds them up: a customer is looked at while others may write, and when something is not
//! as it should be, the customer's turn says whether it was all of one moment. If not, the customer is looked at again.
//! Mending is a change like any other, with the turn, revisions and visibility it was computed from; where somebody else
//! was faster, it is computed again.

mod beside;
mod customer;
mod directory;
mod notes;
mod report;
mod told;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::thread::available_parallelism;

use konverse_model::{CustomerId, Id, Kind, OrgId, Position};
use konverse_store::{Applied, Changes, Conflict, Found, Hidden, Op, Part, Put, Row, StoreError, Walk};
use tokio::task::JoinHandle;

use crate::unit::READ_BYTES;
use crate::{Domain, DomainError, Org};

use directory::Directory;
use notes::Notes;
pub use report::{Checked, Finding, Outcome};
use told::{Own, Told as Sequence};

/// Rows read at once where each is looked at with much that belongs to it; fewer when they are large.
const AT_ONCE: u32 = 100;

/// How often a customer is looked at before it is given up as written to without pause.
const LOOKS: u32 = 30;

/// Customers in a row that the database could not be asked about, after which it is taken for gone.
const FAILURES: u32 = 20;

/// What to do where the database itself is damaged.
const DAMAGED: &str = "put a copy back";

/// What a check tells while it runs.
#[derive(Debug)]
pub enum Told<'a> {
    /// Something that is not as it should be.
    Finding(&'a Finding),
    /// So many customers were looked at.
    Customers(u64),
    /// What it looks at next.
    Now(&'static str),
}

/// Whom a look is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// A customer with all that is theirs.
    Customer,
    /// A record of the directory.
    Record(Kind),
}

impl Subject {
    fn kind(self) -> Kind {
        match self {
            Self::Customer => Kind::Customer,
            Self::Record(kind) => kind,
        }
    }
}

/// What one look says: how much was looked at, and what was found.
type Said = (Checked, Vec<Finding>);

/// Those that are being looked at, in order.
type Running = VecDeque<(Id, JoinHandle<Result<Said, DomainError>>)>;

type Tell<'a> = dyn FnMut(Told<'_>) + Send + 'a;

/// What a check of one org adds up.
struct Report<'a, 'b> {
    checked: Checked,
    tell: &'a mut Tell<'b>,
}

impl Report<'_, '_> {
    fn found(&mut self, finding: &Finding) {
        self.checked.count(finding);
        (self.tell)(Told::Finding(finding));
    }

    fn add(&mut self, (checked, findings): Said) {
        self.checked.add(&checked);
        findings.iter().for_each(|finding| self.found(finding));
    }
}

impl Domain {
    /// Whether the database itself is sound, by what its engine says.
    pub async fn check_database(&self) -> Result<Vec<Finding>, DomainError> {
        let lines = match self.store.integrity().await {
            // One that is damaged badly is not looked at to the end.
            Err(StoreError::Database(text) | StoreError::Corrupt(text)) => vec![text],
            lines => lines?,
        };
        Ok(lines.into_iter().map(damaged).collect())
    }

    /// What is kept of orgs that are not there. No check of an org comes to it. Whether an org was lost or its rows were left
    /// over, only a person knows.
    pub async fn check_orgs(&self) -> Result<Vec<Finding>, DomainError> {
        let finding = |(table, org): (&str, Id)| Finding {
            kind: "org",
            id: org.to_string(),
            what: format!("its rows in the table {table}"),
            stored: "kept of an org that is not there".to_owned(),
            expected: "gone, or the org there".to_owned(),
            outcome: Outcome::Beyond("nothing says which of the two".to_owned()),
        };
        match self.store.lost_orgs().await {
            Err(StoreError::Database(text) | StoreError::Corrupt(text)) => {
                self.store.ping().await?;
                Ok(vec![damaged(text)])
            }
            lost => Ok(lost?.into_iter().map(finding).collect()),
        }
    }

    /// Looks at everything of an org, and mends what can be if `repair` says so. An error means that it could not be done;
    /// a record that cannot be read does not end it.
    pub async fn check(self: &Arc<Self>, org: &Org, repair: bool, tell: &mut Tell<'_>) -> Result<Checked, DomainError> {
        let mut report = Report { checked: Checked::default(), tell };
        let id = org.id;
        let everybody = Arc::default();
        let told = Arc::default();
        (report.tell)(Told::Now("customers"));
        let done = self.check_all(id, Subject::Customer, (&everybody, &told), repair, &mut report).await;
        self.go_on("customers", done, &mut report).await?;
        (report.tell)(Told::Now("the directory"));
        let done = self.check_directory(id, &told, repair, &mut report).await;
        self.go_on("the directory", done, &mut report).await?;
        (report.tell)(Told::Now("strays"));
        let done = self.check_strays(id, &mut report).await;
        self.go_on("what belongs to nothing", done, &mut report).await?;
        (report.tell)(Told::Now("names"));
        let done = self.check_lost_names(id, repair, &mut report).await;
        self.go_on("names", done, &mut report).await?;
        (report.tell)(Told::Now("kept counts"));
        let done = self.check_tally(id, repair, &mut report).await;
        self.go_on("kept counts", done, &mut report).await?;
        (report.tell)(Told::Now("counted blocks"));
        let done = self.check_blocks(id, repair, &mut report).await;
        self.go_on("counted blocks", done, &mut report).await?;
        (report.tell)(Told::Now("events"));
        let done = self.check_lanes(id, repair, &mut report).await;
        self.go_on("events", done, &mut report).await?;
        Ok(report.checked)
    }

    /// What could not be read to its end is said, and the rest is looked at. A database that does not answer ends it.
    async fn go_on(
        &self,
        what: &'static str,
        done: Result<(), DomainError>,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        let Err(error) = done else { return Ok(()) };
        let DomainError::Internal(told) = error else { return Err(error) };
        self.store.ping().await?;
        report.found(&Finding {
            kind: "database",
            id: what.to_owned(),
            what: "the rest of it".to_owned(),
            stored: format!("unreadable ({})", told.text),
            expected: "sound".to_owned(),
            outcome: Outcome::Beyond(DAMAGED.to_owned()),
        });
        Ok(())
    }

    /// Looks at every record of a kind with what belongs to it, several side by side.
    async fn check_all(
        self: &Arc<Self>,
        org: OrgId,
        subject: Subject,
        (directory, told): (&Arc<Directory>, &Arc<Sequence>),
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        let abreast = available_parallelism().map_or(1, usize::from).min(4);
        let kind = subject.kind();
        let mut running = Running::new();
        let (mut looked, mut failures) = (0, 0);
        let mut after: Option<Position> = None;
        loop {
            let part = self.walk(org, Walk::All(kind), after).await?;
            for found in part.rows {
                let row = match found {
                    Found::Row(row) => row,
                    Found::Unreadable(id, why) => {
                        report.found(&unreadable(kind, id, &why));
                        continue;
                    }
                };
                let (domain, directory, told) = (Arc::clone(self), Arc::clone(directory), Arc::clone(told));
                let id = row.id;
                running.push_back((
                    id,
                    tokio::spawn(
                        async move { domain.check_one(org, subject, *row, (&directory, &told), repair).await },
                    ),
                ));
                if running.len() >= abreast {
                    settle(kind, &mut running, report, &mut failures).await?;
                    looked += 1;
                    if subject == Subject::Customer && looked % u64::from(AT_ONCE) == 0 {
                        (report.tell)(Told::Customers(looked));
                    }
                }
            }
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        while !running.is_empty() {
            settle(kind, &mut running, report, &mut failures).await?;
        }
        Ok(())
    }

    /// The next part of one walk.
    async fn walk(&self, org: OrgId, walk: Walk, after: Option<Position>) -> Result<Part, DomainError> {
        Ok(self.store.walk(org, &[(walk, after)], AT_ONCE, READ_BYTES).await?.pop().unwrap_or_default())
    }

    /// Looks at one record with what belongs to it until what was seen is of one moment, and mends it.
    async fn check_one(
        &self,
        org: OrgId,
        subject: Subject,
        mut row: Row,
        (directory, sequence): (&Directory, &Sequence),
        repair: bool,
    ) -> Result<Said, DomainError> {
        let kind = subject.kind();
        let mut told = Vec::new();
        let mut mended: HashSet<String> = HashSet::new();
        let mut looks = 0;
        loop {
            let mut notes = Notes::new(Changes::new(org, self.now()));
            match subject {
                Subject::Customer => self.look_at_customer(org, &row, sequence, &mut notes).await?,
                Subject::Record(kind) => {
                    self.look_at_record(org, (kind, &row), directory, sequence, &mut notes).await?;
                    if !notes.is_clean() {
                        // The record may be newer than what was read of its surroundings.
                        let directory = self.directory(org).await?;
                        notes = Notes::new(Changes::new(org, self.now()));
                        self.look_at_record(org, (kind, &row), &directory, sequence, &mut notes).await?;
                    }
                }
            }
            let mut checked = std::mem::take(&mut notes.checked);
            if notes.is_clean() {
                return Ok((checked, told));
            }
            let Some(now) = self.store.get(org, kind, row.id).await? else { return Ok((checked, told)) };
            let seen = |row: &Row| (row.turn, row.rev, row.hidden, row.updated_at);
            if seen(&now) != seen(&row) {
                looks += 1;
                if looks == LOOKS {
                    checked.unsettled += 1;
                    return Ok((checked, told));
                }
                self.wait_turn(looks).await;
                row = now;
                continue;
            }
            if !repair || notes.changes.ops.is_empty() {
                told.extend(notes.left(None));
                return Ok((checked, told));
            }
            let changes = std::mem::replace(&mut notes.changes, Changes::new(org, self.now()));
            match self.mend(&row, changes).await {
                Ok(_) => {
                    let findings = notes.mended();
                    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    if lines.iter().all(|line| mended.contains(line)) {
                        told.extend(findings.into_iter().map(|finding| Finding {
                            outcome: Outcome::Beyond("it was mended and is wrong again".to_owned()),
                            ..finding
                        }));
                        return Ok((checked, told));
                    }
                    mended.extend(lines);
                    told.extend(findings);
                }
                Err(StoreError::Conflict(Conflict::Stale(..) | Conflict::Busy)) => {
                    looks += 1;
                    if looks == LOOKS {
                        checked.unsettled += 1;
                        return Ok((checked, told));
                    }
                    self.wait_turn(looks).await;
                }
                Err(StoreError::Conflict(conflict)) => {
                    told.extend(notes.left(Some(&taken(&conflict))));
                    return Ok((checked, told));
                }
                Err(error) => return Err(error.into()),
            }
            match self.store.get(org, kind, row.id).await? {
                Some(now) => row = now,
                None => return Ok((checked, told)),
            }
        }
    }

    /// Applies what mends a customer or what is theirs, or a record of the directory: nobody else may have written to any of
    /// it. Of a deleted customer nothing is written any more, so there the rows themselves are guard enough. A record of the
    /// directory has no turn: its row is stored as it is, which others see no change in, and which fails once they changed or
    /// hid it. So what a token's revocation takes away meanwhile stays away.
    async fn mend(&self, row: &Row, mut changes: Changes) -> Result<Applied, StoreError> {
        let guards = |op: &Op| matches!(op, Op::Put(Put { now, .. }) if now.kind == Kind::Customer);
        if row.kind == Kind::Customer && row.shows() && !changes.ops.iter().any(guards) {
            changes.ops.push(Op::Guard(CustomerId(row.id), row.turn));
        }
        let stored = |op: &Op| matches!(op, Op::Put(Put { now, .. }) if (now.kind, now.id) == (row.kind, row.id));
        if row.kind != Kind::Customer && !changes.ops.iter().any(stored) {
            changes.update(row.clone(), row.clone());
        }
        self.apply(changes).await
    }
}

/// Waits for the first of those that are being looked at.
async fn settle(
    kind: Kind,
    running: &mut Running,
    report: &mut Report<'_, '_>,
    failures: &mut u32,
) -> Result<(), DomainError> {
    let Some((id, first)) = running.pop_front() else { return Ok(()) };
    match first.await.map_err(|error| DomainError::internal(error.to_string()))? {
        Ok(looked) => {
            *failures = 0;
            report.add(looked);
            Ok(())
        }
        Err(error) => {
            *failures += 1;
            if *failures == FAILURES {
                return Err(error);
            }
            let why = error.told();
            report.found(&unreadable(kind, Some(id), &format!("what is theirs cannot be read: {why}")));
            Ok(())
        }
    }
}

/// What the engine says of a database that is not whole.
fn damaged(line: String) -> Finding {
    Finding {
        kind: "database",
        id: "file".to_owned(),
        what: "it".to_owned(),
        stored: line,
        expected: "sound".to_owned(),
        outcome: Outcome::Beyond(DAMAGED.to_owned()),
    }
}

/// A row that cannot be read.
fn unreadable(kind: Kind, id: Option<Id>, why: &str) -> Finding {
    Finding {
        kind: kind.name(),
        id: id.map_or_else(|| "without an id".to_owned(), |id| id.to_string()),
        what: "the row".to_owned(),
        stored: format!("unreadable ({why})"),
        expected: format!("a {}'s", kind.name()),
        outcome: Outcome::Beyond("nothing else has what stood there".to_owned()),
    }
}

fn taken(conflict: &Conflict) -> String {
    match conflict {
        Conflict::Name(space, _) => format!("another record holds its {}", space.name()),
        _ => "another record has its externalId or place".to_owned(),
    }
}

/// How a record is hidden that belongs to nothing else. Where no event tells, its column says.
const fn alone(hidden: Hidden, own: Own) -> Hidden {
    match (own, hidden) {
        (Own::Known(true), _) | (Own::Forgotten | Own::Unsaid, Hidden::Deleted) => Hidden::Deleted,
        _ => Hidden::No,
    }
}

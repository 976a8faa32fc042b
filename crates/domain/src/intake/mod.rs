//! Importing history: rows that are the bodies of the create operations, with ids, instants, status and authors as given.
//!
//! Rows are taken in batches. What those of one customer amount to is computed at once, and on all cores for the
//! customers of a batch; what lies in one lane of the sequence goes into few transactions, since it would be committed one
//! after the other anyway. While a batch is written, the next one is computed, but for the customers that are being written.
//!
//! When a transaction is refused, its rows are computed again customer by customer, and where that is refused as well, row
//! by row, so that a bad row is named and the good ones around it are stored. A row whose id (or external id) exists is
//! left alone, so that running an import again changes nothing.
//!
//! While the database cannot do it now, the rows of a batch that have no outcome yet are taken again, for a minute. So are
//! those of a transaction of which nobody knows whether it was committed: what is there of them then was stored by it.

mod rows;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use indexmap::{IndexMap, IndexSet};
use konverse_model::input::{self, ConversationCreate, CustomerBody, MessageCreate, NoteCreate, Unread};
use konverse_model::resource::Object;
use konverse_model::{ConversationId, CustomerId, FieldError, Id, Instant, Kind, OrgId};
use konverse_store::{Applied, Changes, List, Op, Order, Put, Row, Scope, Space, Start, StoreError, Window};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::Instant as Stopwatch;

use crate::directory::{Author, Desk, References};
use crate::metadata::Names;
use crate::timeline::Timeline;
use crate::unit::Draft;
use crate::{Domain, DomainError};
use rows::{DirectoryRow, read_row};

/// Rows after which a transaction takes no further group: all its statements are held while it is written.
const ROWS_AT_ONCE: usize = 500;

/// Bytes of rows and of the stored records they belong to that are computed at once. As drafts, events and statements they
/// are some ten times as much memory, and a row of a few bytes may belong to a conversation of megabytes.
const BYTES_AT_ONCE: usize = 10 << 20;

/// What a stored record is taken for until a larger one was read: so many are looked up at once.
const USUAL: usize = 64 << 10;

/// How long an import goes on trying while the database fails without pause, and how long it waits in between.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often in a row it may stay unclear whether something was committed.
const MOST_UNCLEAR: u32 = 3;

/// What a file holds, in the order the kinds depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportKind {
    /// Users.
    Users,
    /// Teams, whose members are users.
    Teams,
    /// Tags.
    Tags,
    /// Companies, which customers belong to.
    Companies,
    /// Shortcuts, which messages name.
    Shortcuts,
    /// Brands.
    Brands,
    /// SLAs with their versions.
    Slas,
    /// Queues, which conversations lie in.
    Queues,
    /// Customers.
    Customers,
    /// Conversations of customers.
    Conversations,
    /// Messages of conversations.
    Messages,
    /// Notes in conversations.
    Notes,
}

impl ImportKind {
    /// All kinds, in order.
    pub const ALL: [Self; 12] = [
        Self::Users,
        Self::Teams,
        Self::Tags,
        Self::Companies,
        Self::Shortcuts,
        Self::Brands,
        Self::Slas,
        Self::Queues,
        Self::Customers,
        Self::Conversations,
        Self::Messages,
        Self::Notes,
    ];

    /// The word file names begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Teams => "teams",
            Self::Tags => "tags",
            Self::Companies => "companies",
            Self::Shortcuts => "shortcuts",
            Self::Brands => "brands",
            Self::Slas => "slas",
            Self::Queues => "queues",
            Self::Customers => "customers",
            Self::Conversations => "conversations",
            Self::Messages => "messages",
            Self::Notes => "notes",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Users => Kind::User,
            Self::Teams => Kind::Team,
            Self::Tags => Kind::Tag,
            Self::Companies => Kind::Company,
            Self::Shortcuts => Kind::Shortcut,
            Self::Brands => Kind::Brand,
            Self::Slas => Kind::Sla,
            Self::Queues => Kind::Queue,
            Self::Customers => Kind::Customer,
            Self::Conversations => Kind::Conversation,
            Self::Messages => Kind::Message,
            Self::Notes => Kind::Note,
        }
    }

    /// Reads one line of a file.
    pub fn read(self, line: &str) -> Result<ImportRow, RowError> {
        let row = ImportRow { body: self.body(line)?, text: line.into() };
        if row.identity().is_none() && (self >= Self::Companies) {
            return Err(RowError("needs an id or an externalId, or a second import would create it again".into()));
        }
        Ok(row)
    }

    fn body(self, line: &str) -> Result<Body, RowError> {
        Ok(match self {
            Self::Customers => Body::Customer(Box::new(read(&input::CUSTOMER_IMPORT, line)?)),
            Self::Conversations => Body::Conversation(Box::new(read(&input::CONVERSATION_CREATE, line)?)),
            Self::Messages => Body::Message(Box::new(read(&input::MESSAGE_CREATE_IN_ORG, line)?)),
            Self::Notes => Body::Note(Box::new(read(&input::NOTE_CREATE, line)?)),
            directory => match read_row(directory, line) {
                Some(row) => Body::Directory(row?),
                None => return Err(RowError("is of no kind that is imported".into())),
            },
        })
    }
}

fn read<T: DeserializeOwned>(shape: &input::Shape<T>, line: &str) -> Result<T, RowError> {
    shape.read_text(line).map_err(|error| match error {
        Unread::NoJson(error) => RowError(format!("is not JSON: {error}")),
        Unread::Refused(errors) => describe(&errors),
    })
}

fn describe(errors: &[FieldError]) -> RowError {
    let texts: Vec<_> = errors.iter().map(|error| format!("{} {}", error.pointer, error.message)).collect();
    RowError(texts.join("; "))
}

/// What a row is recognised by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Identity {
    Id(Id),
    Name(Space, String),
    ExternalId(String),
}

enum Body {
    Directory(Box<dyn DirectoryRow>),
    Customer(Box<CustomerBody>),
    Conversation(Box<ConversationCreate>),
    Message(Box<MessageCreate>),
    Note(Box<NoteCreate>),
}

/// A row that has the right shape.
pub struct ImportRow {
    /// Used up when the row is computed; read again from the text in the rare case that it must be computed again.
    body: Body,
    text: Arc<str>,
}

impl ImportRow {
    fn id(&self) -> Option<Id> {
        match &self.body {
            Body::Directory(row) => row.id(),
            Body::Customer(body) => body.id.0.map(Id::from),
            Body::Conversation(body) => body.id.0.map(Id::from),
            Body::Message(body) => body.id.0.map(Id::from),
            Body::Note(body) => body.id.0.map(Id::from),
        }
    }

    fn external_id(&self) -> Option<&String> {
        match &self.body {
            Body::Customer(body) => match &body.external_id {
                konverse_model::Patch::Set(external_id) => Some(external_id),
                _ => None,
            },
            Body::Conversation(body) => body.external_id.0.as_ref(),
            Body::Message(body) => body.external_id.0.as_ref(),
            Body::Note(body) => body.external_id.0.as_ref(),
            Body::Directory(_) => None,
        }
    }

    fn custom(&self) -> Option<&Object> {
        match &self.body {
            Body::Customer(body) => body.custom.0.as_ref(),
            Body::Conversation(body) => body.custom.0.as_ref(),
            Body::Message(body) => body.custom.0.as_ref(),
            Body::Directory(row) => row.custom(),
            Body::Note(_) => None,
        }
    }

    /// The name by which a row without id is recognised when it comes again.
    fn name(&self) -> Option<(Space, String)> {
        match &self.body {
            Body::Directory(row) => row.known_by(),
            Body::Customer(_) => self.external_id().map(|id| (Space::CustomerExternalId, id.clone())),
            _ => None,
        }
    }

    /// What the row is recognised by when it comes again.
    fn identity(&self) -> Option<Identity> {
        if let Some(id) = self.id() {
            return Some(Identity::Id(id));
        }
        let name = self.name().map(|(space, name)| Identity::Name(space, name));
        name.or_else(|| self.external_id().map(|id| Identity::ExternalId(id.clone())))
    }

    /// The customer of a conversation, the conversation of a message or a note.
    pub fn belongs_to(&self) -> Option<Id> {
        self.customer().map(Id::from).or_else(|| self.conversation().map(Id::from))
    }

    /// The customer a conversation belongs to.
    fn customer(&self) -> Option<CustomerId> {
        match &self.body {
            Body::Conversation(body) => body.customer.0,
            _ => None,
        }
    }

    /// The conversation a message or note belongs to.
    fn conversation(&self) -> Option<ConversationId> {
        match &self.body {
            Body::Message(body) => body.conversation.0,
            Body::Note(body) => body.conversation.0,
            _ => None,
        }
    }

    /// The row once more.
    fn again(kind: ImportKind, text: Arc<str>) -> Result<Self, DomainError> {
        let body = kind.body(&text).map_err(|_| DomainError::internal("a row cannot be read again"))?;
        Ok(Self { body, text })
    }
}

impl Body {
    /// Says when the row was brought in, unless it says so itself.
    fn stamp(&mut self, at: Instant) {
        let field = match self {
            Self::Customer(body) => &mut body.imported_at,
            Self::Conversation(body) => &mut body.imported_at,
            Self::Message(body) => &mut body.imported_at,
            Self::Note(body) => &mut body.imported_at,
            Self::Directory(row) => return row.stamp(at),
        };
        field.0.get_or_insert(at);
    }
}

/// Why a row was not taken, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError(pub String);

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// It was stored.
    Created,
    /// It was there before and was left alone.
    Present,
    /// It was not stored.
    Rejected(RowError),
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Rows stored.
    pub created: u64,
    /// Rows that were there before.
    pub present: u64,
    /// Rows not taken.
    pub rejected: u64,
}

impl ImportReport {
    /// Counts one more outcome.
    pub fn count(&mut self, outcome: &RowOutcome) {
        match outcome {
            RowOutcome::Created => self.created += 1,
            RowOutcome::Present => self.present += 1,
            RowOutcome::Rejected(_) => self.rejected += 1,
        }
    }
}

/// A running import into one org.
pub struct Importer {
    intake: Intake,
    /// Kinds of which the org had no record when the run began: their rows need not be looked up first.
    empty: HashSet<Kind>,
    /// The batch that is being written.
    written: Option<Batch>,
    /// What is known of the last two batches of an import that failed.
    known: [Vec<Option<RowOutcome>>; 2],
    has_failed: bool,
}

/// What all parts of an import share.
#[derive(Clone)]
struct Intake {
    domain: Arc<Domain>,
    org: OrgId,
    imported_at: Instant,
    /// Bytes of the largest record that was read so far.
    largest: Arc<AtomicUsize>,
    patience: Duration,
}

/// What rows belong to, as it was read: as much of it as may be held at once.
#[derive(Default)]
struct Loaded {
    conversations: HashMap<ConversationId, Row>,
    customers: HashMap<CustomerId, Row>,
    /// For how many of the rows, from the first on.
    taken: usize,
}

/// A row of a batch: its place there.
type Placed = (usize, ImportRow);

/// Rows that are computed together: those of one customer's timeline, or one that stands alone.
struct Group {
    rows: Vec<Placed>,
    of: Option<Timelined>,
}

/// The customer whose timeline rows belong to, and the conversations they belong to, as they were read.
struct Timelined {
    customer: Row,
    conversations: HashMap<ConversationId, Row>,
}

/// What groups amount to: rows that were refused have their outcome and left nothing in the changes.
struct Computed {
    changes: Changes,
    rows: Vec<(usize, Arc<str>)>,
    refused: Vec<(usize, RowOutcome)>,
}

/// A transaction that is being applied, and the rows in it.
struct Transaction {
    rows: Vec<(usize, Arc<str>)>,
    applied: JoinHandle<Result<Applied, StoreError>>,
}

/// A batch that is being written.
struct Batch {
    kind: ImportKind,
    /// What the batch's rows are recognised by, and whose they are: nothing of that is computed until they are stored.
    identities: HashSet<Identity>,
    customers: HashSet<CustomerId>,
    transactions: Vec<Transaction>,
    /// Rows that name what an earlier one of the batch names, which is the second number: they wait for what becomes of it.
    later: Vec<(usize, usize, ImportRow)>,
    texts: Vec<Arc<str>>,
    outcomes: Outcomes,
}

/// What became of the rows of a batch, as far as it is known.
struct Outcomes {
    known: Vec<Option<RowOutcome>>,
    /// Rows of transactions that may or may not have been committed.
    unsure: HashSet<usize>,
    /// Whether the last failure left it open what was committed.
    is_unclear: bool,
}

impl Outcomes {
    /// A transaction of these rows failed.
    fn failed(&mut self, rows: &[(usize, Arc<str>)], error: StoreError) -> DomainError {
        if !matches!(error, StoreError::Unavailable(_)) {
            self.unclear(rows.iter().map(|(n, _)| *n));
        }
        error.into()
    }

    fn unclear(&mut self, rows: impl Iterator<Item = usize>) {
        let known = &self.known;
        self.unsure.extend(rows.filter(|n| known[*n].is_none()));
        self.is_unclear = true;
    }

    /// Rows that may have been stored and are there now were stored: they were not there before.
    fn settle_unsure(&mut self) {
        for n in &self.unsure {
            if self.known[*n] == Some(RowOutcome::Present) {
                self.known[*n] = Some(RowOutcome::Created);
            }
        }
        let known = &self.known;
        self.unsure.retain(|n| known[*n].is_none());
    }

    fn open(&self) -> usize {
        self.known.iter().filter(|outcome| outcome.is_none()).count()
    }
}

impl Importer {
    /// Begins an import.
    pub async fn new(domain: &Arc<Domain>, org: OrgId) -> Result<Self, DomainError> {
        let mut empty = HashSet::new();
        let order = Order { field: konverse_store::Field::CreatedAt, descending: false };
        let window = Window { order, start: Start::Offset(0), limit: 1, bytes: 1 };
        for kind in [Kind::Message, Kind::Note, Kind::Conversation] {
            if domain.store.rows(org, &List::of(kind, Scope::Org), &window).await?.rows.is_empty() {
                empty.insert(kind);
            }
        }
        let intake = Intake {
            domain: Arc::clone(domain),
            org,
            imported_at: domain.now(),
            largest: Arc::new(AtomicUsize::new(USUAL)),
            patience: PATIENCE,
        };
        Ok(Self { intake, empty, written: None, known: Default::default(), has_failed: false })
    }

    /// Goes on trying for so long while the database fails, instead of a minute.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.intake.patience = patience;
        self
    }

    /// After an error: what is known of the rows of the batch before, and of the one that was begun. The others may or may not
    /// be stored.
    pub fn known(&mut self) -> [Vec<Option<RowOutcome>>; 2] {
        std::mem::take(&mut self.known)
    }

    /// Takes a batch of rows of one kind; says what became of each, in order.
    pub async fn take(&mut self, kind: ImportKind, rows: Vec<ImportRow>) -> Result<Vec<RowOutcome>, DomainError> {
        self.begin(kind, rows).await?;
        self.end().await
    }

    /// Begins to write a batch of rows of one kind; says what became of each row of the batch before, in order. An error
    /// means that the database failed for long: [`Importer::known`] says what is known, and running the import again settles
    /// the rest.
    pub async fn begin(&mut self, kind: ImportKind, rows: Vec<ImportRow>) -> Result<Vec<RowOutcome>, DomainError> {
        let outcomes =
            Outcomes { known: rows.iter().map(|_| None).collect(), unsure: HashSet::new(), is_unclear: false };
        let mut batch = Batch {
            kind,
            identities: HashSet::new(),
            customers: HashSet::new(),
            transactions: Vec::new(),
            later: Vec::new(),
            texts: rows.iter().map(|row| Arc::clone(&row.text)).collect(),
            outcomes,
        };
        let mut before = Vec::new();
        // In boxes, since what is within is deep.
        let begun = match Box::pin(self.begin_batch(&mut batch, rows, &mut before)).await {
            // What was being written comes first: this may build on it.
            Err(error) if !self.has_failed => match Box::pin(self.end()).await {
                Ok(mut ended) => {
                    before.append(&mut ended);
                    Box::pin(self.intake.recover(&mut batch, error)).await
                }
                Err(error) => Err(error),
            },
            begun => begun,
        };
        if let Err(error) = begun {
            if !before.is_empty() {
                self.known[0] = before.into_iter().map(Some).collect();
            }
            self.known[1] = batch.outcomes.known;
            self.has_failed = true;
            return Err(error);
        }
        self.written = Some(batch);
        Ok(before)
    }

    /// Begins a batch; `before` gets what became of the rows of the batch before, when it is ended for it.
    async fn begin_batch(
        &mut self,
        batch: &mut Batch,
        rows: Vec<ImportRow>,
        before: &mut Vec<RowOutcome>,
    ) -> Result<(), DomainError> {
        let kind = batch.kind;
        let (rows, later) = distinct(rows.into_iter().enumerate());
        batch.later = later;
        batch.identities.extend(rows.iter().filter_map(|(_, row)| row.identity()));
        let is_apart = |written: &Batch| written.kind == kind && written.identities.is_disjoint(&batch.identities);
        if self.written.as_ref().is_some_and(|written| !is_apart(written)) {
            *before = self.end().await?;
        }
        self.intake.define(kind, &rows).await?;
        let look = !self.empty.contains(&kind.kind()) || rows.iter().any(|(_, row)| row.id().is_none());
        let rows = if look { self.intake.absent(kind, rows, &mut batch.outcomes.known).await? } else { rows };
        let (groups, mut rest) = self.intake.groups(kind, rows, &mut batch.outcomes.known).await?;
        batch.customers.extend(groups.iter().filter_map(Group::customer));
        let busy = |group: &Group| {
            let written = self.written.as_ref();
            written.zip(group.customer()).is_some_and(|(written, customer)| written.customers.contains(&customer))
        };
        let (busy, free): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(busy);
        // What was read of these customers is out of date once what is being written is there.
        let mut rows: Vec<Placed> = busy.into_iter().flat_map(|group| group.rows).collect();
        rows.sort_unstable_by_key(|(n, _)| *n);
        let count: usize = free.iter().map(|group| group.rows.len()).sum();
        if free.iter().map(Group::bytes).sum::<usize>() >= USUAL * count.max(1) {
            // Large records are computed when those before them are written, not beside them.
            before.append(&mut self.end().await?);
        }
        let mut computed = self.intake.compute_all(free).await?;
        before.append(&mut self.end().await?);
        loop {
            let (groups, mut waiting) = self.intake.groups(kind, rows, &mut batch.outcomes.known).await?;
            batch.customers.extend(groups.iter().filter_map(Group::customer));
            computed.extend(self.intake.compute_all(groups).await?);
            batch.transactions = self.intake.start(computed, &mut batch.outcomes.known);
            waiting.append(&mut rest);
            if waiting.is_empty() {
                break;
            }
            // More than may be held at once: it is written before the next is read, which may be of the same customers.
            let transactions = std::mem::take(&mut batch.transactions);
            self.intake.settle(kind, transactions, &mut batch.outcomes).await?;
            (computed, rows) = (Vec::new(), waiting);
        }
        Ok(())
    }

    /// Waits until the last batch is written; says what became of each of its rows, in order.
    pub async fn end(&mut self) -> Result<Vec<RowOutcome>, DomainError> {
        let Some(mut batch) = self.written.take() else { return Ok(Vec::new()) };
        let mut ended = Box::pin(self.intake.finish(&mut batch)).await;
        if let Err(error) = ended {
            ended = Box::pin(self.intake.recover(&mut batch, error)).await;
        }
        if let Err(error) = ended {
            self.known[0] = batch.outcomes.known;
            self.has_failed = true;
            return Err(error);
        }
        batch
            .outcomes
            .known
            .into_iter()
            .map(|outcome| outcome.ok_or_else(|| DomainError::internal("a row of the batch was forgotten")))
            .collect()
    }
}

/// Rows of which no two are the same record, and those that name what an earlier one names, with its place.
fn distinct(rows: impl Iterator<Item = Placed>) -> (Vec<Placed>, Vec<(usize, usize, ImportRow)>) {
    let mut first: HashMap<Identity, usize> = HashMap::new();
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for (n, row) in rows {
        match row.identity().map(|identity| first.entry(identity)) {
            Some(Entry::Occupied(earlier)) => later.push((n, *earlier.get(), row)),
            Some(Entry::Vacant(place)) => {
                place.insert(n);
                now.push((n, row));
            }
            None => now.push((n, row)),
        }
    }
    (now, later)
}

impl Group {
    /// Bytes of its rows and of what they belong to.
    fn bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, row)| row.text.len()).sum();
        let of = self.of.as_ref().map_or(0, |Timelined { customer, conversations }| {
            customer.doc.len() + conversations.values().map(|row| row.doc.len()).sum::<usize>()
        });
        rows + of
    }

    fn customer(&self) -> Option<CustomerId> {
        self.of.as_ref().map(|of| CustomerId(of.customer.id))
    }
}

impl Intake {
    /// Groups the first of some rows of which no two are the same record and none was there before, in the order of their
    /// first ones: as many as may be held at once with what they belong to. Gives back the others. Those that belong nowhere
    /// get their outcome instead.
    async fn groups(
        &self,
        kind: ImportKind,
        mut rows: Vec<Placed>,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(Vec<Group>, Vec<Placed>), DomainError> {
        if kind <= ImportKind::Customers {
            return Ok((rows.into_iter().map(|row| Group { rows: vec![row], of: None }).collect(), Vec::new()));
        }
        let Loaded { mut conversations, mut customers, taken } = self.load(kind, &rows).await?;
        let rest = rows.split_off(taken);
        let mut by_customer: IndexMap<CustomerId, Vec<Placed>> = IndexMap::new();
        for (n, row) in rows {
            let customer = match kind {
                ImportKind::Conversations => row.customer().ok_or_else(|| refused("/customer", "is required")),
                _ => row.conversation().and_then(|id| conversations.get(&id)?.customer).ok_or_else(|| {
                    let id = row.conversation().map_or_else(String::new, |id| id.to_string());
                    refused("/conversation names no conversation of this org:", &id)
                }),
            };
            match customer {
                Ok(customer) => by_customer.entry(customer).or_default().push((n, row)),
                Err(outcome) => outcomes[n] = Some(outcome),
            }
        }
        let mut groups = Vec::with_capacity(by_customer.len());
        for (id, rows) in by_customer {
            let Some(customer) = customers.remove(&id) else {
                for (n, _) in rows {
                    outcomes[n] = Some(refused("/customer names no customer of this org:", &id.to_string()));
                }
                continue;
            };
            let named = rows.iter().filter_map(|(_, row)| row.conversation());
            let conversations = named.filter_map(|id| conversations.remove_entry(&id)).collect();
            groups.push(Group { rows, of: Some(Timelined { customer, conversations }) });
        }
        Ok((groups, rest))
    }

    /// Reads what rows belong to, as far as it shows: for the first of them, until it is as much as may be held at once.
    async fn load(&self, kind: ImportKind, rows: &[Placed]) -> Result<Loaded, DomainError> {
        let (mut loaded, mut bytes) = (Loaded::default(), 0);
        // What was read, or is not there; and of that what the rows taken so far belong to.
        let (mut read, mut known, mut customers) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (n, (_, row)) in rows.iter().enumerate() {
            if bytes >= BYTES_AT_ONCE {
                break;
            }
            if let Some(id) = row.belongs_to()
                && !known.contains(&id)
            {
                if !read.contains(&id) {
                    let most = (BYTES_AT_ONCE - bytes) / self.largest.load(Ordering::Relaxed);
                    let mut next: IndexSet<Id> = IndexSet::new();
                    let unread =
                        rows[n..].iter().filter_map(|(_, row)| row.belongs_to()).filter(|id| !read.contains(id));
                    for id in unread {
                        next.insert(id);
                        if next.len() >= most {
                            break;
                        }
                    }
                    self.load_all(kind, next.iter().copied().collect(), &mut loaded).await?;
                    read.extend(next);
                }
                known.insert(id);
                let conversation = loaded.conversations.get(&ConversationId(id));
                let customer = conversation.map_or(Some(CustomerId(id)), |row| row.customer);
                bytes += conversation.map_or(0, |row| row.doc.len());
                if let Some(id) = customer
                    && customers.insert(id)
                {
                    bytes += loaded.customers.get(&id).map_or(0, |row| row.doc.len());
                }
            }
            bytes += row.text.len();
            loaded.taken += 1;
        }
        loaded.conversations.retain(|id, _| known.contains(&id.0));
        Ok(loaded)
    }

    /// Reads customers, or conversations with theirs, unless they are there already.
    async fn load_all(&self, kind: ImportKind, mut ids: Vec<Id>, loaded: &mut Loaded) -> Result<(), DomainError> {
        if kind != ImportKind::Conversations {
            let rows = self.read(Kind::Conversation, &ids).await?;
            ids =
                rows.iter().filter_map(|row| row.customer).map(Id::from).collect::<IndexSet<_>>().into_iter().collect();
            loaded.conversations.extend(rows.into_iter().map(|row| (ConversationId(row.id), row)));
        }
        ids.retain(|id| !loaded.customers.contains_key(&CustomerId(*id)));
        let rows = self.read(Kind::Customer, &ids).await?;
        loaded.customers.extend(rows.into_iter().map(|row| (CustomerId(row.id), row)));
        Ok(())
    }

    async fn read(&self, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, DomainError> {
        let mut rows = self.domain.store.get_many(self.org, kind, ids).await?;
        rows.retain(Row::shows);
        let largest = rows.iter().map(|row| row.doc.len()).max().unwrap_or(0);
        self.largest.fetch_max(largest, Ordering::Relaxed);
        Ok(rows)
    }

    /// Leaves out the rows that were there before, which get their outcome.
    async fn absent(
        &self,
        kind: ImportKind,
        mut rows: Vec<Placed>,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<Vec<Placed>, DomainError> {
        let store = &self.domain.store;
        let ids: Vec<Id> = rows.iter().filter_map(|(_, row)| row.id()).collect();
        let present: HashSet<Id> = store.present(self.org, kind.kind(), &ids).await?.into_iter().collect();
        for (n, row) in &rows {
            let is_present = match row.identity() {
                Some(Identity::Id(id)) => present.contains(&id),
                Some(Identity::Name(space, name)) => {
                    store.holders(self.org, &[(space, name)]).await?.into_iter().flatten().next().is_some()
                }
                Some(Identity::ExternalId(external_id)) => {
                    store.by_external_id(self.org, kind.kind(), &external_id).await?.is_some()
                }
                None => false,
            };
            if is_present {
                outcomes[*n] = Some(RowOutcome::Present);
            }
        }
        rows.retain(|(n, _)| outcomes[*n].is_none());
        Ok(rows)
    }

    /// Computes groups on all cores, in their order.
    async fn compute_all(&self, groups: Vec<Group>) -> Result<Vec<Computed>, DomainError> {
        let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
        let share = rows.div_ceil(available_parallelism().map_or(1, usize::from));
        let mut parts = Vec::new();
        let mut groups = groups.into_iter().peekable();
        while groups.peek().is_some() {
            let (mut part, mut size) = (Vec::new(), 0);
            while let Some(group) = groups.next_if(|group| size == 0 || size + group.rows.len() <= share) {
                size += group.rows.len();
                part.push(group);
            }
            let intake = self.clone();
            parts.push(tokio::spawn(async move {
                let mut references = References::new(intake.domain.store.clone(), intake.org);
                let mut computed = Vec::with_capacity(part.len());
                for group in part {
                    computed.push(intake.compute(&mut references, group, false).await?);
                }
                Ok::<_, DomainError>(computed)
            }));
        }
        let mut computed = Vec::new();
        for part in parts {
            computed.append(&mut part.await.map_err(|error| DomainError::internal(error.to_string()))??);
        }
        Ok(computed)
    }

    /// Begins to apply what was computed, lane by lane, in transactions of some hundred rows.
    fn start(&self, computed: Vec<Computed>, outcomes: &mut [Option<RowOutcome>]) -> Vec<Transaction> {
        let mut full = Vec::new();
        let mut lanes: IndexMap<u8, Computed> = IndexMap::new();
        for mut one in computed {
            for (n, outcome) in one.refused.drain(..) {
                outcomes[n] = Some(outcome);
            }
            match lanes.entry(self.lane(&one.changes)) {
                indexmap::map::Entry::Occupied(mut lane) if lane.get().rows.len() >= ROWS_AT_ONCE => {
                    full.push(lane.insert(one));
                }
                indexmap::map::Entry::Occupied(mut lane) => {
                    lane.get_mut().changes.append(one.changes);
                    lane.get_mut().rows.append(&mut one.rows);
                }
                indexmap::map::Entry::Vacant(lane) => drop(lane.insert(one)),
            }
        }
        let apply = |Computed { changes, rows, .. }| Transaction { rows, applied: self.domain.start_applying(changes) };
        full.into_iter().chain(lanes.into_values()).map(apply).collect()
    }

    /// The lane in which a change is told of.
    fn lane(&self, changes: &Changes) -> u8 {
        let customer = changes.ops.iter().rev().find_map(|op| match op {
            Op::Put(Put { event: Some(event), .. }) => event.customer,
            _ => None,
        });
        self.domain.store.lane_of(customer)
    }

    /// Writes what has begun of a batch to its end.
    async fn finish(&self, batch: &mut Batch) -> Result<(), DomainError> {
        let transactions = std::mem::take(&mut batch.transactions);
        self.settle(batch.kind, transactions, &mut batch.outcomes).await?;
        let mut later = std::mem::take(&mut batch.later);
        while !later.is_empty() {
            let mut again = Vec::new();
            for (n, earlier, row) in later {
                match &batch.outcomes.known[earlier] {
                    Some(RowOutcome::Rejected(_)) => again.push((n, row)),
                    _ => batch.outcomes.known[n] = Some(RowOutcome::Present),
                }
            }
            let (rows, waiting) = distinct(again.into_iter());
            later = waiting;
            self.take_all(batch.kind, rows, &mut batch.outcomes).await?;
        }
        Ok(())
    }

    /// Defines the custom attributes of rows before they are computed: what is computed side by side would define the same.
    async fn define(&self, kind: ImportKind, rows: &[Placed]) -> Result<(), DomainError> {
        let mut names = Names::new();
        for custom in rows.iter().filter_map(|(_, row)| row.custom()) {
            for (name, value) in custom {
                let of_kind = names.entry(kind.kind()).or_default();
                if !value.is_null() && !of_kind.contains(name) {
                    of_kind.insert(name.clone());
                }
            }
        }
        self.domain.define_all(self.org, &names).await
    }

    /// Takes rows of which no two are the same record, and writes them.
    async fn take_all(&self, kind: ImportKind, rows: Vec<Placed>, outcomes: &mut Outcomes) -> Result<(), DomainError> {
        self.define(kind, &rows).await?;
        let mut rows = self.absent(kind, rows, &mut outcomes.known).await?;
        while !rows.is_empty() {
            let (groups, rest) = self.groups(kind, rows, &mut outcomes.known).await?;
            let computed = self.compute_all(groups).await?;
            let transactions = self.start(computed, &mut outcomes.known);
            self.settle(kind, transactions, outcomes).await?;
            rows = rest;
        }
        Ok(())
    }

    /// After an error: takes the rows of a batch that have no outcome yet again, until they have one or the error is none
    /// that passes by itself.
    async fn recover(&self, batch: &mut Batch, mut error: DomainError) -> Result<(), DomainError> {
        // Of a batch that was begun: nothing is taken again while it may still be applied.
        if let Err(other) = self.settle(batch.kind, std::mem::take(&mut batch.transactions), &mut batch.outcomes).await
        {
            error = other;
        }
        let (mut since, mut wait, mut unclear) = (Stopwatch::now(), SHORTEST_WAIT, 0);
        loop {
            let passes = matches!(error, DomainError::Unavailable(_) | DomainError::Busy);
            if std::mem::take(&mut batch.outcomes.is_unclear) {
                unclear += 1;
            } else if !passes {
                return Err(error);
            }
            if unclear > MOST_UNCLEAR || since.elapsed() >= self.patience {
                return Err(error);
            }
            let open = batch.outcomes.open();
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(LONGEST_WAIT);
            let taken = Box::pin(self.take_rest(batch)).await;
            batch.outcomes.settle_unsure();
            match taken {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
            if batch.outcomes.open() < open {
                (since, wait, unclear) = (Stopwatch::now(), SHORTEST_WAIT, 0);
            }
        }
    }

    /// Takes the rows of a batch that have no outcome yet from the beginning.
    async fn take_rest(&self, batch: &mut Batch) -> Result<(), DomainError> {
        let mut rows = Vec::new();
        for (n, text) in batch.texts.iter().enumerate() {
            if batch.outcomes.known[n].is_none() {
                let row = ImportRow::again(batch.kind, Arc::clone(text))?;
                if batch.outcomes.unsure.contains(&n) && row.identity().is_none() {
                    return Err(DomainError::internal("whether a row without id or name was stored is not known"));
                }
                rows.push((n, row));
            }
        }
        let (rows, later) = distinct(rows.into_iter());
        batch.later = later;
        self.take_all(batch.kind, rows, &mut batch.outcomes).await?;
        self.finish(batch).await
    }

    /// Waits for transactions; takes the rows of those that were refused again. All are waited for, also when one failed: what
    /// is not may be applied later.
    async fn settle(
        &self,
        kind: ImportKind,
        transactions: Vec<Transaction>,
        outcomes: &mut Outcomes,
    ) -> Result<(), DomainError> {
        let (mut refused, mut failed) = (Vec::new(), None);
        for Transaction { rows, applied } in transactions {
            match joined(applied).await {
                Ok(_) => created(&rows, &mut outcomes.known),
                Err(StoreError::Conflict(_)) => refused.push(rows),
                Err(error) => failed = Some(outcomes.failed(&rows, error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for rows in refused {
            Box::pin(self.take_apart(kind, rows, outcomes)).await?;
        }
        Ok(())
    }

    /// Takes the rows of a refused transaction again, each group by itself.
    async fn take_apart(
        &self,
        kind: ImportKind,
        rows: Vec<(usize, Arc<str>)>,
        outcomes: &mut Outcomes,
    ) -> Result<(), DomainError> {
        let rows = rows.into_iter().filter(|(n, _)| outcomes.known[*n].is_none());
        let rows = rows.map(|(n, text)| Ok((n, ImportRow::again(kind, text)?))).collect::<Result<_, DomainError>>()?;
        let mut rows = self.absent(kind, rows, &mut outcomes.known).await?;
        while !rows.is_empty() {
            let (groups, rest) = self.groups(kind, rows, &mut outcomes.known).await?;
            rows = rest;
            let mut waiting = Vec::new();
            for Computed { changes, rows, refused } in self.compute_all(groups).await? {
                for (n, outcome) in refused {
                    outcomes.known[n] = Some(outcome);
                }
                waiting.push((rows, self.domain.start_applying(changes)));
            }
            let (mut alone, mut failed) = (Vec::new(), None);
            for (rows, applied) in waiting {
                match joined(applied).await {
                    Ok(_) => created(&rows, &mut outcomes.known),
                    Err(StoreError::Conflict(_)) => alone.extend(rows),
                    Err(error) => failed = Some(outcomes.failed(&rows, error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            for (n, text) in alone {
                if outcomes.known[n].is_none() {
                    match Box::pin(self.take_one(kind, &text)).await {
                        Ok(outcome) => outcomes.known[n] = Some(outcome),
                        Err(error) => {
                            if matches!(error, DomainError::Internal(_) | DomainError::Unclear(_)) {
                                outcomes.unclear([n].into_iter());
                            }
                            return Err(error);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one row of a refused group by itself, with look-ups that can name what is wrong; what only stood in the way is
    /// waited for.
    async fn take_one(&self, kind: ImportKind, text: &str) -> Result<RowOutcome, DomainError> {
        let again = async || {
            let row = ImportRow::again(kind, text.into())?;
            if let (Some(id), ImportKind::Conversations | ImportKind::Messages | ImportKind::Notes) = (row.id(), kind)
                && self.domain.store.get(self.org, kind.kind(), id).await?.is_some()
            {
                return Ok((Changes::new(self.org, self.domain.now()), Some(RowOutcome::Present)));
            }
            let mut outcome = [None];
            let Some(group) = self.groups(kind, vec![(0, row)], &mut outcome).await?.0.pop() else {
                return Ok((Changes::new(self.org, self.domain.now()), outcome[0].take()));
            };
            let mut references = References::new(self.domain.store.clone(), self.org);
            let Computed { changes, mut refused, .. } = self.compute(&mut references, group, true).await?;
            Ok((changes, refused.pop().map(|(_, outcome)| outcome)))
        };
        match self.domain.commit(again).await {
            Ok((_, outcome)) => Ok(outcome.unwrap_or(RowOutcome::Created)),
            Err(error) => rejected(error),
        }
    }

    /// The change a group amounts to.
    async fn compute(&self, references: &mut References, group: Group, look_up: bool) -> Result<Computed, DomainError> {
        match group.of {
            Some(of) => self.compute_timeline(references, of, group.rows, look_up).await,
            None => self.compute_single(references, group.rows, look_up).await,
        }
    }

    async fn compute_single(
        &self,
        references: &mut References,
        rows: Vec<Placed>,
        look_up: bool,
    ) -> Result<Computed, DomainError> {
        let (domain, org) = (&*self.domain, self.org);
        let mut computed = Computed { changes: Changes::new(org, domain.now()), rows: Vec::new(), refused: Vec::new() };
        for (n, ImportRow { mut body, text }) in rows {
            body.stamp(self.imported_at);
            let changes = &mut computed.changes;
            let before = changes.ops.len();
            let result = match body {
                Body::Directory(row) => {
                    let mut desk = Desk { domain, org, actor: None, references: &mut *references, changes, look_up };
                    row.enter(&mut desk).await
                }
                Body::Customer(body) => {
                    match domain.new_customer(org, references, changes, *body, None, true, look_up).await {
                        Ok(draft) => draft.finish(None, changes).map(drop),
                        Err(error) => Err(error),
                    }
                }
                Body::Conversation(_) | Body::Message(_) | Body::Note(_) => {
                    Err(DomainError::internal("this kind of row belongs to a timeline"))
                }
            };
            if let Err(error) = result {
                computed.changes.truncate(before);
                computed.refused.push((n, rejected(error)?));
            }
            computed.rows.push((n, text));
        }
        Ok(computed)
    }

    async fn compute_timeline(
        &self,
        references: &mut References,
        of: Timelined,
        rows: Vec<Placed>,
        look_up: bool,
    ) -> Result<Computed, DomainError> {
        let Timelined { customer, mut conversations } = of;
        let domain = &*self.domain;
        let mut timeline = Timeline::new(domain, self.org, Author::default(), Draft::read(customer)?);
        let mut messages: IndexMap<ConversationId, Vec<_>> = IndexMap::new();
        let (mut texts, mut refused) = (Vec::with_capacity(rows.len()), Vec::new());
        for (n, row) in rows {
            if let Some(id) = row.conversation()
                && let Some(row) = conversations.remove(&id)
            {
                timeline.with_conversation(row)?;
            }
            let ImportRow { mut body, text } = row;
            body.stamp(self.imported_at);
            let before = timeline.changes.ops.len();
            let result = match body {
                Body::Conversation(body) => {
                    domain.add_conversation(&mut timeline, references, *body, true, look_up).await.map(drop)
                }
                Body::Message(body) => match body.conversation.0 {
                    Some(id) => domain
                        .new_message(&timeline, references, id, *body, true, look_up)
                        .await
                        .map(|message| messages.entry(id).or_default().push(message)),
                    None => Err(DomainError::invalid("/conversation", "is required")),
                },
                Body::Note(body) => match body.conversation.0 {
                    Some(id) => match domain.new_note(&timeline, references, id, *body, true, look_up).await {
                        Ok(note) => domain.put_note(&mut timeline, id, note),
                        Err(error) => Err(error),
                    },
                    None => Err(DomainError::invalid("/conversation", "is required")),
                },
                _ => Err(DomainError::internal("this kind of row stands alone")),
            };
            if let Err(error) = result {
                timeline.changes.truncate(before);
                refused.push((n, rejected(error)?));
            }
            texts.push((n, text));
        }
        for (id, messages) in messages {
            timeline.record(id, messages).await?;
        }
        Ok(Computed { changes: timeline.finish().await?.0, rows: texts, refused })
    }
}

/// The rows of a transaction that was applied, but for those refused before, are stored.
fn created(rows: &[(usize, Arc<str>)], outcomes: &mut [Option<RowOutcome>]) {
    for (n, _) in rows {
        outcomes[*n].get_or_insert(RowOutcome::Created);
    }
}

async fn joined(applied: JoinHandle<Result<Applied, StoreError>>) -> Result<Applied, StoreError> {
    applied.await.map_err(|error| StoreError::Database(error.to_string()))?
}

fn refused(reason: &str, what: &str) -> RowOutcome {
    RowOutcome::Rejected(RowError(format!("{reason} {what}")))
}

/// A refusal of the row, or an error of the run.
fn rejected(error: DomainError) -> Result<RowOutcome, DomainError> {
    Ok(RowOutcome::Rejected(match error {
        DomainError::Invalid(errors) => describe(&errors),
        DomainError::Conflict { pointer, message } => {
            RowError(format!("{} {message}", pointer.unwrap_or_default()).trim().into())
        }
        DomainError::NotFound(..) | DomainError::Parameter { .. } => RowError(error.to_string()),
        other => return Err(other),
    }))
}

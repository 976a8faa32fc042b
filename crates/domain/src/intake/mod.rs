//! Importing history: rows that are the bodies of the create operations, with ids, instants, status and authors as given.
//!
//! Rows are taken in batches. Those of one customer become one transaction, and the transactions of a batch are applied
//! side by side. When one is refused, its rows are taken again one by one, so that a bad row is named and the good ones
//! around it are stored. A row whose id (or external id) exists is left alone, so that running an import again changes
//! nothing.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};
use konverse_model::input::{
    self, ConversationCreate, CustomerBody, MessageCreate, NoteCreate, TagCreate, TeamCreate, UserCreate,
};
use konverse_model::{ConversationId, CustomerId, FieldError, Id, Instant, Kind, OrgId};
use konverse_store::{Applied, Changes, List, Order, Row, Scope, Space, Start, StoreError, Window};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::directory::{Author, References};
use crate::timeline::Timeline;
use crate::unit::Draft;
use crate::{Domain, DomainError};

/// What a file holds, in the order the kinds depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportKind {
    /// Users.
    Users,
    /// Teams, whose members are users.
    Teams,
    /// Tags.
    Tags,
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
    pub const ALL: [Self; 7] =
        [Self::Users, Self::Teams, Self::Tags, Self::Customers, Self::Conversations, Self::Messages, Self::Notes];

    /// The word file names begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Teams => "teams",
            Self::Tags => "tags",
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
            Self::Customers => Kind::Customer,
            Self::Conversations => Kind::Conversation,
            Self::Messages => Kind::Message,
            Self::Notes => Kind::Note,
        }
    }

    /// Reads one line of a file.
    pub fn read(self, line: &str) -> Result<ImportRow, RowError> {
        let value: Value = serde_json::from_str(line).map_err(|error| RowError(format!("is not JSON: {error}")))?;
        let body = match self {
            Self::Users => Body::User(read(&input::USER_IMPORT, value)?),
            Self::Teams => Body::Team(read(&input::TEAM_IMPORT, value)?),
            Self::Tags => Body::Tag(read(&input::TAG_IMPORT, value)?),
            Self::Customers => Body::Customer(Box::new(read(&input::CUSTOMER_IMPORT, value)?)),
            Self::Conversations => Body::Conversation(Box::new(read(&input::CONVERSATION_CREATE, value)?)),
            Self::Messages => Body::Message(Box::new(read(&input::MESSAGE_CREATE_IN_ORG, value)?)),
            Self::Notes => Body::Note(Box::new(read(&input::NOTE_CREATE, value)?)),
        };
        let row = ImportRow(body);
        if row.id().is_none() && row.external_id().is_none() && self >= Self::Customers {
            return Err(RowError("needs an id or an externalId, or a second import would create it again".into()));
        }
        Ok(row)
    }
}

fn read<T: DeserializeOwned>(shape: &input::Shape<T>, value: Value) -> Result<T, RowError> {
    shape.read(value).map_err(|errors| describe(&errors))
}

fn describe(errors: &[FieldError]) -> RowError {
    let texts: Vec<_> = errors.iter().map(|error| format!("{} {}", error.pointer, error.message)).collect();
    RowError(texts.join("; "))
}

/// What a row is recognised by.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Id(Id),
    Name(Space, String),
    ExternalId(String),
}

#[derive(Clone)]
enum Body {
    User(UserCreate),
    Team(TeamCreate),
    Tag(TagCreate),
    Customer(Box<CustomerBody>),
    Conversation(Box<ConversationCreate>),
    Message(Box<MessageCreate>),
    Note(Box<NoteCreate>),
}

/// A row that has the right shape.
#[derive(Clone)]
pub struct ImportRow(Body);

impl ImportRow {
    fn id(&self) -> Option<Id> {
        match &self.0 {
            Body::User(body) => body.id.0.map(Id::from),
            Body::Team(body) => body.id.0.map(Id::from),
            Body::Tag(body) => body.id.0.map(Id::from),
            Body::Customer(body) => body.id.0.map(Id::from),
            Body::Conversation(body) => body.id.0.map(Id::from),
            Body::Message(body) => body.id.0.map(Id::from),
            Body::Note(body) => body.id.0.map(Id::from),
        }
    }

    fn external_id(&self) -> Option<&String> {
        match &self.0 {
            Body::Customer(body) => match &body.external_id {
                konverse_model::Patch::Set(external_id) => Some(external_id),
                _ => None,
            },
            Body::Conversation(body) => body.external_id.0.as_ref(),
            Body::Message(body) => body.external_id.0.as_ref(),
            Body::Note(body) => body.external_id.0.as_ref(),
            Body::User(_) | Body::Team(_) | Body::Tag(_) => None,
        }
    }

    /// The name by which a row without id is recognised when it comes again.
    fn name(&self) -> Option<(Space, String)> {
        match &self.0 {
            Body::User(body) => body.email.0.as_ref().map(|email| (Space::UserEmail, email.to_lowercase())),
            Body::Team(body) => body.name.0.as_ref().map(|name| (Space::TeamName, name.to_lowercase())),
            Body::Tag(body) => body.name.0.as_ref().map(|name| (Space::TagName, name.to_lowercase())),
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

    fn stamp(&mut self, at: Instant) {
        let field = match &mut self.0 {
            Body::Customer(body) => &mut body.imported_at,
            Body::Conversation(body) => &mut body.imported_at,
            Body::Message(body) => &mut body.imported_at,
            Body::Note(body) => &mut body.imported_at,
            Body::Team(body) => &mut body.imported_at,
            Body::User(_) | Body::Tag(_) => return,
        };
        field.0.get_or_insert(at);
    }

    /// The kind of record a row of a timeline becomes.
    fn kind(&self) -> Option<Kind> {
        match &self.0 {
            Body::Conversation(_) => Some(Kind::Conversation),
            Body::Message(_) => Some(Kind::Message),
            Body::Note(_) => Some(Kind::Note),
            _ => None,
        }
    }

    /// The customer of a conversation, the conversation of a message or a note.
    pub fn belongs_to(&self) -> Option<Id> {
        match &self.0 {
            Body::Conversation(body) => body.customer.0.map(Id::from),
            _ => self.conversation().map(Id::from),
        }
    }

    /// The conversation a message or note belongs to.
    fn conversation(&self) -> Option<ConversationId> {
        match &self.0 {
            Body::Message(body) => body.conversation.0,
            Body::Note(body) => body.conversation.0,
            _ => None,
        }
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
pub struct Importer<'a> {
    domain: &'a Domain,
    org: OrgId,
    imported_at: Instant,
    /// Kinds of which the org had no record when the run began: their rows need not be looked up first.
    empty: HashSet<Kind>,
}

/// What a group of rows of one customer wants.
struct Group {
    rows: Vec<(usize, ImportRow)>,
}

impl<'a> Importer<'a> {
    /// Begins an import.
    pub async fn new(domain: &'a Domain, org: OrgId) -> Result<Self, DomainError> {
        let mut empty = HashSet::new();
        let order = Order { field: konverse_store::Field::CreatedAt, descending: false };
        let window = Window { order, start: Start::Offset(0), limit: 1 };
        for kind in [Kind::Message, Kind::Note, Kind::Conversation] {
            if domain.store.rows(org, &List::of(kind, Scope::Org), &window).await?.is_empty() {
                empty.insert(kind);
            }
        }
        let now = domain.now();
        Ok(Self { domain, org, imported_at: now, empty })
    }

    /// Takes a batch of rows of one kind; says what became of each, in order. An error means the database failed: rows
    /// of the batch may or may not be stored, and running the import again settles it.
    pub async fn take(&mut self, kind: ImportKind, mut rows: Vec<ImportRow>) -> Result<Vec<RowOutcome>, DomainError> {
        for row in &mut rows {
            row.stamp(self.imported_at);
        }
        let mut outcomes: Vec<Option<RowOutcome>> = rows.iter().map(|_| None).collect();
        let mut waiting: Vec<(usize, ImportRow)> = rows.into_iter().enumerate().collect();
        // A row that names what an earlier one names waits for what becomes of that one.
        while !waiting.is_empty() {
            let mut first: HashMap<Identity, usize> = HashMap::new();
            let (mut now, mut later) = (Vec::new(), Vec::new());
            for (n, row) in waiting {
                match row.identity().map(|identity| first.entry(identity)) {
                    Some(Entry::Occupied(earlier)) => later.push((n, *earlier.get(), row)),
                    Some(Entry::Vacant(place)) => {
                        place.insert(n);
                        now.push((n, row));
                    }
                    None => now.push((n, row)),
                }
            }
            self.take_distinct(kind, now, &mut outcomes).await?;
            waiting = Vec::new();
            for (n, earlier, row) in later {
                match &outcomes[earlier] {
                    Some(RowOutcome::Rejected(_)) => waiting.push((n, row)),
                    _ => outcomes[n] = Some(RowOutcome::Present),
                }
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(|| DomainError::internal("a row of the batch was forgotten")))
            .collect()
    }

    /// Takes rows of which no two are the same record.
    async fn take_distinct(
        &mut self,
        kind: ImportKind,
        rows: Vec<(usize, ImportRow)>,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(), DomainError> {
        self.find_present(kind, &rows, outcomes).await?;
        let new: Vec<_> = rows.into_iter().filter(|(n, _)| outcomes[*n].is_none()).collect();
        match kind {
            ImportKind::Users | ImportKind::Teams | ImportKind::Tags | ImportKind::Customers => {
                self.take_singly(new, outcomes).await
            }
            ImportKind::Conversations => {
                let groups = group(new, |row| match &row.0 {
                    Body::Conversation(body) => body.customer.0,
                    _ => None,
                });
                self.take_groups(groups, &IndexMap::new(), outcomes).await
            }
            ImportKind::Messages | ImportKind::Notes => {
                let conversations = self.conversations_of(&new).await?;
                let known = |row: &ImportRow| conversations.get(&row.conversation()?)?.customer;
                let (found, lost): (Vec<_>, Vec<_>) = new.into_iter().partition(|(_, row)| known(row).is_some());
                for (n, row) in lost {
                    let id = row.conversation().map_or_else(String::new, |id| id.to_string());
                    outcomes[n] = Some(refused("/conversation names no conversation of this org:", &id));
                }
                let groups = group(found, known);
                self.take_groups(groups, &conversations, outcomes).await
            }
        }
    }

    /// Finds the rows that were there before.
    async fn find_present(
        &self,
        kind: ImportKind,
        rows: &[(usize, ImportRow)],
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(), DomainError> {
        if self.empty.contains(&kind.kind()) && rows.iter().all(|(_, row)| row.id().is_some()) {
            // Only a file that names an id twice, far apart, can meet itself here; the constraint finds that.
            return Ok(());
        }
        let store = &self.domain.store;
        let ids: Vec<Id> = rows.iter().filter_map(|(_, row)| row.id()).collect();
        let present: HashSet<Id> =
            store.get_many(self.org, kind.kind(), &ids).await?.into_iter().map(|row| row.id).collect();
        for (n, row) in rows {
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
        Ok(())
    }

    async fn conversations_of(
        &self,
        rows: &[(usize, ImportRow)],
    ) -> Result<IndexMap<ConversationId, Row>, DomainError> {
        let ids: IndexSet<Id> = rows.iter().filter_map(|(_, row)| row.conversation()).map(Id::from).collect();
        let ids: Vec<Id> = ids.into_iter().collect();
        let rows = self.domain.store.get_many(self.org, Kind::Conversation, &ids).await?;
        Ok(rows.into_iter().filter(Row::shows).map(|row| (ConversationId(row.id), row)).collect())
    }

    /// Rows that stand alone: each is its own transaction, and they are applied side by side.
    async fn take_singly(
        &mut self,
        rows: Vec<(usize, ImportRow)>,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(), DomainError> {
        let mut references = References::new(self.domain.store.clone(), self.org);
        let mut waiting = Vec::new();
        for (n, row) in rows {
            match self.single(&mut references, &row, false).await {
                Ok(changes) => waiting.push((n, self.domain.start_applying(changes), row)),
                Err(error) => outcomes[n] = Some(rejected(error)?),
            }
        }
        for (n, applied, row) in waiting {
            outcomes[n] = Some(match joined(applied).await {
                Ok(_) => RowOutcome::Created,
                Err(StoreError::Conflict(_)) => {
                    // Computed again, the look-ups name what is taken; what only stood in the way is waited for.
                    let this = &*self;
                    let again = async || {
                        let mut references = References::new(this.domain.store.clone(), this.org);
                        Ok((this.single(&mut references, &row, true).await?, ()))
                    };
                    match self.domain.commit(again).await {
                        Ok(_) => RowOutcome::Created,
                        Err(error) => rejected(error)?,
                    }
                }
                Err(error) => return Err(error.into()),
            });
        }
        Ok(())
    }

    async fn single(
        &self,
        references: &mut References,
        row: &ImportRow,
        look_up: bool,
    ) -> Result<Changes, DomainError> {
        let (domain, org) = (self.domain, self.org);
        let mut changes = Changes::new(org, domain.now());
        match &row.0 {
            Body::User(body) => drop(domain.new_user(org, &mut changes, body.clone(), None, look_up).await?),
            Body::Team(body) => {
                drop(domain.new_team(org, references, &mut changes, body.clone(), None, look_up).await?);
            }
            Body::Tag(body) => drop(domain.new_tag_from(org, &mut changes, body.clone(), None, look_up).await?),
            Body::Customer(body) => {
                let body = (**body).clone();
                let draft = domain.new_customer(org, references, &mut changes, body, None, true, look_up).await?;
                draft.finish(None, &mut changes)?;
            }
            Body::Conversation(_) | Body::Message(_) | Body::Note(_) => {
                return Err(DomainError::internal("this kind of row belongs to a timeline"));
            }
        }
        Ok(changes)
    }

    async fn take_groups(
        &mut self,
        groups: IndexMap<CustomerId, Group>,
        conversations: &IndexMap<ConversationId, Row>,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(), DomainError> {
        let mut references = References::new(self.domain.store.clone(), self.org);
        let ids: Vec<Id> = groups.keys().copied().map(Id::from).collect();
        let customers: IndexMap<CustomerId, Row> = self
            .domain
            .store
            .get_many(self.org, Kind::Customer, &ids)
            .await?
            .into_iter()
            .filter(Row::shows)
            .map(|row| (CustomerId(row.id), row))
            .collect();
        let mut waiting = Vec::new();
        for (customer, group) in groups {
            let Some(row) = customers.get(&customer) else {
                for (n, _) in group.rows {
                    outcomes[n] = Some(refused("/customer names no customer of this org:", &customer.to_string()));
                }
                continue;
            };
            let changes = self.compute(&mut references, row.clone(), conversations, &group, false, outcomes).await?;
            waiting.push((customer, self.domain.start_applying(changes), group));
        }
        for (customer, applied, group) in waiting {
            match joined(applied).await {
                Ok(_) => {
                    for (n, _) in &group.rows {
                        outcomes[*n].get_or_insert(RowOutcome::Created);
                    }
                }
                Err(StoreError::Conflict(_)) => self.take_again(customer, group, outcomes).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the rows of a refused group one by one, with look-ups that can name what is wrong.
    async fn take_again(
        &mut self,
        customer: CustomerId,
        group: Group,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<(), DomainError> {
        for (n, row) in group.rows {
            if outcomes[n].is_some() {
                continue;
            }
            if let (Some(id), Some(kind)) = (row.id(), row.kind())
                && self.domain.store.get(self.org, kind, id).await?.is_some()
            {
                outcomes[n] = Some(RowOutcome::Present);
                continue;
            }
            let single = Group { rows: vec![(n, row)] };
            let this = &*self;
            let again = async || {
                let mut references = References::new(this.domain.store.clone(), this.org);
                let row = this.domain.row(this.org, Kind::Customer, customer.0).await?;
                let conversations = this.conversations_of(&single.rows).await?;
                let mut outcome = [None];
                let own = Group { rows: vec![(0, single.rows[0].1.clone())] };
                let changes = this.compute(&mut references, row, &conversations, &own, true, &mut outcome).await?;
                let [outcome] = outcome;
                Ok((changes, outcome))
            };
            outcomes[n] = Some(match this.domain.commit(again).await {
                Ok((_, refusal)) => refusal.unwrap_or(RowOutcome::Created),
                Err(error) => rejected(error)?,
            });
        }
        Ok(())
    }

    /// The change a group amounts to. Rows that are refused get their outcome here and leave nothing in the change.
    async fn compute(
        &self,
        references: &mut References,
        customer: Row,
        conversations: &IndexMap<ConversationId, Row>,
        group: &Group,
        look_up: bool,
        outcomes: &mut [Option<RowOutcome>],
    ) -> Result<Changes, DomainError> {
        let domain = self.domain;
        let mut timeline = Timeline::new(domain, self.org, Author::default(), Draft::read(customer)?);
        let mut messages: IndexMap<ConversationId, Vec<_>> = IndexMap::new();
        for (n, row) in &group.rows {
            if let Some(id) = row.conversation()
                && !timeline.conversations.contains_key(&id)
                && let Some(row) = conversations.get(&id)
            {
                timeline.with_conversation(row.clone())?;
            }
            let before = timeline.changes.ops.len();
            let result = match &row.0 {
                Body::Conversation(body) => {
                    domain.add_conversation(&mut timeline, references, (**body).clone(), true, look_up).await.map(drop)
                }
                Body::Message(body) => match body.conversation.0 {
                    Some(id) => domain
                        .new_message(&timeline, references, id, (**body).clone(), true, look_up)
                        .await
                        .map(|message| messages.entry(id).or_default().push(message)),
                    None => Err(DomainError::invalid("/conversation", "is required")),
                },
                Body::Note(body) => match body.conversation.0 {
                    Some(id) => {
                        match domain.new_note(&timeline, references, id, (**body).clone(), true, look_up).await {
                            Ok(note) => domain.put_note(&mut timeline, id, note),
                            Err(error) => Err(error),
                        }
                    }
                    None => Err(DomainError::invalid("/conversation", "is required")),
                },
                _ => Err(DomainError::internal("this kind of row stands alone")),
            };
            if let Err(error) = result {
                timeline.changes.truncate(before);
                outcomes[*n] = Some(rejected(error)?);
            }
        }
        for (id, messages) in messages {
            timeline.record(id, messages).await?;
        }
        Ok(timeline.finish().await?.0)
    }
}

async fn joined(applied: JoinHandle<Result<Applied, StoreError>>) -> Result<Applied, StoreError> {
    applied.await.map_err(|error| StoreError::Database(error.to_string()))?
}

fn refused(reason: &str, what: &str) -> RowOutcome {
    RowOutcome::Rejected(RowError(format!("{reason} {what}")))
}

fn group(
    rows: Vec<(usize, ImportRow)>,
    customer: impl Fn(&ImportRow) -> Option<CustomerId>,
) -> IndexMap<CustomerId, Group> {
    let mut groups: IndexMap<CustomerId, Group> = IndexMap::new();
    for (n, row) in rows {
        if let Some(customer) = customer(&row) {
            groups.entry(customer).or_insert_with(|| Group { rows: Vec::new() }).rows.push((n, row));
        }
    }
    groups
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

//! Lists: which rows, in which order, which page (contract README §7, `conversation-list.md`).
//!
//! A page is found by number or, where the request carries a cursor, by the row it continues from. Following the links
//! therefore never repeats or loses a row while others write; jumping to a page by its number counts from the top.

use konverse_model::{ConversationId, Cursor, CustomerId, Direction, Fingerprint, Id, Instant, Kind};
use konverse_store::{Field, Filter, List, Order, Page, Row, Scope, Start, StoreError, Window};

use crate::access::permissions::{ManageTokens, ReadConversations, ReadCustomers, ReadMessages, ReadNotes};
use crate::customers::CUSTOMERS;
use crate::{Actor, Authorized, Domain, DomainError};

/// Which page.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Its number, from 1.
    pub page: u64,
    /// Rows a page; 0 asks for none.
    pub page_size: u32,
    /// Where it continues from, as a link of the list gave it.
    pub cursor: Option<String>,
    /// What the answer begins with.
    pub buffer: Vec<u8>,
}

/// A page.
#[derive(Debug)]
pub struct ListPage {
    /// What the request handed in, then the rows' texts, joined by commas.
    pub buffer: Vec<u8>,
    /// Rows in it.
    pub count: u32,
    /// The cursor of the page after, when there is one.
    pub next: Option<Cursor>,
    /// The cursor of the page before, when this one has rows; a page 1 needs none.
    pub prev: Option<Cursor>,
}

/// A page of a list that is known whole.
#[derive(Debug)]
pub struct WholePage {
    /// What the request handed in, then the rows' texts, joined by commas.
    pub buffer: Vec<u8>,
    /// Whether another row lies beyond it.
    pub more: bool,
}

/// Records asked for by id that are read at once: they are looked up whole, and a row can be megabytes.
const READ_AT_ONCE: usize = 8;

/// The conditions and order of `GET /v1/customers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerQuery {
    /// Conditions on `createdAt` and `updatedAt`.
    pub filters: Vec<Filter>,
    /// The order; creation, oldest first, when none is asked.
    pub sort: Option<Order>,
}

/// The conditions and order of `GET /v1/customers/{id}/conversations`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversationQuery {
    /// Leaves out those not changed since.
    pub from_date: Option<Instant>,
    /// The order; creation, by default newest first, when none is asked.
    pub sort: Option<Order>,
}

const OLDEST_FIRST: Order = Order { field: Field::CreatedAt, descending: false };

impl Domain {
    /// A customer's conversations: the main job.
    pub async fn list_customer_conversations(
        &self,
        auth: &Authorized<ReadConversations>,
        customer: CustomerId,
        query: ConversationQuery,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        let newest_first = Order { field: Field::CreatedAt, descending: self.settings.newest_first };
        let order = query.sort.unwrap_or(newest_first);
        let mut list = List::of(Kind::Conversation, Scope::Customer(customer));
        if let Some(at) = query.from_date {
            list = list.with(Filter::From(self.settings.from_date, at));
        }
        let page = self.page(auth.actor(), &list, order, request).await?;
        if page.count == 0 {
            // Rows prove the customer: a deleted one's conversations do not show. Only an empty page has to ask.
            self.row(auth.org(), Kind::Customer, customer.0).await?;
        }
        Ok(page)
    }

    /// The org's conversations, oldest first unless another order is asked.
    pub async fn list_conversations(
        &self,
        auth: &Authorized<ReadConversations>,
        sort: Option<Order>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        let order = sort.unwrap_or(OLDEST_FIRST);
        self.page(auth.actor(), &List::of(Kind::Conversation, Scope::Org), order, request).await
    }

    /// The org's customers, with how many there are in all.
    pub async fn list_customers(
        &self,
        auth: &Authorized<ReadCustomers>,
        query: CustomerQuery,
        request: ListRequest,
    ) -> Result<(ListPage, u64), DomainError> {
        let org = auth.org();
        let mut list = List::of(Kind::Customer, Scope::Org);
        list.filters = query.filters;
        let total = if list.filters.is_empty() {
            self.store.tally(org, CUSTOMERS).await?
        } else {
            self.store.count(org, &list).await?
        };
        let page = self.page(auth.actor(), &list, query.sort.unwrap_or(OLDEST_FIRST), request).await?;
        Ok((page, total))
    }

    /// The org's messages, oldest first unless another order is asked.
    pub async fn list_messages(
        &self,
        auth: &Authorized<ReadMessages>,
        sort: Option<Order>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        let order = sort.unwrap_or(OLDEST_FIRST);
        self.page(auth.actor(), &List::of(Kind::Message, Scope::Org), order, request).await
    }

    /// A conversation's messages, oldest first unless another order is asked.
    pub async fn list_conversation_messages(
        &self,
        auth: &Authorized<ReadMessages>,
        id: ConversationId,
        sort: Option<Order>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.row(auth.org(), Kind::Conversation, id.0).await?;
        let order = sort.unwrap_or(OLDEST_FIRST);
        self.page(auth.actor(), &List::of(Kind::Message, Scope::Conversation(id)), order, request).await
    }

    /// A customer's messages, oldest first unless another order is asked.
    pub async fn list_customer_messages(
        &self,
        auth: &Authorized<ReadMessages>,
        id: CustomerId,
        sort: Option<Order>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.row(auth.org(), Kind::Customer, id.0).await?;
        let order = sort.unwrap_or(OLDEST_FIRST);
        self.page(auth.actor(), &List::of(Kind::Message, Scope::Customer(id)), order, request).await
    }

    /// The org's notes by creation.
    pub async fn list_notes(
        &self,
        auth: &Authorized<ReadNotes>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.page(auth.actor(), &List::of(Kind::Note, Scope::Org), OLDEST_FIRST, request).await
    }

    /// A conversation's notes, oldest first.
    pub async fn list_conversation_notes(
        &self,
        auth: &Authorized<ReadNotes>,
        id: ConversationId,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.row(auth.org(), Kind::Conversation, id.0).await?;
        self.page(auth.actor(), &List::of(Kind::Note, Scope::Conversation(id)), OLDEST_FIRST, request).await
    }

    /// A customer's notes, oldest first.
    pub async fn list_customer_notes(
        &self,
        auth: &Authorized<ReadNotes>,
        id: CustomerId,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.row(auth.org(), Kind::Customer, id.0).await?;
        self.page(auth.actor(), &List::of(Kind::Note, Scope::Customer(id)), OLDEST_FIRST, request).await
    }

    /// The org's tokens by creation.
    pub async fn list_tokens(
        &self,
        auth: &Authorized<ManageTokens>,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        self.page(auth.actor(), &List::of(Kind::Token, Scope::Org), OLDEST_FIRST, request).await
    }

    /// A page of the records with these ids, in their order; what is unknown or deleted is left out. `by` is the parameter
    /// that says how many there are.
    pub(crate) async fn page_of(
        &self,
        actor: &Actor,
        kind: Kind,
        ids: &[Id],
        by: &'static str,
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        let ListRequest { page, page_size, mut buffer, .. } = request;
        let first = (page - 1).saturating_mul(u64::from(page_size));
        let (begin, mut n, mut count) = (buffer.len(), 0, 0);
        for ids in ids.chunks(READ_AT_ONCE).filter(|_| page_size > 0) {
            for row in self.store.get_many(actor.org, kind, ids).await?.into_iter().filter(Row::shows) {
                n += 1;
                if n <= first {
                    continue;
                }
                if count == page_size {
                    return Ok(WholePage { buffer, more: true });
                }
                let text = actor.shown(kind, row.doc)?;
                if buffer.len() - begin + text.len() > self.settings.answer {
                    return Err(self.settings.too_large(by, "ask for fewer at once"));
                }
                if count > 0 {
                    buffer.push(b',');
                }
                buffer.extend_from_slice(text.as_bytes());
                count += 1;
            }
        }
        Ok(WholePage { buffer, more: false })
    }

    pub(crate) async fn page(
        &self,
        actor: &Actor,
        list: &List,
        order: Order,
        request: ListRequest,
    ) -> Result<ListPage, DomainError> {
        let fingerprint = fingerprint(list, order);
        let start = match &request.cursor {
            None => Start::Offset((request.page - 1).saturating_mul(u64::from(request.page_size))),
            Some(text) => {
                let wrong = |message: &str| DomainError::Parameter { name: "cursor", message: message.to_owned() };
                let cursor: Cursor =
                    text.parse().map_err(|error: konverse_model::CursorError| wrong(&error.to_string()))?;
                if cursor.fingerprint != fingerprint {
                    return Err(wrong("belongs to another list; start again from the first page"));
                }
                match cursor.direction {
                    Direction::After => Start::After(cursor.position),
                    Direction::Before => Start::Before(cursor.position),
                }
            }
        };
        if request.page_size == 0 {
            return Ok(ListPage { buffer: request.buffer, count: 0, next: None, prev: None });
        }
        let window = Window { order, start, limit: request.page_size, bytes: self.settings.answer };
        let begin = request.buffer.len();
        let Page { buffer, count, first, last, more } =
            self.store.page(actor.org, list, &window, request.buffer).await.map_err(|error| match error {
                StoreError::TooLarge => self.settings.too_large("pageSize", "ask for fewer rows a page"),
                other => other.into(),
            })?;
        let buffer = actor.shown_page(list.kind, begin, buffer)?;
        // Read backwards, "more" speaks of the rows before; the row it was read from lies after.
        let backwards = matches!(start, Start::Before(_));
        let cursor = |direction, position| Cursor { direction, position, fingerprint };
        let next = last.filter(|_| more || backwards).map(|position| cursor(Direction::After, position));
        let prev = first.map(|position| cursor(Direction::Before, position));
        Ok(ListPage { buffer, count, next, prev })
    }
}

fn fingerprint(list: &List, order: Order) -> Fingerprint {
    let scope = match list.scope {
        Scope::Org => String::new(),
        Scope::Customer(id) => id.to_string(),
        Scope::Conversation(id) => id.to_string(),
    };
    Fingerprint::of(&[list.kind.name(), &scope, &format!("{:?}{order:?}", list.filters)])
}

//! Pages by number: found by counted blocks, they are the pages that following links gives, whatever was written meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use konverse_domain::Entropy;
use konverse_jobs::{Blocks, Item, Job, JobError, Round, Runner, Uneven};
use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind, OrgId, Position, RENDERER};
use konverse_store::{
    Changes, Field, Filter, Hidden, Hide, List, NewEvent, Op, Order, Org, Page, Row, Scope, Start, Store, Verb, Window,
};
use konverse_testkit::{Backend, Place, TestClock, seeded};

konverse_testkit::stories_on_both_engines! {
    Ground:
    every_page_by_number_is_the_one_links_lead_to,
    counting_beside_writers_of_another_process_loses_no_row,
    long_lists_are_found_and_short_ones_left_alone,
    lists_that_grow_slowly_are_looked_at_now_and_then,
    a_conversation_shown_again_is_counted_again,
    rows_of_one_instant_stay_together,
    a_date_leaves_out_what_was_not_changed_since,
    pages_about_the_bound_of_a_walk_are_whole,
    a_large_instant_is_cut_off_from_what_follows,
    a_list_in_trouble_holds_up_no_other,
    one_item_is_done_at_a_time,
}

const ORG: OrgId = OrgId(Id::from_bytes([0xaa; 12]));
const SIZE: u32 = 4;

/// A database that two processes have open.
struct Ground {
    place: Place,
    here: Arc<dyn Store>,
    there: Arc<dyn Store>,
}

impl Ground {
    async fn new(backend: Backend) -> Self {
        let place = Place::empty(backend).await;
        let (here, there) = (place.open_with_blocks().await, place.open_with_blocks().await);
        let org = Org { id: ORG, name: "acme".into(), created_at: at(0) };
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Found(org));
        here.apply(changes).await.expect("the org is new");
        Self { place, here, there }
    }

    /// One round of the job.
    async fn round(&self) -> Round {
        let runner = Runner::new(Arc::clone(&self.here), Arc::new(TestClock::default()), Id::from_bytes([7; 12]));
        runner.round(&Blocks::of_size(Arc::clone(&self.here), SIZE), 500).await.expect("a round")
    }

    /// How many blocks a list has: those of a customer or conversation.
    async fn blocks(&self, scope: Id) -> i64 {
        let scope = self.place.id(&scope.to_string());
        self.place.number(&format!("SELECT count(*) FROM block WHERE scope = {scope}")).await
    }

    /// Every block has exactly the rows that were counted, and those before it.
    async fn assert_exact(&self) {
        const LISTS: [(&str, &str); 9] = [
            ("customer", "org"),
            ("conversation", "org"),
            ("message", "org"),
            ("note", "org"),
            ("conversation", "customer"),
            ("message", "customer"),
            ("note", "customer"),
            ("message", "conversation"),
            ("note", "conversation"),
        ];
        for (n, (table, scope)) in LISTS.iter().enumerate() {
            let wrong = format!(
                "SELECT count(*) FROM (SELECT b.at, b.n + coalesce((SELECT CAST(sum(c.n) AS bigint) FROM block_change c \
                 WHERE c.org = b.org AND c.list = b.list AND c.scope = b.scope AND c.at = b.at), 0) AS n, \
                 (SELECT count(*) FROM {table} r WHERE r.org = b.org AND r.{scope} = b.scope AND r.hidden = 0 \
                 AND r.created_at >= b.at AND r.created_at < coalesce((SELECT min(a.at) FROM block a WHERE a.org = b.org \
                 AND a.list = b.list AND a.scope = b.scope AND a.at > b.at), 4611686018427387904)) AS counted, \
                 b.rows_before - coalesce((SELECT CAST(sum(a.n) AS bigint) FROM block a WHERE a.org = b.org \
                 AND a.list = b.list AND a.scope = b.scope AND a.at < b.at), 0) AS off \
                 FROM block b WHERE b.list = {}) x WHERE x.n <> x.counted OR x.off <> 0",
                n + 1
            );
            assert_eq!(self.place.number(&wrong).await, 0, "blocks of {table} by {scope}");
        }
    }
}

fn id(kind: Kind, n: u64) -> Id {
    let mut bytes = [kind as u8; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    Id::from_bytes(bytes)
}

fn at(millis: i64) -> Instant {
    Instant::from_millis(1_700_000_000_000 + millis)
}

fn row(kind: Kind, n: u64, created: i64) -> Row {
    let id = id(kind, n);
    Row {
        kind,
        id,
        customer: None,
        conversation: None,
        hidden: Hidden::No,
        rev: 1,
        turn: 0,
        version: RENDERER,
        created_at: at(created),
        updated_at: at(created),
        wake_at: None,
        external_id: None,
        label: None,
        doc: format!("\"{id}\""),
        state: None,
    }
}

fn conversation(n: u64, customer: Id, created: i64) -> Row {
    Row { customer: Some(CustomerId(customer)), ..row(Kind::Conversation, n, created) }
}

fn entry(kind: Kind, n: u64, conversation: &Row, created: i64) -> Row {
    Row { customer: conversation.customer, conversation: Some(conversation.id), ..row(kind, n, created) }
}

/// What makes a change take the customers' lanes, as every real one does.
fn told(changes: &mut Changes, customers: impl IntoIterator<Item = Option<CustomerId>>) {
    for customer in customers {
        changes.ops.push(Op::Emit(NewEvent {
            verb: Verb::Update,
            kind: Kind::Customer,
            object: Id::from_bytes([1; 12]),
            customer,
            actor: None,
            rev: 1,
            changes: None,
            stamp_at: None,
        }));
    }
}

async fn insert(store: &dyn Store, rows: impl IntoIterator<Item = Row>) {
    let mut changes = Changes::new(ORG, at(0));
    for row in rows {
        let customer = if row.kind == Kind::Customer { Some(CustomerId(row.id)) } else { row.customer };
        told(&mut changes, [customer]);
        changes.insert(row);
    }
    store.apply(changes).await.expect("the rows are new");
}

fn next(was: &Row) -> Row {
    Row { rev: was.rev + 1, ..was.clone() }
}

async fn page(store: &dyn Store, list: &List, descending: bool, start: Start, limit: u32) -> (String, Page) {
    let order = Order { field: Field::CreatedAt, descending };
    let window = Window { order, start, limit, bytes: usize::MAX };
    let page = store.page(ORG, list, &window, Vec::new()).await.expect("a page");
    (String::from_utf8(page.buffer.clone()).expect("a text"), page)
}

/// The pages of a list, each found from the row before it.
async fn walked(store: &dyn Store, list: &List, descending: bool, limit: u32) -> Vec<(String, bool)> {
    let mut pages = Vec::new();
    let mut start = Start::Offset(0);
    loop {
        let (text, page) = page(store, list, descending, start, limit).await;
        pages.push((text, page.more));
        match page.last.filter(|_| page.more) {
            Some(last) => start = Start::After(last),
            None => return pages,
        }
    }
}

/// Every page by number is what following links gives, both ways, and those beyond the end are empty.
async fn assert_pages(store: &dyn Store, list: &List) {
    for descending in [false, true] {
        for limit in [1, 7] {
            let pages = walked(store, list, descending, limit).await;
            for (n, expected) in pages.iter().enumerate() {
                let start = Start::Offset(n as u64 * u64::from(limit));
                let (text, page) = page(store, list, descending, start, limit).await;
                assert_eq!((&text, page.more), (&expected.0, expected.1), "page {n} of {list:?}, {descending}");
            }
            for beyond in [pages.len() as u64 * u64::from(limit), 100_000, u64::MAX] {
                let (text, page) = page(store, list, descending, Start::Offset(beyond), limit).await;
                assert_eq!((text.as_str(), page.count, page.more), ("", 0, false), "{beyond} of {list:?}");
            }
        }
    }
}

/// Numbers below others, the same in every run.
struct Dice(Entropy);

impl Dice {
    fn below(&self, n: usize) -> usize {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        u32::from_be_bytes(bytes) as usize % n
    }

    fn of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len().max(1)))
    }
}

/// Everything there is, as it is stored now.
async fn stored(store: &dyn Store, made: &BTreeMap<Id, Kind>, kind: Kind) -> Vec<Row> {
    let ids: Vec<Id> = made.iter().filter(|(_, of)| **of == kind).map(|(id, _)| *id).collect();
    store.get_many(ORG, kind, &ids).await.expect("rows")
}

fn lists(customers: &[Row], conversations: &[Row]) -> Vec<List> {
    let of_org = [Kind::Customer, Kind::Conversation, Kind::Message, Kind::Note].map(|kind| List::of(kind, Scope::Org));
    let of_customer = customers.iter().flat_map(|row| {
        [Kind::Conversation, Kind::Message, Kind::Note].map(|kind| List::of(kind, Scope::Customer(CustomerId(row.id))))
    });
    let of_conversation = conversations.iter().flat_map(|row| {
        [Kind::Message, Kind::Note].map(|kind| List::of(kind, Scope::Conversation(ConversationId(row.id))))
    });
    of_org.into_iter().chain(of_customer).chain(of_conversation).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_what_has_changed_is_taken_in_beside_writers() {
    const ROOM: u32 = 1_000;
    let ground = Ground::new(Backend::Postgres).await;
    for n in 0..6 {
        insert(&*ground.here, [row(Kind::Customer, n, n as i64)]).await;
    }
    let list = List::of(Kind::Customer, Scope::Org);
    let waiting = async || ground.place.number("SELECT count(*) FROM block_change").await;
    let all = waiting().await;
    assert!(all > 2, "several lanes have changed it");

    let (mut client, connection) =
        tokio_postgres::connect(&ground.place.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let writer = client.transaction().await.expect("a transaction");
    let locks = "SELECT 1 FROM lane FOR UPDATE; SELECT 1 FROM block_change ORDER BY lane LIMIT 1 FOR UPDATE";
    writer.batch_execute(locks).await.expect("locks");
    ground.here.even_out(ORG, &list, ROOM).await.expect("it waits for nobody");
    assert_eq!(waiting().await, 1, "what a writer is adding to is left");
    ground.assert_exact().await;
    writer.rollback().await.expect("it ends");
    ground.here.even_out(ORG, &list, ROOM).await.expect("it is counted");
    assert_eq!(waiting().await, 0);
    ground.assert_exact().await;
    assert_pages(&*ground.there, &list).await;
}

mod stories {
    use super::*;

    pub(super) async fn every_page_by_number_is_the_one_links_lead_to(ground: Ground) {
        let dice = Dice(seeded(5));
        let mut made: BTreeMap<Id, Kind> = BTreeMap::new();
        let mut n = 0;
        for step in 0..140 {
            let store = if dice.below(2) == 0 { &*ground.here } else { &*ground.there };
            n += 1;
            // Few instants, so that many rows share one.
            let created = dice.below(40) as i64;
            let customers = stored(store, &made, Kind::Customer).await;
            let conversations = stored(store, &made, Kind::Conversation).await;
            let shown = |rows: &[Row]| rows.iter().filter(|row| row.shows()).cloned().collect::<Vec<_>>();
            let customer = dice.of(&shown(&customers)).cloned();
            let talk = dice.of(&shown(&conversations)).cloned();
            let kind = if dice.below(2) == 0 { Kind::Message } else { Kind::Note };
            let mut changes = Changes::new(ORG, at(0));
            match (dice.below(20), customer, talk) {
                (0, ..) | (_, None, _) => {
                    told(&mut changes, [Some(CustomerId(id(Kind::Customer, n)))]);
                    changes.insert(row(Kind::Customer, n, created));
                    made.insert(id(Kind::Customer, n), Kind::Customer);
                }
                (1..=3, Some(customer), _) | (4.., Some(customer), None) => {
                    told(&mut changes, [Some(CustomerId(customer.id))]);
                    changes.insert(conversation(n, customer.id, created));
                    made.insert(id(Kind::Conversation, n), Kind::Conversation);
                }
                (4..=8, _, Some(talk)) => {
                    told(&mut changes, [talk.customer]);
                    // Sometimes so many at once that they are told to the blocks in parts.
                    let count = if dice.below(8) == 0 { 130 } else { 1 + dice.below(6) };
                    for _ in 0..count {
                        n += 1;
                        changes.insert(entry(kind, n, &talk, dice.below(40) as i64));
                        made.insert(id(kind, n), kind);
                    }
                }
                (9, Some(customer), _) if dice.below(3) == 0 => {
                    let of = CustomerId(customer.id);
                    changes.update(customer.clone(), Row { hidden: Hidden::Deleted, ..next(&customer) });
                    changes.ops.push(Op::Hide(Hide::OfCustomer(of), None));
                }
                (10, _, Some(talk)) => {
                    changes.update(talk.clone(), Row { hidden: Hidden::Deleted, ..next(&talk) });
                    changes.ops.push(Op::Hide(Hide::OfConversation(talk.customer.expect("a customer"), talk.id), None));
                }
                (11 | 12, ..) => {
                    let deleted = conversations.iter().find(|row| row.hidden == Hidden::Deleted).cloned();
                    if let Some(talk) = deleted {
                        changes.update(talk.clone(), Row { hidden: Hidden::No, ..next(&talk) });
                        changes.ops.push(Op::Hide(Hide::Undo(talk.customer.expect("a customer"), talk.id), None));
                    }
                }
                (13, Some(customer), Some(talk)) => {
                    let to = Some(CustomerId(customer.id));
                    told(&mut changes, [talk.customer, to]);
                    if talk.customer != to {
                        changes.update(talk.clone(), Row { customer: to, ..next(&talk) });
                        for kind in [Kind::Message, Kind::Note] {
                            let along = stored(store, &made, kind).await;
                            let along =
                                along.into_iter().filter(|row| row.shows() && row.conversation == Some(talk.id));
                            along.for_each(|row| changes.update(row.clone(), Row { customer: to, ..next(&row) }));
                        }
                    }
                }
                (14 | 15, _, Some(_)) => {
                    let all = shown(&stored(store, &made, kind).await);
                    if let Some(row) = dice.of(&all) {
                        told(&mut changes, [row.customer]);
                        changes.update(row.clone(), Row { hidden: Hidden::Deleted, ..next(row) });
                    }
                }
                (16, _, Some(talk)) => {
                    // A message that goes to another conversation, another moment with it.
                    let all = shown(&stored(store, &made, kind).await);
                    if let Some(row) = dice.of(&all) {
                        told(&mut changes, [row.customer, talk.customer]);
                        let (customer, conversation) = (talk.customer, Some(talk.id));
                        changes
                            .update(row.clone(), Row { customer, conversation, created_at: at(created), ..next(row) });
                    }
                }
                _ => {
                    if let Some(list) = dice.of(&lists(&customers, &conversations)) {
                        store.even_out(ORG, list, SIZE).await.expect("it is counted");
                    }
                }
            }
            store.apply(changes).await.expect("nobody else writes");
            if step % 20 == 19 {
                ground.assert_exact().await;
                let lists = lists(&customers, &conversations);
                for list in lists.iter().filter(|list| list.scope == Scope::Org) {
                    assert_pages(store, list).await;
                }
                for _ in 0..3 {
                    if let Some(list) = dice.of(&lists) {
                        assert_pages(store, list).await;
                    }
                }
            }
        }
        assert!(
            ground.place.number("SELECT count(*) FROM block WHERE list > 4").await > 10,
            "there were blocks to err in"
        );
    }

    pub(super) async fn counting_beside_writers_of_another_process_loses_no_row(ground: Ground) {
        let customers: Vec<Row> = (0..6).map(|n| row(Kind::Customer, n, 0)).collect();
        insert(&*ground.here, customers.clone()).await;
        let talks: Vec<Row> = (0..6).map(|n| conversation(n, customers[n as usize].id, 0)).collect();
        insert(&*ground.here, talks.clone()).await;
        // Long from the beginning, so that there are blocks while others write.
        let old = (0..120).map(|n| entry(Kind::Message, 10_000 + n, &talks[n as usize % 6], n as i64 % 50));
        insert(&*ground.here, old).await;
        let all = lists(&customers, &talks);
        let writers = talks.iter().enumerate().map(|(w, talk)| {
            let (store, talk) = (Arc::clone(if w % 2 == 0 { &ground.here } else { &ground.there }), talk.clone());
            tokio::spawn(async move {
                for n in 0..60 {
                    let n = w as u64 * 1000 + n;
                    let message = entry(Kind::Message, n, &talk, (n * 7 % 50) as i64);
                    insert(&*store, [message.clone()]).await;
                    if n.is_multiple_of(3) {
                        let mut changes = Changes::new(ORG, at(0));
                        told(&mut changes, [talk.customer]);
                        changes.update(message.clone(), Row { hidden: Hidden::Deleted, ..next(&message) });
                        store.apply(changes).await.expect("its own message");
                    }
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        loop {
            for list in &all {
                ground.there.even_out(ORG, list, SIZE).await.expect("it is counted");
            }
            if writers.iter().all(tokio::task::JoinHandle::is_finished) {
                break;
            }
        }
        for writer in writers {
            writer.await.expect("a writer ends well");
        }
        ground.assert_exact().await;
        for list in &all {
            assert_pages(&*ground.here, list).await;
        }
        assert!(ground.blocks(talks[0].id).await > 2);
    }

    pub(super) async fn long_lists_are_found_and_short_ones_left_alone(ground: Ground) {
        let [long, short] = [1, 2].map(|n| row(Kind::Customer, n, 0));
        insert(&*ground.here, [long.clone(), short.clone()]).await;
        insert(&*ground.here, (0..70).map(|n| conversation(n, long.id, n as i64))).await;
        insert(&*ground.here, (100..103).map(|n| conversation(n, short.id, n as i64))).await;
        let round = ground.round().await;
        assert_eq!((round.failed, round.done), (0, 2), "the org's lists, and those of the customer");
        assert!(ground.blocks(long.id).await >= 70 / i64::from(SIZE));
        assert_eq!(ground.blocks(short.id).await, 0);
        assert_eq!(ground.round().await, Round::default(), "there is nothing left to do");
        ground.assert_exact().await;
        // Few at a time, they are noticed by what the blocks have gained.
        for n in 200..206 {
            insert(&*ground.there, [conversation(n, long.id, 30)]).await;
        }
        assert_eq!(ground.round().await.done, 2);
        assert_eq!(ground.place.number("SELECT count(*) FROM block_change").await, 0, "all is taken in");
        for scope in [Scope::Customer(CustomerId(long.id)), Scope::Org] {
            assert_pages(&*ground.here, &List::of(Kind::Conversation, scope)).await;
        }
        // When nothing shows any more, nothing is kept of it.
        let mut changes = Changes::new(ORG, at(0));
        changes.update(long.clone(), Row { hidden: Hidden::Deleted, ..next(&long) });
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(long.id)), None));
        ground.there.apply(changes).await.expect("it shows");
        assert_eq!(ground.blocks(long.id).await, 0);
        ground.round().await;
        assert!(ground.blocks(ORG.0).await < 8, "empty blocks fall to the one before");
        ground.assert_exact().await;
    }

    pub(super) async fn lists_that_grow_slowly_are_looked_at_now_and_then(ground: Ground) {
        let customer = row(Kind::Customer, 1, 0);
        let talk = conversation(1, customer.id, 0);
        insert(&*ground.here, [customer.clone(), talk.clone()]).await;
        insert(&*ground.here, (0..10).map(|n| entry(Kind::Message, n, &talk, n as i64))).await;
        ground.round().await;
        assert_eq!((ground.blocks(customer.id).await, ground.blocks(talk.id).await), (0, 0), "nobody noticed");
        let mut changes = Changes::new(ORG, at(0));
        let here = Row { turn: 255, ..next(&customer) };
        changes.update(customer.clone(), here.clone());
        changes.update(talk.clone(), Row { rev: 256, ..talk.clone() });
        ground.here.apply(changes).await.expect("as they were read");
        ground.round().await;
        assert_eq!(ground.blocks(customer.id).await, 0, "its turn has not come");
        assert!(ground.blocks(talk.id).await > 1, "its conversation's has");
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Guard(CustomerId(customer.id), 255));
        ground.here.apply(changes).await.expect("that is the turn");
        ground.round().await;
        assert!(ground.blocks(customer.id).await > 1);
        assert_eq!(ground.place.number("SELECT count(*) FROM block_due").await, 0);
        ground.assert_exact().await;
    }

    pub(super) async fn a_conversation_shown_again_is_counted_again(ground: Ground) {
        let customer = row(Kind::Customer, 1, 0);
        let talk = conversation(1, customer.id, 0);
        insert(&*ground.here, [customer.clone(), talk.clone()]).await;
        insert(&*ground.here, (0..80).map(|n| entry(Kind::Message, n, &talk, n as i64))).await;
        ground.round().await;
        assert!(ground.blocks(talk.id).await > 1 && ground.blocks(customer.id).await > 1);
        let deleted = Row { hidden: Hidden::Deleted, ..next(&talk) };
        for (was, now, hide) in [
            (&talk, &deleted, Hide::OfConversation(CustomerId(customer.id), talk.id)),
            (&deleted, &Row { hidden: Hidden::No, ..next(&deleted) }, Hide::Undo(CustomerId(customer.id), talk.id)),
        ] {
            let mut changes = Changes::new(ORG, at(0));
            changes.update(was.clone(), now.clone());
            changes.ops.push(Op::Hide(hide, None));
            ground.here.apply(changes).await.expect("as it was read");
            ground.assert_exact().await;
            assert_eq!(ground.blocks(talk.id).await, 0);
            for list in lists(std::slice::from_ref(&customer), std::slice::from_ref(&talk)) {
                assert_pages(&*ground.there, &list).await;
            }
        }
        ground.round().await;
        assert!(ground.blocks(talk.id).await > 1);
        ground.assert_exact().await;
    }

    pub(super) async fn rows_of_one_instant_stay_together(ground: Ground) {
        let customer = row(Kind::Customer, 1, 0);
        insert(&*ground.here, [customer.clone()]).await;
        // More than a division looks at, at once.
        let rows =
            (0..120).map(|n| conversation(n, customer.id, if n < 20 { n as i64 % 5 } else { 7 + n as i64 / 119 }));
        insert(&*ground.here, rows).await;
        ground.round().await;
        ground.assert_exact().await;
        let scope = ground.place.id(&customer.id.to_string());
        let large = format!("SELECT count(*) FROM block WHERE list = 5 AND scope = {scope} AND n > 90");
        assert_eq!(ground.place.number(&large).await, 1);
        assert!(ground.blocks(customer.id).await > 4, "what can be divided is");
        assert_eq!(ground.round().await, Round::default(), "what cannot is left alone");
        assert_pages(&*ground.here, &List::of(Kind::Conversation, Scope::Customer(CustomerId(customer.id)))).await;
    }

    pub(super) async fn a_large_instant_is_cut_off_from_what_follows(ground: Ground) {
        let customer = row(Kind::Customer, 1, 0);
        insert(&*ground.here, [customer.clone()]).await;
        // The one row that follows is at no place where a block would end.
        insert(&*ground.here, (0..70).map(|n| conversation(n, customer.id, n as i64 / 69))).await;
        ground.round().await;
        ground.assert_exact().await;
        assert_eq!(ground.blocks(customer.id).await, 2);
        assert_eq!(ground.round().await, Round::default());
    }

    pub(super) async fn a_list_in_trouble_holds_up_no_other(ground: Ground) {
        let customer = row(Kind::Customer, 1, 0);
        let talk = conversation(1, customer.id, 0);
        insert(&*ground.here, [customer.clone(), talk.clone()]).await;
        for (n, kind) in [(1_000, Kind::Message), (2_000, Kind::Note)] {
            insert(&*ground.here, (0..80).map(|m| entry(kind, n + m, &talk, m as i64))).await;
        }
        // The conversation's messages cannot be divided, and one list is of a later version.
        let refuse = match ground.place.backend() {
            Backend::Sqlite => {
                "CREATE TRIGGER refuse BEFORE INSERT ON block WHEN new.list = 8 AND new.n < 80 \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            }
            Backend::Postgres => "ALTER TABLE block ADD CONSTRAINT refuse CHECK (list <> 8 OR n >= 80)",
        };
        ground.place.run(refuse).await;
        let (org, scope) = (ground.place.id(&ORG.0.to_string()), ground.place.id(&talk.id.to_string()));
        ground.place.run(&format!("INSERT INTO block_due (org, list, scope) VALUES ({org}, 99, {scope})")).await;
        let round = ground.round().await;
        assert_eq!((round.done, round.failed), (2, 1), "the org's and the customer's, and the conversation's");
        let notes = format!("SELECT count(*) FROM block WHERE list = 9 AND scope = {scope}");
        assert!(ground.place.number(&notes).await > 2, "its notes are divided");
        let marks = "SELECT sum(list) AS n FROM (SELECT CAST(list AS int) AS list FROM block_due) x";
        assert_eq!(ground.place.number(marks).await, 8 + 99, "what could not be done stays marked");
        ground.place.run("DELETE FROM trouble").await;
        ground
            .place
            .run(match ground.place.backend() {
                Backend::Sqlite => "DROP TRIGGER refuse",
                Backend::Postgres => "ALTER TABLE block DROP CONSTRAINT refuse",
            })
            .await;
        assert_eq!(ground.round().await.done, 1);
        assert_eq!(ground.place.number(marks).await, 99);
        ground.assert_exact().await;
        assert!(ground.blocks(talk.id).await > 40);
    }

    /// Each locks lanes that others may want, on a connection that requests could write on.
    pub(super) async fn one_item_is_done_at_a_time(ground: Ground) {
        struct Watched(Blocks, AtomicUsize);

        #[async_trait]
        impl Job for Watched {
            type Work = Uneven;

            const NAME: &'static str = Blocks::NAME;
            const PAUSE: Duration = Blocks::PAUSE;
            const ABREAST: usize = Blocks::ABREAST;

            async fn due(&self, now: Instant, most: u32) -> Result<Vec<Item<Uneven>>, JobError> {
                self.0.due(now, most).await
            }

            async fn run(&self, work: Uneven) -> Result<(), JobError> {
                assert_eq!(self.1.fetch_add(1, Ordering::SeqCst), 0, "nobody else is at it");
                let done = self.0.run(work).await;
                self.1.fetch_sub(1, Ordering::SeqCst);
                done
            }
        }

        let customers: Vec<Row> = (0..6).map(|n| row(Kind::Customer, n, 0)).collect();
        insert(&*ground.here, customers.clone()).await;
        for customer in &customers {
            let first = u64::from(customer.id.bytes()[11]) * 100;
            insert(&*ground.here, (first..first + 70).map(|n| conversation(n, customer.id, n as i64))).await;
        }
        let runner = Runner::new(Arc::clone(&ground.here), Arc::new(TestClock::default()), Id::from_bytes([7; 12]));
        let watched = Watched(Blocks::of_size(Arc::clone(&ground.here), SIZE), AtomicUsize::new(0));
        let round = runner.round(&watched, 500).await.expect("a round");
        assert_eq!((round.done, round.failed), (7, 0));
    }

    /// Nothing is divided yet: the org's list is one block, the customer's has none. A bounded read walks over 4,000 rows.
    pub(super) async fn pages_about_the_bound_of_a_walk_are_whole(ground: Ground) {
        const COUNT: usize = 4_200;
        let customer = row(Kind::Customer, 1, 0);
        insert(&*ground.here, [customer.clone()]).await;
        let rows = (0..COUNT as u64).map(|n| conversation(n, customer.id, n as i64));
        insert(&*ground.here, rows).await;
        for scope in [Scope::Org, Scope::Customer(CustomerId(customer.id))] {
            let list = List::of(Kind::Conversation, scope);
            for descending in [false, true] {
                let mut expected: Vec<String> =
                    (0..COUNT as u64).map(|n| format!("\"{}\"", id(Kind::Conversation, n))).collect();
                if descending {
                    expected.reverse();
                }
                for (limit, offsets) in [(100, (3_800..4_300).step_by(50)), (500, (3_000..4_500).step_by(250))] {
                    for offset in offsets {
                        let (from, to) = (offset.min(COUNT), (offset + limit as usize).min(COUNT));
                        let (text, page) =
                            page(&*ground.there, &list, descending, Start::Offset(offset as u64), limit).await;
                        assert_eq!(
                            text,
                            expected[from..to].join(","),
                            "{limit} from {offset} of {list:?}, {descending}"
                        );
                        assert_eq!(page.more, to < COUNT, "{limit} from {offset} of {list:?}, {descending}");
                    }
                }
            }
        }
    }

    /// As many as are collected, and one more, for which the list is walked.
    pub(super) async fn a_date_leaves_out_what_was_not_changed_since(ground: Ground) {
        const COUNT: u64 = 2_100;
        let customer = row(Kind::Customer, 1, 0);
        insert(&*ground.here, [customer.clone(), row(Kind::Customer, 2, 0)]).await;
        let changed = |n: u64| (n * 1_009 % COUNT) as i64;
        let created = |n: u64| (n / 2) as i64;
        let rows = (0..COUNT).map(|n| Row { updated_at: at(changed(n)), ..conversation(n, customer.id, created(n)) });
        let mut changes = Changes::new(ORG, at(0));
        rows.for_each(|row| changes.insert(row));
        for n in COUNT..COUNT + 20 {
            changes.insert(Row { updated_at: at(5_000), ..conversation(n, id(Kind::Customer, 2), n as i64) });
            changes.insert(Row {
                updated_at: at(5_000),
                hidden: Hidden::Deleted,
                ..conversation(n + 100, customer.id, n as i64)
            });
        }
        ground.here.apply(changes).await.expect("the rows are new");
        let conversations = List::of(Kind::Conversation, Scope::Customer(CustomerId(customer.id)));
        for (since, count) in [(0, COUNT), (1_099, 1_001), (1_100, 1_000), (2_000, 100), (2_099, 1), (2_100, 0)] {
            let list = conversations.clone().with(Filter::From(Field::UpdatedAt, at(since)));
            for descending in [false, true] {
                let mut expected: Vec<(i64, Id)> = (0..COUNT)
                    .filter(|n| changed(*n) >= since)
                    .map(|n| (created(n), id(Kind::Conversation, n)))
                    .collect();
                expected.sort_unstable();
                if descending {
                    expected.reverse();
                }
                assert_eq!(expected.len() as u64, count);
                let texts: Vec<String> = expected.iter().map(|(_, id)| format!("\"{id}\"")).collect();
                let limit = 90;
                let pages: Vec<(String, bool)> = texts
                    .chunks(90)
                    .enumerate()
                    .map(|(n, part)| (part.join(","), (n + 1) * 90 < texts.len()))
                    .collect();
                let walked = walked(&*ground.here, &list, descending, limit).await;
                assert_eq!(walked, if pages.is_empty() { vec![(String::new(), false)] } else { pages.clone() });
                for (n, part) in pages.iter().enumerate() {
                    let (text, page) =
                        page(&*ground.here, &list, descending, Start::Offset(n as u64 * 90), limit).await;
                    assert_eq!(&(text, page.more), part, "page {n} since {since}");
                    // Backwards from where the next page begins.
                    let Some((at_next, next)) = expected.get((n + 1) * 90) else { continue };
                    let before = Start::Before(Position { at: at(*at_next), id: *next });
                    let (text, page) = super::page(&*ground.here, &list, descending, before, limit).await;
                    assert_eq!((text, page.more), (part.0.clone(), n > 0), "before page {}", n + 1);
                }
                let (text, _) = page(&*ground.here, &list, descending, Start::Offset(3_000), limit).await;
                assert_eq!(text, "");
            }
        }
    }
}

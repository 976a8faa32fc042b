//! The storage contract: every test once, on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::Duration;

use konverse_model::{
    ConversationId, CustomerId, EventId, Id, Instant, Kind, OrgId, Position, TeamId, TokenId, UserId,
};
use konverse_store::{
    Changes, Conflict, Event, Field, Filter, Hidden, List, Membership, NewCredential, Order, Org, Row, Scope, Space,
    Start, Store, StoreError, Window,
};
use konverse_store_sqlite::Sqlite;
use konverse_testkit::{Backend, TestStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Makes two tests of each story, one on each engine.
macro_rules! contract {
    ($($story:ident,)*) => {$(
        mod $story {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                stories::$story(TestStore::new(Backend::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                stories::$story(TestStore::new(Backend::Postgres).await).await;
            }
        }
    )*};
}

contract! {
    an_empty_store_has_nothing,
    what_is_put_in_comes_out,
    several_come_in_the_order_asked,
    a_stale_update_leaves_nothing_behind,
    a_stale_update_of_any_kind_is_a_conflict,
    an_id_is_taken_once,
    an_external_id_is_unique_among_records_that_show,
    an_external_id_moves_within_one_change,
    a_name_has_one_holder,
    names_can_change_hands_within_one_change,
    a_conversation_moves_between_customers,
    a_message_moves_between_conversations,
    every_window_is_what_sorting_gives,
    a_far_page_is_empty,
    hiding_a_customer_hides_what_belongs_to_it,
    hiding_a_conversation_can_be_undone,
    showing_again_meets_an_external_id_taken_meanwhile,
    a_tally_is_the_sum_of_its_slots,
    due_conversations_come_oldest_first,
    a_credential_is_found_by_its_hash_until_revoked,
    orgs_are_listed_by_name,
    teams_of_users,
    one_org_does_not_see_another,
    event_numbers_rise_within_an_org,
    a_refused_change_leaves_no_event,
    a_refused_change_beside_others_is_refused_alone,
    many_changes_at_once_all_land,
    writers_of_one_row_win_one_after_another,
    a_reader_that_follows_the_events_misses_none,
    a_second_store_sees_committed_writes,
    any_text_survives,
    nothing_to_do_is_done,
}

const ORG: OrgId = OrgId(Id::from_bytes([0xaa; 12]));
const OTHER: OrgId = OrgId(Id::from_bytes([0xbb; 12]));

fn id(n: u64) -> Id {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    Id::from_bytes(bytes)
}

fn at(millis: i64) -> Instant {
    Instant::from_millis(1_700_000_000_000 + millis)
}

fn record(kind: Kind, id: Id, created: i64) -> Row {
    Row {
        kind,
        id,
        customer: None,
        conversation: None,
        hidden: Hidden::No,
        rev: 1,
        created_at: at(created),
        updated_at: at(created),
        wake_at: None,
        external_id: None,
        label: None,
        doc: format!(r#"{{"id":"{id}","rev":1}}"#),
        state: None,
    }
}

fn conversation(n: u64, customer: u64, created: i64) -> Row {
    Row { customer: Some(CustomerId(id(customer))), ..record(Kind::Conversation, id(n), created) }
}

fn entry(kind: Kind, n: u64, conversation: u64, customer: u64, created: i64) -> Row {
    Row {
        customer: Some(CustomerId(id(customer))),
        conversation: Some(id(conversation)),
        ..record(kind, id(n), created)
    }
}

/// The row after a change.
fn next(row: &Row) -> Row {
    let rev = row.rev + 1;
    Row { rev, doc: format!(r#"{{"id":"{}","rev":{rev}}}"#, row.id), updated_at: row.updated_at.plus(1), ..row.clone() }
}

fn event(n: u64) -> Event {
    Event {
        id: EventId(id(n)),
        at: at(n as i64),
        verb: "update",
        kind: Kind::Conversation,
        object: id(n),
        customer: Some(CustomerId(id(1))),
        actor: None,
        rev: 2,
        changes: Some(r#"{"attributes":{}}"#.into()),
    }
}

fn inserting(rows: impl IntoIterator<Item = Row>) -> Changes {
    let mut changes = Changes::new(ORG);
    rows.into_iter().for_each(|row| changes.insert(row));
    changes
}

async fn insert(store: &dyn Store, rows: impl IntoIterator<Item = Row>) {
    store.apply(inserting(rows)).await.expect("the rows are new");
}

async fn update(store: &dyn Store, was: &Row, now: &Row) -> Result<(), StoreError> {
    let mut changes = Changes::new(ORG);
    changes.update(was.clone(), now.clone());
    store.apply(changes).await
}

async fn get(store: &dyn Store, row: &Row) -> Option<Row> {
    store.get(ORG, row.kind, row.id).await.expect("a read")
}

#[track_caller]
fn assert_conflict(result: Result<(), StoreError>, expected: &Conflict) {
    match result {
        Err(StoreError::Conflict(conflict)) => assert_eq!(&conflict, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

/// The org's events once there are so many. On PostgreSQL an event shows when no older transaction runs any more, in any
/// database of the server, so other tests can delay it.
async fn events(store: &dyn Store, org: OrgId, count: usize) -> Vec<(i64, Event)> {
    for _ in 0..6_000 {
        let found = store.events(org, 0, 100_000).await.expect("a read");
        assert!(found.len() <= count, "{} events instead of {count}", found.len());
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the events do not show")
}

/// The window by sorting all rows: the rows, and whether the list goes on.
fn sorted(rows: &[Row], list: &List, window: &Window) -> (Vec<Row>, bool) {
    let key = |row: &Row, field: Field| match field {
        Field::CreatedAt => row.created_at,
        Field::UpdatedAt => row.updated_at,
    };
    let wanted = if list.filters.contains(&Filter::Deleted) { Hidden::Deleted } else { Hidden::No };
    let holds = |row: &Row, filter: &Filter| match filter {
        Filter::From(field, at) => key(row, *field) >= *at,
        Filter::After(field, at) => key(row, *field) > *at,
        Filter::UpTo(field, at) => key(row, *field) <= *at,
        Filter::Before(field, at) => key(row, *field) < *at,
        Filter::Label(label) => row.label.as_ref() == Some(label),
        Filter::Deleted => true,
    };
    let place = |row: &Row| (key(row, window.order.field), row.id);
    let mut all: Vec<Row> = rows
        .iter()
        .filter(|row| row.kind == list.kind && row.hidden == wanted)
        .filter(|row| match list.scope {
            Scope::Org => true,
            Scope::Customer(customer) => row.customer == Some(customer),
            Scope::Conversation(conversation) => row.conversation == Some(conversation.0),
        })
        .filter(|row| list.filters.iter().all(|filter| holds(row, filter)))
        .cloned()
        .collect();
    all.sort_by_key(place);
    if window.order.descending {
        all.reverse();
    }
    let limit = window.limit as usize;
    let precedes = |row: &Row, position: &Position| {
        let (row, position) = (place(row), (position.at, position.id));
        if window.order.descending { row > position } else { row < position }
    };
    match window.start {
        Start::Offset(offset) => {
            let rest = all.len().saturating_sub(usize::try_from(offset).unwrap_or(usize::MAX));
            let start = all.len() - rest;
            (all[start..start + rest.min(limit)].to_vec(), rest > limit)
        }
        Start::After(position) => {
            all.retain(|row| !precedes(row, &position) && place(row) != (position.at, position.id));
            let more = all.len() > limit;
            all.truncate(limit);
            (all, more)
        }
        Start::Before(position) => {
            all.retain(|row| precedes(row, &position));
            let skipped = all.len().saturating_sub(limit);
            (all.split_off(skipped), skipped > 0)
        }
    }
}

/// Reads a window every way there is and compares it with sorting.
async fn check_window(store: &dyn Store, org: OrgId, rows: &[Row], list: &List, window: &Window) -> Vec<Row> {
    let (expected, more) = sorted(rows, list, window);
    let page = store.page(org, list, window, b"begin:".to_vec()).await.expect("a page");
    let context = format!("{list:?} {window:?}");
    let texts: Vec<&str> = expected.iter().map(|row| row.doc.as_str()).collect();
    assert_eq!(String::from_utf8_lossy(&page.buffer), format!("begin:{}", texts.join(",")), "{context}");
    let position = |row: &Row| Position {
        at: match window.order.field {
            Field::CreatedAt => row.created_at,
            Field::UpdatedAt => row.updated_at,
        },
        id: row.id,
    };
    assert_eq!(page.count as usize, expected.len(), "{context}");
    assert_eq!(page.first, expected.first().map(position), "{context}");
    assert_eq!(page.last, expected.last().map(position), "{context}");
    assert_eq!(page.more, more, "{context}");
    assert_eq!(store.rows(org, list, window).await.expect("rows"), expected, "{context}");
    expected
}

mod stories {
    use super::*;

    pub(super) async fn an_empty_store_has_nothing(test: TestStore) {
        let store = test.store();
        store.ping().await.expect("it answers");
        assert_eq!(store.get(ORG, Kind::Customer, id(1)).await.expect("a read"), None);
        assert!(store.get_many(ORG, Kind::Message, &[id(1), id(2)]).await.expect("a read").is_empty());
        assert!(store.get_many(ORG, Kind::Message, &[]).await.expect("a read").is_empty());
        assert_eq!(store.by_external_id(ORG, Kind::Note, "x").await.expect("a read"), None);
        assert!(store.holders(ORG, &[]).await.expect("a read").is_empty());
        assert_eq!(store.holders(ORG, &[(Space::TagName, "x".into())]).await.expect("a read"), [None]);
        assert_eq!(store.tally(ORG, "customers").await.expect("a read"), 0);
        assert_eq!(store.teams_of(ORG, &[UserId(id(1))]).await.expect("a read"), [vec![]]);
        assert!(store.teams_of(ORG, &[]).await.expect("a read").is_empty());
        assert!(store.due(at(0), 10).await.expect("a read").is_empty());
        assert_eq!(store.credential([0; 32]).await.expect("a read"), None);
        assert!(store.orgs().await.expect("a read").is_empty());
        assert_eq!(store.org_named("acme").await.expect("a read"), None);
        assert!(store.events(ORG, 0, 10).await.expect("a read").is_empty());
        assert_eq!(store.count(ORG, &List::of(Kind::Customer, Scope::Org)).await.expect("a read"), 0);
    }

    pub(super) async fn what_is_put_in_comes_out(test: TestStore) {
        let store = test.store();
        let rows = [
            record(Kind::Customer, id(1), 10),
            Row {
                wake_at: Some(at(99)),
                external_id: Some("c-2".into()),
                state: Some(r#"{"restoredDone":true}"#.into()),
                ..conversation(2, 1, 20)
            },
            Row { external_id: Some("m-3".into()), ..entry(Kind::Message, 3, 2, 1, 30) },
            Row { external_id: Some("n-4".into()), ..entry(Kind::Note, 4, 2, 1, 40) },
            Row { label: Some("machine".into()), ..record(Kind::User, id(5), 50) },
            record(Kind::Team, id(5), 50),
            record(Kind::Tag, id(5), 50),
            Row { hidden: Hidden::Deleted, rev: 7, ..record(Kind::Token, id(6), -1_800_000_000_000) },
        ];
        insert(&*store, rows.clone()).await;
        for row in &rows {
            assert_eq!(get(&*store, row).await.as_ref(), Some(row));
        }
        for (kind, key) in [(Kind::Conversation, "c-2"), (Kind::Message, "m-3"), (Kind::Note, "n-4")] {
            let found = store.by_external_id(ORG, kind, key).await.expect("a read").expect("it is there");
            assert_eq!((found.kind, found.external_id.as_deref()), (kind, Some(key)));
            assert_eq!(store.by_external_id(OTHER, kind, key).await.expect("a read"), None);
        }
        // The same id may stand for records of different kinds.
        assert_eq!(store.get(ORG, Kind::Customer, id(2)).await.expect("a read"), None);

        for row in &rows {
            let now = Row { label: row.label.as_ref().map(|_| "user".into()), external_id: None, ..next(row) };
            update(&*store, row, &now).await.expect("it is fresh");
            assert_eq!(get(&*store, row).await, Some(now));
        }
    }

    pub(super) async fn several_come_in_the_order_asked(test: TestStore) {
        let store = test.store();
        for kind in [Kind::Customer, Kind::Tag] {
            insert(&*store, (1..=5).map(|n| record(kind, id(n), n as i64))).await;
            let asked = [id(4), id(9), id(1), id(5), id(1)];
            let found = store.get_many(ORG, kind, &asked).await.expect("a read");
            assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [id(4), id(1), id(5), id(1)]);
        }
        let many: Vec<Id> = (0..2_000).map(id).collect();
        assert_eq!(store.get_many(ORG, Kind::Customer, &many).await.expect("a read").len(), 5);
    }

    pub(super) async fn a_stale_update_leaves_nothing_behind(test: TestStore) {
        let store = test.store();
        let (first, second) = (conversation(1, 9, 1), conversation(2, 9, 2));
        insert(&*store, [first.clone(), second.clone()]).await;
        let fresh = next(&second);
        update(&*store, &second, &fresh).await.expect("it is fresh");
        let mut changes = Changes::new(ORG);
        changes.claim(Space::TagName, "held".into(), id(70));
        changes.credentials.push(credential(7, 7));
        store.apply(changes).await.expect("nothing is taken");

        // All that a change can hold, and one stale row.
        let mut changes = inserting([record(Kind::Customer, id(50), 1), entry(Kind::Message, 51, 1, 9, 3)]);
        changes.update(first.clone(), next(&first));
        changes.update(second.clone(), Row { doc: "lost".into(), ..next(&second) });
        changes.new_org = Some(Org { id: ORG, name: "acme".into(), created_at: at(0) });
        changes.release(Space::TagName, "held".into(), id(70));
        changes.claim(Space::TagName, "blue".into(), id(50));
        changes.tally("customers", id(50), 1);
        changes.memberships.push(Membership { user: UserId(id(60)), team: TeamId(id(61)) });
        changes.credentials.push(credential(8, 8));
        changes.revoked.push(TokenId(id(7)));
        changes.hide_customer = Some(CustomerId(id(9)));
        changes.hide_conversation = Some((id(1), false));
        changes.events.push(event(1));
        assert_conflict(store.apply(changes).await, &Conflict::Stale(Kind::Conversation, id(2)));

        assert_eq!(get(&*store, &first).await, Some(first));
        assert_eq!(get(&*store, &second).await, Some(fresh));
        assert_eq!(store.get(ORG, Kind::Customer, id(50)).await.expect("a read"), None);
        assert_eq!(store.get(ORG, Kind::Message, id(51)).await.expect("a read"), None);
        let names = [(Space::TagName, "held".into()), (Space::TagName, "blue".into())];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [Some(id(70)), None]);
        assert_eq!(store.tally(ORG, "customers").await.expect("a read"), 0);
        assert_eq!(store.teams_of(ORG, &[UserId(id(60))]).await.expect("a read"), [vec![]]);
        assert!(store.credential([7; 32]).await.expect("a read").is_some());
        assert_eq!(store.credential([8; 32]).await.expect("a read"), None);
        assert!(store.orgs().await.expect("a read").is_empty());
        let mut changes = Changes::new(ORG);
        changes.events.push(event(2));
        store.apply(changes).await.expect("a change");
        assert_eq!(events(&*store, ORG, 1).await[0].1, event(2));
    }

    pub(super) async fn a_stale_update_of_any_kind_is_a_conflict(test: TestStore) {
        let store = test.store();
        let rows = [
            record(Kind::Customer, id(1), 1),
            conversation(2, 1, 1),
            entry(Kind::Message, 3, 2, 1, 1),
            entry(Kind::Note, 4, 2, 1, 1),
            record(Kind::User, id(5), 1),
        ];
        insert(&*store, rows.clone()).await;
        for row in rows {
            let stale = Conflict::Stale(row.kind, row.id);
            let now = next(&row);
            let wrong = Row { rev: 5, ..row.clone() };
            assert_conflict(update(&*store, &wrong, &now).await, &stale);
            update(&*store, &row, &now).await.expect("it is fresh");
            assert_conflict(update(&*store, &row, &now).await, &stale);
            // Hiding changes where a conversation lies; that is guarded alike.
            let hidden = Row { hidden: Hidden::Deleted, ..next(&now) };
            assert_conflict(update(&*store, &row, &hidden).await, &stale);
            update(&*store, &now, &hidden).await.expect("it is fresh");
            assert_conflict(update(&*store, &now, &next(&now)).await, &stale);
            assert_eq!(get(&*store, &row).await, Some(hidden));
            let unknown = Row { id: id(1_000), ..now };
            assert_conflict(update(&*store, &unknown, &next(&unknown)).await, &Conflict::Stale(row.kind, id(1_000)));
        }
    }

    pub(super) async fn an_id_is_taken_once(test: TestStore) {
        let store = test.store();
        let rows = [
            record(Kind::Customer, id(1), 1),
            conversation(2, 1, 1),
            entry(Kind::Message, 3, 2, 1, 1),
            entry(Kind::Note, 4, 2, 1, 1),
            record(Kind::User, id(5), 1),
        ];
        insert(&*store, rows.clone()).await;
        for row in rows {
            // Elsewhere, later, even hidden: the id is still the same.
            let twin = Row {
                customer: row.customer.map(|_| CustomerId(id(77))),
                conversation: row.conversation.map(|_| id(78)),
                hidden: Hidden::Deleted,
                ..record(row.kind, row.id, 500)
            };
            let mut changes = inserting([record(Kind::Tag, id(200), 1), twin]);
            changes.events.push(event(3));
            assert_conflict(store.apply(changes).await, &Conflict::Taken(row.kind, row.id));
            assert_eq!(get(&*store, &row).await, Some(row));
            assert_eq!(store.get(ORG, Kind::Tag, id(200)).await.expect("a read"), None);
        }
    }

    pub(super) async fn an_external_id_is_unique_among_records_that_show(test: TestStore) {
        let store = test.store();
        let make: [fn(u64) -> Row; 3] = [
            |n| conversation(n, 1, n as i64),
            |n| entry(Kind::Message, n, 900, 1, n as i64),
            |n| entry(Kind::Note, n, 900, 1, n as i64),
        ];
        for make in make {
            let keyed = |n| Row { external_id: Some("key".into()), ..make(n) };
            let first = keyed(1);
            insert(&*store, [first.clone(), make(2), make(3)]).await;
            assert_conflict(store.apply(inserting([keyed(4)])).await, &Conflict::Taken(first.kind, id(4)));
            let taking = Row { external_id: Some("key".into()), ..next(&make(2)) };
            assert!(matches!(update(&*store, &make(2), &taking).await, Err(StoreError::Conflict(_))));
            assert_eq!(get(&*store, &make(2)).await, Some(make(2)));
            // A deleted record does not hold its key.
            insert(&*store, [Row { hidden: Hidden::Deleted, ..keyed(5) }]).await;
            assert_eq!(store.by_external_id(ORG, first.kind, "key").await.expect("a read"), Some(first.clone()));
            let hidden = Row { hidden: Hidden::Deleted, ..next(&first) };
            update(&*store, &first, &hidden).await.expect("it is fresh");
            assert_eq!(store.by_external_id(ORG, first.kind, "key").await.expect("a read"), None);
            insert(&*store, [keyed(6)]).await;
            // The one that hid cannot come back with its key now.
            let back = Row { hidden: Hidden::No, ..next(&hidden) };
            assert!(matches!(update(&*store, &hidden, &back).await, Err(StoreError::Conflict(_))));
            let found = store.by_external_id(ORG, first.kind, "key").await.expect("a read").expect("it is there");
            assert_eq!(found.id, id(6));
            // Records without a key are not in each other's way, nor is another org.
            let mut changes = Changes::new(OTHER);
            changes.insert(keyed(1));
            store.apply(changes).await.expect("another org's key");
        }
    }

    pub(super) async fn an_external_id_moves_within_one_change(test: TestStore) {
        let store = test.store();
        let first = Row { external_id: Some("key".into()), ..conversation(1, 1, 1) };
        insert(&*store, [first.clone()]).await;
        let mut changes = inserting([Row { external_id: Some("key".into()), ..conversation(2, 1, 2) }]);
        changes.update(first.clone(), Row { external_id: None, ..next(&first) });
        store.apply(changes).await.expect("what gives the key up comes first");
        let found = store.by_external_id(ORG, Kind::Conversation, "key").await.expect("a read").expect("it is there");
        assert_eq!(found.id, id(2));
    }

    pub(super) async fn a_name_has_one_holder(test: TestStore) {
        let store = test.store();
        let claim = |space, value: &str, owner| {
            let mut changes = Changes::new(ORG);
            changes.claim(space, value.to_owned(), id(owner));
            changes
        };
        let email = Space::CustomerEmail;
        store.apply(claim(email, "jane@example.com", 1)).await.expect("the name is free");
        let conflict = Conflict::Name(email, "jane@example.com".into());
        assert_conflict(store.apply(claim(email, "jane@example.com", 2)).await, &conflict);
        store.apply(claim(Space::UserEmail, "jane@example.com", 2)).await.expect("another space");
        store.apply(claim(email, "Jane@example.com", 2)).await.expect("names are compared as they are");
        let mut elsewhere = claim(email, "jane@example.com", 3);
        elsewhere.org = OTHER;
        store.apply(elsewhere).await.expect("another org");
        // Only its holder gives a name back.
        let mut changes = Changes::new(ORG);
        changes.release(email, "jane@example.com".into(), id(2));
        store.apply(changes).await.expect("a change");
        let names = [
            (email, "nobody".to_owned()),
            (email, "jane@example.com".into()),
            (Space::UserEmail, "jane@example.com".into()),
        ];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [None, Some(id(1)), Some(id(2))]);
        let mut changes = Changes::new(ORG);
        changes.release(email, "jane@example.com".into(), id(1));
        store.apply(changes).await.expect("a change");
        assert_eq!(store.holders(ORG, &names[1..2]).await.expect("a read"), [None]);
        // All names of an owner at once.
        let mut changes = Changes::new(ORG);
        changes.releases.push((id(2), None));
        store.apply(changes).await.expect("a change");
        let names = [(email, "Jane@example.com".to_owned()), (Space::UserEmail, "jane@example.com".into())];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [None, None]);
        assert_eq!(store.holders(OTHER, &[(email, "jane@example.com".into())]).await.expect("a read"), [Some(id(3))]);
    }

    pub(super) async fn names_can_change_hands_within_one_change(test: TestStore) {
        let store = test.store();
        let mut changes = Changes::new(ORG);
        changes.claim(Space::CustomerPhone, "+1".into(), id(1));
        changes.claim(Space::CustomerPhone, "+2".into(), id(2));
        store.apply(changes).await.expect("the names are free");
        let mut changes = Changes::new(ORG);
        changes.claim(Space::CustomerPhone, "+1".into(), id(2));
        changes.claim(Space::CustomerPhone, "+2".into(), id(1));
        changes.release(Space::CustomerPhone, "+1".into(), id(1));
        changes.releases.push((id(2), None));
        store.apply(changes).await.expect("names are given back before they are taken");
        let names = [(Space::CustomerPhone, "+1".into()), (Space::CustomerPhone, "+2".into())];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [Some(id(2)), Some(id(1))]);
        // A change that takes a name twice is refused as a whole.
        let mut changes = inserting([record(Kind::Tag, id(9), 1)]);
        changes.claim(Space::TagName, "blue".into(), id(9));
        changes.claim(Space::TagName, "blue".into(), id(9));
        assert_conflict(store.apply(changes).await, &Conflict::Name(Space::TagName, "blue".into()));
        assert_eq!(store.get(ORG, Kind::Tag, id(9)).await.expect("a read"), None);
    }

    pub(super) async fn a_conversation_moves_between_customers(test: TestStore) {
        let store = test.store();
        let row = Row {
            external_id: Some("key".into()),
            wake_at: Some(at(5)),
            state: Some("{}".into()),
            ..conversation(1, 10, 1)
        };
        insert(&*store, [row.clone(), conversation(2, 10, 2), conversation(3, 11, 3)]).await;
        let moved = Row { customer: Some(CustomerId(id(11))), ..next(&row) };
        update(&*store, &row, &moved).await.expect("it is fresh");
        assert_eq!(get(&*store, &row).await, Some(moved.clone()));
        assert_eq!(store.by_external_id(ORG, Kind::Conversation, "key").await.expect("a read"), Some(moved.clone()));
        let all = [moved.clone(), conversation(2, 10, 2), conversation(3, 11, 3)];
        for customer in [10, 11] {
            let list = List::of(Kind::Conversation, Scope::Customer(CustomerId(id(customer))));
            let order = Order { field: Field::CreatedAt, descending: true };
            check_window(&*store, ORG, &all, &list, &Window { order, start: Start::Offset(0), limit: 10 }).await;
        }
        // From where it was, it cannot be changed any more.
        assert_conflict(update(&*store, &row, &moved).await, &Conflict::Stale(Kind::Conversation, id(1)));
        let lost = Row { customer: Some(CustomerId(id(12))), ..moved.clone() };
        assert_conflict(update(&*store, &row, &lost).await, &Conflict::Stale(Kind::Conversation, id(1)));
        assert_eq!(get(&*store, &row).await, Some(moved));
    }

    pub(super) async fn a_message_moves_between_conversations(test: TestStore) {
        let store = test.store();
        for kind in [Kind::Message, Kind::Note] {
            let row = Row { external_id: Some("key".into()), ..entry(kind, 1, 20, 10, 1) };
            insert(&*store, [row.clone()]).await;
            let moved =
                Row { conversation: Some(id(21)), customer: Some(CustomerId(id(11))), created_at: at(0), ..next(&row) };
            update(&*store, &row, &moved).await.expect("it is fresh");
            assert_eq!(get(&*store, &row).await, Some(moved.clone()));
            for (scope, count) in [
                (Scope::Conversation(ConversationId(id(20))), 0),
                (Scope::Conversation(ConversationId(id(21))), 1),
                (Scope::Customer(CustomerId(id(10))), 0),
                (Scope::Customer(CustomerId(id(11))), 1),
            ] {
                assert_eq!(store.count(ORG, &List::of(kind, scope)).await.expect("a count"), count);
            }
            assert_conflict(update(&*store, &row, &moved).await, &Conflict::Stale(kind, id(1)));
        }
    }

    /// Rows of every kind and two customers, many at the same instants, some hidden.
    fn crowd() -> Vec<Row> {
        let hidden = |n: u64| match n % 7 {
            3 => Hidden::Deleted,
            5 => Hidden::WithConversation,
            6 => Hidden::WithCustomer,
            _ => Hidden::No,
        };
        let mut rows = Vec::new();
        for n in 0..24u64 {
            let mixed = n * 7 % 24;
            let vary = |row: Row| Row { hidden: hidden(n), updated_at: at(200 + (n * 5 % 9) as i64), ..row };
            let created = (mixed / 3) as i64;
            rows.push(vary(record(Kind::Customer, id(n), created)));
            rows.push(vary(conversation(100 + n, n % 2, created)));
            rows.push(vary(entry(Kind::Message, 200 + n, 100 + n % 4, n % 2, created)));
            rows.push(vary(entry(Kind::Note, 300 + n, 100 + n % 4, n % 2, created)));
            rows.push(vary(Row {
                label: Some(if n % 3 == 0 { "machine" } else { "user" }.into()),
                ..record(Kind::User, id(n), created)
            }));
            rows.push(vary(record(Kind::Tag, id(n), created)));
        }
        rows
    }

    pub(super) async fn every_window_is_what_sorting_gives(test: TestStore) {
        let store = test.store();
        let rows = crowd();
        insert(&*store, rows.clone()).await;
        // Another org's rows with the same ids are never met.
        let mut changes = Changes::new(OTHER);
        rows.iter().for_each(|row| changes.insert(Row { doc: "another org's".into(), ..row.clone() }));
        store.apply(changes).await.expect("another org");

        let (customer, of) = (Scope::Customer(CustomerId(id(1))), Scope::Conversation(ConversationId(id(101))));
        let lists = [
            (Kind::Customer, Scope::Org),
            (Kind::Conversation, Scope::Org),
            (Kind::Conversation, customer),
            (Kind::Message, Scope::Org),
            (Kind::Message, customer),
            (Kind::Message, of),
            (Kind::Note, Scope::Org),
            (Kind::Note, customer),
            (Kind::Note, of),
            (Kind::User, Scope::Org),
            (Kind::Tag, Scope::Org),
        ];
        let filters = |kind| {
            let mut filters = vec![
                vec![],
                vec![Filter::From(Field::CreatedAt, at(3))],
                vec![Filter::After(Field::CreatedAt, at(3)), Filter::UpTo(Field::UpdatedAt, at(206))],
                vec![Filter::Before(Field::CreatedAt, at(5)), Filter::From(Field::UpdatedAt, at(202))],
                vec![Filter::UpTo(Field::CreatedAt, at(4)), Filter::After(Field::UpdatedAt, at(201))],
                vec![Filter::Before(Field::UpdatedAt, at(205))],
                vec![Filter::Deleted],
                vec![Filter::Deleted, Filter::From(Field::CreatedAt, at(2))],
            ];
            if kind == Kind::User {
                filters.push(vec![Filter::Label("machine".into())]);
                filters.push(vec![Filter::Deleted, Filter::Label("user".into())]);
            }
            filters
        };
        for (kind, scope) in lists {
            for filters in filters(kind) {
                let list = List { kind, scope, filters };
                let mut count = None;
                for (field, descending) in [
                    (Field::CreatedAt, true),
                    (Field::CreatedAt, false),
                    (Field::UpdatedAt, true),
                    (Field::UpdatedAt, false),
                ] {
                    let order = Order { field, descending };
                    let whole = Window { order, start: Start::Offset(0), limit: 1_000 };
                    let all = check_window(&*store, ORG, &rows, &list, &whole).await;
                    count = Some(all.len() as u64);
                    for (offset, limit) in [(0, 3), (2, 3), (7, 100), (1_001, 5)] {
                        let window = Window { order, start: Start::Offset(offset), limit };
                        check_window(&*store, ORG, &rows, &list, &window).await;
                    }
                    let instant = |row: &Row| if field == Field::CreatedAt { row.created_at } else { row.updated_at };
                    let mut positions: Vec<_> =
                        all.iter().step_by(4).map(|row| Position { at: instant(row), id: row.id }).collect();
                    // A position whose row is gone is as good.
                    positions.push(Position { at: at(4), id: id(u64::MAX) });
                    for position in positions {
                        for (start, limit) in
                            [(Start::After(position), 3), (Start::Before(position), 2), (Start::Before(position), 50)]
                        {
                            check_window(&*store, ORG, &rows, &list, &Window { order, start, limit }).await;
                        }
                    }
                }
                assert_eq!(Some(store.count(ORG, &list).await.expect("a count")), count, "{list:?}");
            }
        }
    }

    pub(super) async fn a_far_page_is_empty(test: TestStore) {
        let store = test.store();
        insert(&*store, [conversation(1, 1, 1)]).await;
        for (kind, scope) in
            [(Kind::Conversation, Scope::Customer(CustomerId(id(1)))), (Kind::Conversation, Scope::Org)]
        {
            for offset in [1, 1_000_000, i64::MAX as u64, u64::MAX] {
                let order = Order { field: Field::CreatedAt, descending: true };
                let window = Window { order, start: Start::Offset(offset), limit: 100 };
                let page = store.page(ORG, &List::of(kind, scope), &window, Vec::new()).await.expect("a page");
                assert_eq!((page.buffer, page.count, page.first, page.last, page.more), (vec![], 0, None, None, false));
            }
        }
    }

    pub(super) async fn hiding_a_customer_hides_what_belongs_to_it(test: TestStore) {
        let store = test.store();
        let mine = Row { wake_at: Some(at(5)), external_id: Some("key".into()), ..conversation(1, 10, 1) };
        let deleted = Row { hidden: Hidden::Deleted, ..conversation(2, 10, 1) };
        let other = Row { wake_at: Some(at(6)), ..conversation(3, 11, 1) };
        let message = entry(Kind::Message, 4, 1, 10, 1);
        let gone = Row { hidden: Hidden::WithConversation, ..entry(Kind::Note, 5, 2, 10, 1) };
        let note = entry(Kind::Note, 6, 1, 10, 1);
        insert(&*store, [mine.clone(), deleted.clone(), other.clone(), message.clone(), gone.clone(), note.clone()])
            .await;
        let mut changes = Changes::new(ORG);
        changes.hide_customer = Some(CustomerId(id(10)));
        store.apply(changes).await.expect("a change");

        let hidden = Row { hidden: Hidden::WithCustomer, wake_at: None, ..mine.clone() };
        assert_eq!(get(&*store, &mine).await, Some(hidden));
        for row in [&message, &note] {
            assert_eq!(get(&*store, row).await, Some(Row { hidden: Hidden::WithCustomer, ..row.clone() }));
        }
        for row in [&deleted, &gone, &other] {
            assert_eq!(get(&*store, row).await.as_ref(), Some(row));
        }
        assert_eq!(store.by_external_id(ORG, Kind::Conversation, "key").await.expect("a read"), None);
        assert_eq!(
            store
                .count(ORG, &List::of(Kind::Conversation, Scope::Customer(CustomerId(id(10)))))
                .await
                .expect("a count"),
            0
        );
        assert_eq!(store.count(ORG, &List::of(Kind::Conversation, Scope::Org)).await.expect("a count"), 1);
        assert_eq!(store.due(at(100), 10).await.expect("a read"), [(ORG, id(3))]);
    }

    pub(super) async fn hiding_a_conversation_can_be_undone(test: TestStore) {
        let store = test.store();
        let message = Row { external_id: Some("key".into()), ..entry(Kind::Message, 1, 20, 10, 1) };
        let note = entry(Kind::Note, 2, 20, 10, 1);
        let deleted = Row { hidden: Hidden::Deleted, ..entry(Kind::Note, 3, 20, 10, 1) };
        let other = entry(Kind::Message, 4, 21, 10, 1);
        insert(&*store, [message.clone(), note.clone(), deleted.clone(), other.clone()]).await;
        let hide = |shows| {
            let mut changes = Changes::new(ORG);
            changes.hide_conversation = Some((id(20), shows));
            changes
        };
        store.apply(hide(false)).await.expect("a change");
        for row in [&message, &note] {
            assert_eq!(get(&*store, row).await, Some(Row { hidden: Hidden::WithConversation, ..row.clone() }));
        }
        assert_eq!(store.by_external_id(ORG, Kind::Message, "key").await.expect("a read"), None);
        for row in [&deleted, &other] {
            assert_eq!(get(&*store, row).await.as_ref(), Some(row));
        }
        store.apply(hide(true)).await.expect("a change");
        for row in [&message, &note, &deleted, &other] {
            assert_eq!(get(&*store, row).await.as_ref(), Some(row));
        }
    }

    pub(super) async fn showing_again_meets_an_external_id_taken_meanwhile(test: TestStore) {
        let store = test.store();
        let hidden = Row {
            hidden: Hidden::WithConversation,
            external_id: Some("key".into()),
            ..entry(Kind::Message, 1, 20, 10, 1)
        };
        let holder = Row { external_id: Some("key".into()), ..entry(Kind::Message, 2, 21, 10, 1) };
        insert(&*store, [hidden.clone(), holder]).await;
        let mut changes = Changes::new(ORG);
        changes.hide_conversation = Some((id(20), true));
        assert_conflict(store.apply(changes).await, &Conflict::Taken(Kind::Conversation, id(20)));
        assert_eq!(get(&*store, &hidden).await, Some(hidden));
    }

    pub(super) async fn a_tally_is_the_sum_of_its_slots(test: TestStore) {
        let store = test.store();
        for n in 0..40 {
            let mut changes = Changes::new(ORG);
            changes.tally("customers", id(n), 2);
            changes.tally("customers", id(n), 1);
            changes.tally("other", id(n), 1);
            store.apply(changes).await.expect("a change");
        }
        let mut changes = Changes::new(ORG);
        changes.tally("customers", id(3), -20);
        store.apply(changes).await.expect("one slot may go below zero");
        assert_eq!(store.tally(ORG, "customers").await.expect("a read"), 100);
        assert_eq!(store.tally(ORG, "other").await.expect("a read"), 40);
        assert_eq!(store.tally(ORG, "unknown").await.expect("a read"), 0);
        assert_eq!(store.tally(OTHER, "customers").await.expect("a read"), 0);
    }

    pub(super) async fn due_conversations_come_oldest_first(test: TestStore) {
        let store = test.store();
        let waking = |n, wake: Option<i64>| Row { wake_at: wake.map(at), ..conversation(n, 1, n as i64) };
        insert(
            &*store,
            [waking(1, Some(30)), waking(2, Some(10)), waking(3, None), waking(4, Some(20)), waking(5, Some(21))],
        )
        .await;
        let mut changes = Changes::new(OTHER);
        changes.insert(waking(9, Some(15)));
        store.apply(changes).await.expect("another org");
        assert_eq!(store.due(at(9), 10).await.expect("a read"), []);
        assert_eq!(store.due(at(20), 10).await.expect("a read"), [(ORG, id(2)), (OTHER, id(9)), (ORG, id(4))]);
        assert_eq!(store.due(at(99), 2).await.expect("a read"), [(ORG, id(2)), (OTHER, id(9))]);
        let was = waking(2, Some(10));
        update(&*store, &was, &Row { wake_at: None, ..next(&was) }).await.expect("it is fresh");
        assert_eq!(store.due(at(20), 10).await.expect("a read"), [(OTHER, id(9)), (ORG, id(4))]);
    }

    pub(super) async fn a_credential_is_found_by_its_hash_until_revoked(test: TestStore) {
        let store = test.store();
        let full = NewCredential { cidr: Some("203.0.113.0/24".into()), expires_at: Some(at(50)), ..credential(1, 1) };
        let mut changes = Changes::new(ORG);
        changes.credentials = vec![full.clone(), credential(2, 2)];
        store.apply(changes).await.expect("a change");
        let found = store.credential([1; 32]).await.expect("a read").expect("it is there");
        assert_eq!((found.org, found.token, found.user), (ORG, TokenId(id(1)), UserId(id(1_001))));
        assert_eq!(
            (found.roles.as_str(), found.cidr, found.expires_at),
            ("org.user org.admin", full.cidr, full.expires_at)
        );
        let found = store.credential([2; 32]).await.expect("a read").expect("it is there");
        assert_eq!((found.cidr, found.expires_at), (None, None));
        assert_eq!(store.credential([3; 32]).await.expect("a read"), None);
        // Another org cannot revoke it.
        let mut changes = Changes::new(OTHER);
        changes.revoked.push(TokenId(id(1)));
        store.apply(changes).await.expect("a change");
        assert!(store.credential([1; 32]).await.expect("a read").is_some());
        let mut changes = Changes::new(ORG);
        changes.revoked.push(TokenId(id(1)));
        store.apply(changes).await.expect("a change");
        assert_eq!(store.credential([1; 32]).await.expect("a read"), None);
        assert!(store.credential([2; 32]).await.expect("a read").is_some());
    }

    pub(super) async fn orgs_are_listed_by_name(test: TestStore) {
        let store = test.store();
        let org = |n, name: &str| {
            let org = Org { id: OrgId(id(n)), name: name.into(), created_at: at(n as i64) };
            let mut changes = Changes::new(org.id);
            changes.new_org = Some(org);
            changes
        };
        for (n, name) in [(1, "beta"), (2, "gamma"), (3, "alpha")] {
            store.apply(org(n, name)).await.expect("the org is new");
        }
        assert_conflict(store.apply(org(4, "beta")).await, &Conflict::Taken(Kind::Org, id(4)));
        assert_conflict(store.apply(org(1, "delta")).await, &Conflict::Taken(Kind::Org, id(1)));
        let names: Vec<String> = store.orgs().await.expect("a read").into_iter().map(|org| org.name).collect();
        assert_eq!(names, ["alpha", "beta", "gamma"]);
        let beta = store.org_named("beta").await.expect("a read").expect("it is there");
        assert_eq!(beta, Org { id: OrgId(id(1)), name: "beta".into(), created_at: at(1) });
        assert_eq!(store.org_named("delta").await.expect("a read"), None);
    }

    pub(super) async fn teams_of_users(test: TestStore) {
        let store = test.store();
        let mut changes = Changes::new(ORG);
        for (user, team) in [(1, 12), (1, 11), (2, 11), (1, 11)] {
            changes.memberships.push(Membership { user: UserId(id(user)), team: TeamId(id(team)) });
        }
        store.apply(changes).await.expect("a place taken twice is one place");
        let users = [UserId(id(2)), UserId(id(3)), UserId(id(1))];
        let teams = store.teams_of(ORG, &users).await.expect("a read");
        assert_eq!(teams, [vec![TeamId(id(11))], vec![], vec![TeamId(id(11)), TeamId(id(12))]]);
    }

    pub(super) async fn one_org_does_not_see_another(test: TestStore) {
        let store = test.store();
        let row = conversation(1, 1, 1);
        insert(&*store, [row.clone()]).await;
        assert_eq!(store.get(OTHER, row.kind, row.id).await.expect("a read"), None);
        assert!(store.get_many(OTHER, row.kind, &[row.id]).await.expect("a read").is_empty());
        let mut changes = Changes::new(OTHER);
        changes.update(row.clone(), next(&row));
        assert_conflict(store.apply(changes).await, &Conflict::Stale(row.kind, row.id));
        let mut changes = Changes::new(OTHER);
        changes.insert(Row { doc: "another".into(), ..row.clone() });
        changes.hide_customer = Some(CustomerId(id(1)));
        store.apply(changes).await.expect("the id is free there");
        assert_eq!(get(&*store, &row).await, Some(row.clone()));
    }

    pub(super) async fn event_numbers_rise_within_an_org(test: TestStore) {
        let store = test.store();
        let bare = Event {
            verb: "create",
            kind: Kind::Customer,
            customer: None,
            actor: Some(UserId(id(3))),
            changes: None,
            ..event(0)
        };
        for n in 0..6u64 {
            let mut changes = Changes::new(if n % 2 == 0 { ORG } else { OTHER });
            changes.events = vec![
                Event { object: id(n), ..bare.clone() },
                event(100 + n),
                Event { verb: "delete", ..event(200 + n) },
            ];
            store.apply(changes).await.expect("a change");
        }
        for (org, first) in [(ORG, 0), (OTHER, 1)] {
            let found = events(&*store, org, 9).await;
            let numbers: Vec<i64> = found.iter().map(|(number, _)| *number).collect();
            assert!(numbers[0] > 0 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            let objects: Vec<Id> = found.iter().map(|(_, event)| event.object).collect();
            let expected = (0..3).map(|n| first + 2 * n).flat_map(|n| [id(n), id(100 + n), id(200 + n)]);
            assert_eq!(objects, expected.collect::<Vec<_>>());
            assert_eq!(found[0].1, Event { object: id(first), ..bare.clone() });
            assert_eq!(found[1].1, event(100 + first));
            assert_eq!(found[1].1.name(), "kustomer.conversation.update");
            // Reading on after each number gives what follows it, as much as asked.
            for (n, (number, _)) in found.iter().enumerate() {
                assert_eq!(store.events(org, *number, 100).await.expect("a read"), found[n + 1..]);
                assert_eq!(store.events(org, *number, 1).await.expect("a read"), found[n + 1..found.len().min(n + 2)]);
            }
        }
    }

    pub(super) async fn a_refused_change_leaves_no_event(test: TestStore) {
        let store = test.store();
        let row = conversation(1, 1, 1);
        insert(&*store, [row.clone()]).await;
        for n in 0..3 {
            let mut changes = inserting([row.clone()]);
            changes.events.push(event(n));
            assert_conflict(store.apply(changes).await, &Conflict::Taken(row.kind, row.id));
        }
        let mut changes = Changes::new(ORG);
        changes.events.push(event(9));
        store.apply(changes).await.expect("a change");
        assert_eq!(events(&*store, ORG, 1).await[0].1, event(9));
    }

    pub(super) async fn a_refused_change_beside_others_is_refused_alone(test: TestStore) {
        let store = test.store();
        let shared = conversation(1, 1, 1);
        insert(&*store, [shared.clone()]).await;
        let tasks: Vec<_> = (0..60u64)
            .map(|n| {
                let (store, shared) = (Arc::clone(&store), shared.clone());
                tokio::spawn(async move {
                    let mut changes = inserting([conversation(100 + n, 1, n as i64)]);
                    if n % 5 == 0 {
                        // Comes after the insert, so there is something to take back.
                        changes.insert(shared);
                    }
                    changes.tally("conversations", id(n), 1);
                    changes.events.push(event(n));
                    store.apply(changes).await
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            let result = task.await.expect("the task ends");
            if n % 5 == 0 {
                assert_conflict(result, &Conflict::Taken(shared.kind, shared.id));
            } else {
                result.expect("it is not in the way of others");
            }
        }
        for n in 0..60 {
            let found = store.get(ORG, Kind::Conversation, id(100 + n)).await.expect("a read");
            assert_eq!(found.is_some(), n % 5 != 0);
        }
        assert_eq!(store.tally(ORG, "conversations").await.expect("a read"), 48);
        events(&*store, ORG, 48).await;
    }

    pub(super) async fn many_changes_at_once_all_land(test: TestStore) {
        let store = test.store();
        let tasks: Vec<_> = (0..200u64)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut changes =
                        inserting([conversation(n, n % 9, n as i64), entry(Kind::Message, n, n, n % 9, n as i64)]);
                    changes.tally("conversations", id(n), 1);
                    changes.events = vec![event(n), event(1_000 + n)];
                    store.apply(changes).await
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends").expect("nothing is in its way");
        }
        assert_eq!(store.tally(ORG, "conversations").await.expect("a read"), 200);
        assert_eq!(store.count(ORG, &List::of(Kind::Conversation, Scope::Org)).await.expect("a count"), 200);
        assert_eq!(store.count(ORG, &List::of(Kind::Message, Scope::Org)).await.expect("a count"), 200);
        let found = events(&*store, ORG, 400).await;
        let numbers: BTreeSet<i64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), 400);
        let objects: BTreeSet<Id> = found.iter().map(|(_, event)| event.object).collect();
        assert_eq!(objects.len(), 400);
    }

    pub(super) async fn writers_of_one_row_win_one_after_another(test: TestStore) {
        let store = test.store();
        let row = record(Kind::Customer, id(1), 1);
        insert(&*store, [row.clone()]).await;
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (store, row) = (Arc::clone(&store), row.clone());
                tokio::spawn(async move {
                    let mut done = 0;
                    while done < 10 {
                        let was = get(&*store, &row).await.expect("it is there");
                        let mut changes = Changes::new(ORG);
                        changes.update(was.clone(), next(&was));
                        changes.tally("updates", id(1), 1);
                        match store.apply(changes).await {
                            Ok(()) => done += 1,
                            Err(StoreError::Conflict(Conflict::Stale(..) | Conflict::Busy)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
        assert_eq!(get(&*store, &row).await.expect("it is there").rev, 81);
        assert_eq!(store.tally(ORG, "updates").await.expect("a read"), 80);
    }

    pub(super) async fn a_reader_that_follows_the_events_misses_none(test: TestStore) {
        const WRITERS: u64 = 8;
        const EACH: u64 = 60;
        let store = test.store();
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0..EACH {
                        let number = writer * EACH + n;
                        // Changes of very different length, so that they overtake each other.
                        let rows = if n % 3 == 0 { 60 } else { 1 };
                        let rows = (0..rows).map(|row| entry(Kind::Message, number * 100 + row, number, 1, 1));
                        let mut changes = inserting(rows);
                        changes.events = vec![event(number)];
                        store.apply(changes).await.expect("nothing is in its way");
                    }
                })
            })
            .collect();
        let reader = {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut seen, mut last, mut idle) = (BTreeSet::new(), 0, 0);
                while seen.len() < (WRITERS * EACH) as usize && idle < 3_000 {
                    let found = store.events(ORG, last, 50).await.expect("a read");
                    if found.is_empty() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        // After the last write, what is held back by other tests' transactions is waited for.
                        if done.load(Atomic::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(9)).await;
                            idle += 1;
                            let all = store.events(ORG, 0, 100_000).await.expect("a read").len();
                            if all == (WRITERS * EACH) as usize {
                                let rest = store.events(ORG, last, 100_000).await.expect("a read");
                                seen.extend(rest.into_iter().map(|(_, event)| event.object));
                                break;
                            }
                        }
                    }
                    for (number, event) in found {
                        assert!(number > last);
                        last = number;
                        assert!(seen.insert(event.object), "an event came twice");
                    }
                }
                seen
            })
        };
        for writer in writers {
            writer.await.expect("the task ends");
        }
        done.store(true, Atomic::SeqCst);
        let seen = reader.await.expect("the task ends");
        let missed: Vec<u64> = (0..WRITERS * EACH).filter(|n| !seen.contains(&id(*n))).collect();
        assert!(missed.is_empty(), "missed {missed:?}");
    }

    pub(super) async fn a_second_store_sees_committed_writes(test: TestStore) {
        let store = test.store();
        let second = test.reopened().await;
        let row = conversation(1, 1, 1);
        insert(&*store, [row.clone()]).await;
        assert_eq!(get(&*second, &row).await, Some(row.clone()));
        let now = next(&row);
        update(&*second, &row, &now).await.expect("it is fresh");
        assert_eq!(get(&*store, &row).await, Some(now.clone()));
        assert_conflict(update(&*store, &row, &now).await, &Conflict::Stale(row.kind, row.id));
        // Both write at once; neither is refused.
        let both: Vec<_> = (10..50u64)
            .map(|n| {
                let store = Arc::clone(if n % 2 == 0 { &store } else { &second });
                tokio::spawn(async move {
                    let mut changes = inserting([conversation(n, 1, n as i64)]);
                    changes.events.push(event(n));
                    store.apply(changes).await
                })
            })
            .collect();
        for task in both {
            task.await.expect("the task ends").expect("nothing is in its way");
        }
        let list = List::of(Kind::Conversation, Scope::Customer(CustomerId(id(1))));
        for store in [&store, &second] {
            assert_eq!(store.count(ORG, &list).await.expect("a count"), 41);
            assert_eq!(events(&**store, ORG, 40).await.len(), 40);
        }
    }

    pub(super) async fn any_text_survives(test: TestStore) {
        let store = test.store();
        let long = "päge ".repeat(40_000);
        let texts =
            ["", " ", "'", "\"; DROP TABLE org; --", "🦀 ünïcode \u{202e}", "a\nb\tc\r\\", "%_", "$1 ?1 :a", &long];
        for (n, text) in texts.into_iter().enumerate() {
            let n = n as u64;
            let row = Row {
                external_id: (n > 0).then(|| format!("{n}{text}").chars().take(256).collect()),
                doc: text.to_owned(),
                state: Some(text.to_owned()),
                ..conversation(n, 1, n as i64)
            };
            let mut changes = inserting([row.clone()]);
            changes.claim(Space::TagName, format!("{n}{text}").chars().take(256).collect(), row.id);
            store.apply(changes).await.expect("a change");
            assert_eq!(get(&*store, &row).await, Some(row.clone()));
            if let Some(key) = &row.external_id {
                assert_eq!(store.by_external_id(ORG, row.kind, key).await.expect("a read"), Some(row.clone()));
                assert_eq!(store.holders(ORG, &[(Space::TagName, key.clone())]).await.expect("a read"), [Some(row.id)]);
            }
        }
    }

    pub(super) async fn nothing_to_do_is_done(test: TestStore) {
        let store = test.store();
        store.apply(Changes::new(ORG)).await.expect("nothing fails");
        // What is not there can be given back and revoked.
        let mut changes = Changes::new(ORG);
        changes.release(Space::TagName, "none".into(), id(1));
        changes.releases.push((id(1), None));
        changes.revoked.push(TokenId(id(1)));
        changes.hide_customer = Some(CustomerId(id(1)));
        changes.hide_conversation = Some((id(1), true));
        store.apply(changes).await.expect("nothing fails");
    }
}

fn credential(hash: u8, token: u64) -> NewCredential {
    NewCredential {
        hash: [hash; 32],
        token: TokenId(id(token)),
        user: UserId(id(1_000 + token)),
        roles: "org.user org.admin".into(),
        cidr: None,
        expires_at: None,
    }
}

/// A list of one customer's conversations as chance makes it, and how it is walked.
#[derive(Clone, Debug)]
struct Walk {
    rows: Vec<(i64, i64, u64, bool)>,
    order: (bool, bool),
    limit: u32,
    from: Option<i64>,
}

fn walks() -> impl Strategy<Value = Walk> {
    let row = (0..6i64, 0..6i64, 0..1_000u64, prop::bool::weighted(0.2));
    (prop::collection::vec(row, 0..40), any::<(bool, bool)>(), 1..9u32, prop::option::of(0..6i64))
        .prop_map(|(rows, order, limit, from)| Walk { rows, order, limit, from })
}

/// Walks the list forwards, backwards and by number; each walk meets every row once, in order.
async fn check_walk(store: &dyn Store, org: OrgId, walk: &Walk) {
    let mut rows: Vec<Row> = Vec::new();
    for (created, updated, n, hidden) in &walk.rows {
        let hidden = if *hidden { Hidden::Deleted } else { Hidden::No };
        if rows.iter().all(|row| row.id != id(*n)) {
            rows.push(Row { updated_at: at(*updated), hidden, ..conversation(*n, 1, *created) });
        }
    }
    let mut changes = Changes::new(org);
    rows.iter().for_each(|row| changes.insert(row.clone()));
    store.apply(changes).await.expect("the rows are new");

    let field = if walk.order.0 { Field::CreatedAt } else { Field::UpdatedAt };
    let order = Order { field, descending: walk.order.1 };
    for scope in [Scope::Org, Scope::Customer(CustomerId(id(1)))] {
        let mut list = List::of(Kind::Conversation, scope);
        if let Some(from) = walk.from {
            list = list.with(Filter::From(Field::UpdatedAt, at(from)));
        }
        let (all, _) = sorted(&rows, &list, &Window { order, start: Start::Offset(0), limit: 1_000 });
        let position =
            |row: &Row| Position { at: if walk.order.0 { row.created_at } else { row.updated_at }, id: row.id };
        let read =
            async |start| check_window(store, org, &rows, &list, &Window { order, start, limit: walk.limit }).await;

        let (mut forwards, mut start) = (Vec::new(), Start::Offset(0));
        loop {
            let page = read(start).await;
            let Some(last) = page.last().map(position) else { break };
            start = Start::After(last);
            forwards.extend(page);
        }
        assert_eq!(forwards, all);

        let mut backwards: Vec<Row> = all.last().cloned().into_iter().collect();
        while let Some(first) = backwards.first().map(position) {
            let page = read(Start::Before(first)).await;
            if page.is_empty() {
                break;
            }
            backwards.splice(0..0, page);
        }
        assert_eq!(backwards, all);

        let mut numbered = Vec::new();
        for page in 0..=all.len() as u64 / u64::from(walk.limit) {
            numbered.extend(read(Start::Offset(page * u64::from(walk.limit))).await);
        }
        assert_eq!(numbered, all);
    }
}

#[test]
fn walks_of_any_list_meet_every_row_once() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let test = runtime.block_on(TestStore::new(Backend::Sqlite));
    let store = test.store();
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let org = std::cell::Cell::new(1_000_000u64);
    let result = runner.run(&walks(), |walk| {
        org.set(org.get() + 1);
        runtime.block_on(check_walk(&*store, OrgId(id(org.get())), &walk));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walks_of_some_lists_meet_every_row_once_on_postgres() {
    let test = TestStore::new(Backend::Postgres).await;
    for (n, order) in [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate() {
        let n = n as i64;
        let rows = (0..33).map(|row| (row * 5 % 6, (row + n) * 3 % 5, 1_000 - row as u64, row % 6 == n)).collect();
        let walk = Walk { rows, order, limit: 4 + n as u32, from: (n % 2 == 1).then_some(2) };
        check_walk(&*test.store(), OrgId(id(2_000_000 + n as u64)), &walk).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_holds_events_back_while_an_older_transaction_runs() {
    let test = TestStore::new(Backend::Postgres).await;
    let store = test.store();
    let apply = async |n| {
        let mut changes = inserting([conversation(n, 1, n as i64)]);
        changes.events.push(event(n));
        store.apply(changes).await.expect("a change");
    };
    apply(1).await;
    let before = events(&*store, ORG, 1).await;

    let (mut client, connection) =
        tokio_postgres::connect(&test.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let running = client.transaction().await.expect("a transaction");
    running.query_one("SELECT pg_current_xact_id()::text", &[]).await.expect("an id");
    apply(2).await;
    apply(3).await;
    // Their rows are there, and what happened before is told; they themselves wait.
    assert_eq!(store.count(ORG, &List::of(Kind::Conversation, Scope::Org)).await.expect("a count"), 3);
    assert_eq!(store.events(ORG, 0, 10).await.expect("a read"), before);
    assert_eq!(store.events(ORG, before[0].0, 10).await.expect("a read"), []);
    running.rollback().await.expect("it ends");
    let after = events(&*store, ORG, 3).await;
    assert_eq!(after.iter().map(|(_, event)| event.object).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
}

fn pragma(path: &std::path::Path, name: &str) -> String {
    let connection = rusqlite::Connection::open(path).expect("the file opens");
    let value: rusqlite::types::Value = connection.pragma_query_value(None, name, |row| row.get(0)).expect("a value");
    match value {
        rusqlite::types::Value::Integer(value) => value.to_string(),
        rusqlite::types::Value::Text(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sqlite_refuses_a_file_of_another_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("photos.db");
    let connection = rusqlite::Connection::open(&path).expect("the file opens");
    connection.execute_batch("CREATE TABLE photo (name TEXT); INSERT INTO photo VALUES ('cat')").expect("a table");
    drop(connection);
    let before = std::fs::read(&path).expect("the file");
    let error = Sqlite::open(&path).err().expect("it is refused").to_string();
    assert!(error.contains("another program"), "{error}");
    assert!(std::fs::read(&path).expect("the file") == before, "the refused file is untouched");

    let path = folder.path().join("notes.txt");
    std::fs::write(
        &path,
        "Not a database at all, but long enough to have a header of a hundred bytes or more. ".repeat(9),
    )
    .expect("a file");
    assert!(Sqlite::open(&path).is_err());

    let error = Sqlite::open(&folder.path().join("missing/folder/x.db")).err().expect("it is refused").to_string();
    assert!(error.contains("missing/folder/x.db"), "{error}");
}

#[test]
fn sqlite_refuses_a_file_of_a_newer_konverse() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    drop(Sqlite::open(&path).expect("it opens"));
    rusqlite::Connection::open(&path)
        .expect("the file opens")
        .pragma_update(None, "user_version", 999)
        .expect("a pragma");
    let error = Sqlite::open(&path).err().expect("it is refused").to_string();
    assert!(error.contains("999") && error.contains("newer konverse"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_refuses_a_schema_of_a_newer_konverse() {
    let test = TestStore::new(Backend::Postgres).await;
    let (client, connection) =
        tokio_postgres::connect(&test.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client.execute("INSERT INTO konverse_schema (version) VALUES (999)", &[]).await.expect("a row");
    let error = konverse_store_postgres::Postgres::open(&test.url(), 2).await.err().expect("it is refused").to_string();
    assert!(error.contains("999") && error.contains("newer konverse"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_its_data_and_leaves_no_log_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let log = folder.path().join("test.db-wal");
    let row = conversation(1, 1, 1);
    for round in 0..3 {
        let store = Sqlite::open(&path).expect("it opens");
        if round == 0 {
            insert(&store, [row.clone()]).await;
            let mut changes = Changes::new(ORG);
            changes.events.push(event(1));
            store.apply(changes).await.expect("a change");
            assert!(log.metadata().expect("a log").len() > 0);
        }
        assert_eq!(get(&store, &row).await, Some(row.clone()));
        assert_eq!(events(&store, ORG, 1).await.len(), 1);
        drop(store);
        assert_eq!(log.metadata().map_or(0, |data| data.len()), 0, "the log is gone when the store closes");
    }
    assert_eq!(pragma(&path, "page_size"), "32768");
    assert_eq!(pragma(&path, "journal_mode"), "wal");
    assert_eq!(pragma(&path, "integrity_check"), "ok");
}

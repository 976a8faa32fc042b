//! The storage contract: every test once, on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use konverse_model::mask::{MaskType, Masks};
use konverse_model::{
    ConversationId, CustomerId, Id, Instant, Kind, OrgId, Position, RENDERER, TeamId, TokenId, UserId,
};
use konverse_store::{
    Applied, CLAIM_MS, Changes, Conflict, Described, Due, Event, Field, Filter, Hidden, Hide, List, Membership,
    NewCredential, NewEvent, Op, Order, Org, Put, Records, Row, Scope, Space, Start, Store, StoreError, Surroundings,
    Trouble, Verb, Window, claim_on, event_id, lane_and_seq,
};
use konverse_store_sqlite::Sqlite;
use konverse_testkit::{Backend, TestStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

konverse_testkit::stories_on_both_engines! {
    TestStore:
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
    what_an_org_hides_comes_with_its_tokens,
    orgs_are_listed_by_name,
    teams_of_users,
    what_surrounds_a_record_is_found_with_it,
    one_org_does_not_see_another,
    events_are_numbered_without_gaps_within_a_lane,
    a_timeline_that_moved_refuses_who_saw_it_before,
    what_was_hidden_meanwhile_refuses_who_saw_it_before,
    every_row_hidden_along_is_told_of,
    the_commit_gives_each_record_its_moment,
    writers_of_two_processes_share_few_moments,
    a_text_without_a_place_for_its_moment_is_refused,
    old_events_are_forgotten_from_the_beginning,
    a_lease_has_one_holder,
    a_claimed_turn_is_its_holders,
    troubles_and_positions_are_kept,
    a_refused_change_leaves_no_event,
    a_refused_change_beside_others_is_refused_alone,
    changes_of_few_lanes_at_once_are_told_in_order_and_refused_alone,
    many_changes_at_once_all_land,
    changes_that_count_the_same_in_any_order_all_land,
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
        turn: 0,
        version: RENDERER,
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
    let turn = row.turn + i64::from(row.kind == Kind::Customer);
    Row {
        rev,
        turn,
        doc: format!(r#"{{"id":"{}","rev":{rev}}}"#, row.id),
        updated_at: row.updated_at.plus(1),
        ..row.clone()
    }
}

fn event(n: u64) -> NewEvent {
    NewEvent {
        verb: Verb::Update,
        kind: Kind::Conversation,
        object: id(n),
        customer: Some(CustomerId(id(n % 40))),
        actor: None,
        rev: 2,
        changes: Some(r#"{"attributes":{}}"#.into()),
        stamp_at: None,
    }
}

fn inserting(rows: impl IntoIterator<Item = Row>) -> Changes {
    let mut changes = Changes::new(ORG, at(0));
    rows.into_iter().for_each(|row| changes.insert(row));
    changes
}

async fn insert(store: &dyn Store, rows: impl IntoIterator<Item = Row>) {
    store.apply(inserting(rows)).await.expect("the rows are new");
}

async fn update(store: &dyn Store, was: &Row, now: &Row) -> Result<Applied, StoreError> {
    let mut changes = Changes::new(ORG, at(0));
    changes.update(was.clone(), now.clone());
    store.apply(changes).await
}

async fn get(store: &dyn Store, row: &Row) -> Option<Row> {
    store.get(ORG, row.kind, row.id).await.expect("a read")
}

#[track_caller]
fn assert_conflict(result: Result<Applied, StoreError>, expected: &Conflict) {
    match result {
        Err(StoreError::Conflict(conflict)) => assert_eq!(&conflict, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

/// All of an org's events, lane by lane, which must be so many.
async fn events(store: &dyn Store, org: OrgId, count: usize) -> Vec<Event> {
    let mut all = Vec::new();
    for head in store.heads(org).await.expect("a read") {
        let events = store.events(org, head.lane, 0, 100_000).await.expect("a read");
        let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=head.newest).collect::<Vec<_>>(), "a lane has no gaps");
        assert!(events.is_sorted_by_key(|event| event.at), "a lane's moments never go back");
        all.extend(events);
    }
    assert_eq!(all.len(), count);
    all
}

fn objects(events: &[Event]) -> BTreeSet<Id> {
    events.iter().map(|event| event.object).collect()
}

fn due<const N: usize>(pairs: [(OrgId, u64); N]) -> [Due; N] {
    pairs.map(|(org, n)| Due { org, id: id(n) })
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
        Filter::Labels(labels) => row.label.as_ref().is_some_and(|label| labels.contains(label)),
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
    assert_eq!(store.rows(org, list, window).await.expect("rows").rows, expected, "{context}");
    if !expected.is_empty() {
        // Exactly as many bytes will do, and one less will not; of full rows, one at least is read.
        let size = page.buffer.len() - "begin:".len();
        let within = |bytes| Window { bytes, ..*window };
        let page = store.page(org, list, &within(size), Vec::new()).await.expect("it fits");
        assert_eq!(page.buffer.len(), size, "{context}");
        let page = store.page(org, list, &within(size - 1), Vec::new()).await;
        assert!(matches!(page, Err(StoreError::TooLarge)), "{context}");
        let few = store.rows(org, list, &within(1)).await.expect("a row");
        assert_eq!((few.rows.len(), few.more), (1, true), "{context}");
    }
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
        assert!(store.due("snooze", at(0), 10).await.expect("a read").is_empty());
        assert_eq!(store.enter([0; 32], None).await.expect("a read"), None);
        assert!(store.orgs().await.expect("a read").is_empty());
        assert_eq!(store.org_named("acme").await.expect("a read"), None);
        assert!(store.heads(ORG).await.expect("a read").is_empty());
        assert!(store.events(ORG, 0, 0, 10).await.expect("a read").is_empty());
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
        let mut changes = Changes::new(ORG, at(0));
        changes.claim(Space::TagName, "held".into(), id(70));
        changes.ops.push(Op::Admit(credential(7, 7)));
        store.apply(changes).await.expect("nothing is taken");

        // All that a change can hold, and one stale row.
        let mut changes = inserting([record(Kind::Customer, id(50), 1), entry(Kind::Message, 51, 1, 9, 3)]);
        changes.update(first.clone(), next(&first));
        changes.update(second.clone(), Row { doc: "lost".into(), ..next(&second) });
        changes.ops.push(Op::Found(Org { id: ORG, name: "acme".into(), created_at: at(0) }));
        changes.release(Space::TagName, "held".into(), id(70));
        changes.claim(Space::TagName, "blue".into(), id(50));
        changes.tally("customers", id(50), 1);
        changes.ops.push(Op::Join(Membership { user: UserId(id(60)), team: TeamId(id(61)) }));
        changes.ops.push(Op::Admit(credential(8, 8)));
        changes.ops.push(Op::Revoke(TokenId(id(7))));
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(id(9))), None));
        changes.ops.push(Op::Hide(Hide::OfConversation(CustomerId(id(10)), id(1)), None));
        changes.ops.push(Op::Emit(event(1)));
        assert_conflict(store.apply(changes).await, &Conflict::Stale(Kind::Conversation, id(2)));

        assert_eq!(get(&*store, &first).await, Some(first));
        assert_eq!(get(&*store, &second).await, Some(fresh));
        assert_eq!(store.get(ORG, Kind::Customer, id(50)).await.expect("a read"), None);
        assert_eq!(store.get(ORG, Kind::Message, id(51)).await.expect("a read"), None);
        let names = [(Space::TagName, "held".into()), (Space::TagName, "blue".into())];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [Some(id(70)), None]);
        assert_eq!(store.tally(ORG, "customers").await.expect("a read"), 0);
        assert_eq!(store.teams_of(ORG, &[UserId(id(60))]).await.expect("a read"), [vec![]]);
        assert!(store.enter([7; 32], None).await.expect("a read").is_some());
        assert_eq!(store.enter([8; 32], None).await.expect("a read"), None);
        assert!(store.orgs().await.expect("a read").is_empty());
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Emit(event(2)));
        store.apply(changes).await.expect("a change");
        assert_eq!(events(&*store, ORG, 1).await[0].object, id(2));
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
            changes.ops.push(Op::Emit(event(3)));
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
            let mut changes = Changes::new(OTHER, at(0));
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
            let mut changes = Changes::new(ORG, at(0));
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
        let mut changes = Changes::new(ORG, at(0));
        changes.release(email, "jane@example.com".into(), id(2));
        store.apply(changes).await.expect("a change");
        let names = [
            (email, "nobody".to_owned()),
            (email, "jane@example.com".into()),
            (Space::UserEmail, "jane@example.com".into()),
        ];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [None, Some(id(1)), Some(id(2))]);
        let mut changes = Changes::new(ORG, at(0));
        changes.release(email, "jane@example.com".into(), id(1));
        store.apply(changes).await.expect("a change");
        assert_eq!(store.holders(ORG, &names[1..2]).await.expect("a read"), [None]);
        // All names of an owner at once: of the customer, not of the user who has the same id.
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::ReleaseAll(Kind::Customer, id(2)));
        store.apply(changes).await.expect("a change");
        let names = [(email, "Jane@example.com".to_owned()), (Space::UserEmail, "jane@example.com".into())];
        assert_eq!(store.holders(ORG, &names).await.expect("a read"), [None, Some(id(2))]);
        assert_eq!(store.holders(OTHER, &[(email, "jane@example.com".into())]).await.expect("a read"), [Some(id(3))]);
    }

    pub(super) async fn names_can_change_hands_within_one_change(test: TestStore) {
        let store = test.store();
        let mut changes = Changes::new(ORG, at(0));
        changes.claim(Space::CustomerPhone, "+1".into(), id(1));
        changes.claim(Space::CustomerPhone, "+2".into(), id(2));
        store.apply(changes).await.expect("the names are free");
        let mut changes = Changes::new(ORG, at(0));
        changes.claim(Space::CustomerPhone, "+1".into(), id(2));
        changes.claim(Space::CustomerPhone, "+2".into(), id(1));
        changes.release(Space::CustomerPhone, "+1".into(), id(1));
        changes.ops.push(Op::ReleaseAll(Kind::Customer, id(2)));
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
            check_window(
                &*store,
                ORG,
                &all,
                &list,
                &Window { order, start: Start::Offset(0), limit: 10, bytes: usize::MAX },
            )
            .await;
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
        let mut changes = Changes::new(OTHER, at(0));
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
                filters.push(vec![Filter::Labels(vec!["machine".into(), "user".into()])]);
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
                    let whole = Window { order, start: Start::Offset(0), limit: 1_000, bytes: usize::MAX };
                    let all = check_window(&*store, ORG, &rows, &list, &whole).await;
                    count = Some(all.len() as u64);
                    for (offset, limit) in [(0, 3), (2, 3), (7, 100), (1_001, 5)] {
                        let window = Window { order, start: Start::Offset(offset), limit, bytes: usize::MAX };
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
                            check_window(
                                &*store,
                                ORG,
                                &rows,
                                &list,
                                &Window { order, start, limit, bytes: usize::MAX },
                            )
                            .await;
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
                let window = Window { order, start: Start::Offset(offset), limit: 100, bytes: usize::MAX };
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
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(id(10))), None));
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
        assert_eq!(store.due("snooze", at(100), 10).await.expect("a read"), due([(ORG, 3)]));
    }

    pub(super) async fn hiding_a_conversation_can_be_undone(test: TestStore) {
        let store = test.store();
        let message = Row { external_id: Some("key".into()), ..entry(Kind::Message, 1, 20, 10, 1) };
        let note = entry(Kind::Note, 2, 20, 10, 1);
        let deleted = Row { hidden: Hidden::Deleted, ..entry(Kind::Note, 3, 20, 10, 1) };
        let other = entry(Kind::Message, 4, 21, 10, 1);
        insert(&*store, [message.clone(), note.clone(), deleted.clone(), other.clone()]).await;
        let hide = |shows| {
            let mut changes = Changes::new(ORG, at(0));
            let customer = CustomerId(id(10));
            let hide = if shows { Hide::Undo(customer, id(20)) } else { Hide::OfConversation(customer, id(20)) };
            changes.ops.push(Op::Hide(hide, None));
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
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Hide(Hide::Undo(CustomerId(id(10)), id(20)), None));
        assert_conflict(store.apply(changes).await, &Conflict::Taken(Kind::Conversation, id(20)));
        assert_eq!(get(&*store, &hidden).await, Some(hidden));
    }

    pub(super) async fn a_tally_is_the_sum_of_its_slots(test: TestStore) {
        let store = test.store();
        for n in 0..40 {
            let mut changes = Changes::new(ORG, at(0));
            changes.tally("customers", id(n), 2);
            changes.tally("customers", id(n), 1);
            changes.tally("other", id(n), 1);
            store.apply(changes).await.expect("a change");
        }
        let mut changes = Changes::new(ORG, at(0));
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
        let mut changes = Changes::new(OTHER, at(0));
        changes.insert(waking(9, Some(15)));
        store.apply(changes).await.expect("another org");
        assert_eq!(store.due("snooze", at(9), 10).await.expect("a read"), []);
        assert_eq!(store.due("snooze", at(20), 10).await.expect("a read"), due([(ORG, 2), (OTHER, 9), (ORG, 4)]));
        assert_eq!(store.due("snooze", at(99), 2).await.expect("a read"), due([(ORG, 2), (OTHER, 9)]));
        let was = waking(2, Some(10));
        update(&*store, &was, &Row { wake_at: None, ..next(&was) }).await.expect("it is fresh");
        assert_eq!(store.due("snooze", at(20), 10).await.expect("a read"), due([(OTHER, 9), (ORG, 4)]));
    }

    pub(super) async fn a_credential_is_found_by_its_hash_until_revoked(test: TestStore) {
        let store = test.store();
        let full = NewCredential { cidr: Some("203.0.113.0/24".into()), expires_at: Some(at(50)), ..credential(1, 1) };
        let mut changes = Changes::new(ORG, at(0));
        changes.ops = vec![Op::Admit(full.clone()), Op::Admit(credential(2, 2))];
        store.apply(changes).await.expect("a change");
        let found = store.enter([1; 32], None).await.expect("a read").expect("it is there").credential;
        assert_eq!((found.org, found.token, found.user), (ORG, TokenId(id(1)), UserId(id(1_001))));
        assert_eq!(
            (found.roles.as_str(), found.cidr.clone(), found.expires_at),
            ("org.user org.admin", full.cidr, full.expires_at)
        );
        let found = store.enter([2; 32], None).await.expect("a read").expect("it is there").credential;
        assert_eq!((&found.cidr, found.expires_at), (&None, None));
        assert_eq!(store.enter([3; 32], None).await.expect("a read"), None);
        // Another org cannot revoke it.
        let mut changes = Changes::new(OTHER, at(0));
        changes.ops.push(Op::Revoke(TokenId(id(1))));
        store.apply(changes).await.expect("a change");
        assert!(store.enter([1; 32], None).await.expect("a read").is_some());
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Revoke(TokenId(id(1))));
        store.apply(changes).await.expect("a change");
        assert_eq!(store.enter([1; 32], None).await.expect("a read"), None);
        assert!(store.enter([2; 32], None).await.expect("a read").is_some());
    }

    pub(super) async fn what_an_org_hides_comes_with_its_tokens(test: TestStore) {
        let store = test.store();
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Found(Org { id: ORG, name: "acme".into(), created_at: at(0) }));
        changes.ops.push(Op::Admit(credential(1, 1)));
        store.apply(changes).await.expect("a change");
        let entered = async |store: &dyn Store| {
            store.enter([1; 32], Some(CustomerId(id(9)))).await.expect("a read").expect("a token").credential
        };
        assert_eq!(entered(&*store).await.described, Described::default());
        let describe = |version, name: &str| {
            let mut masks = Masks::default();
            masks.add(Kind::Customer, name.to_owned(), MaskType::Last4);
            let mut changes = Changes::new(ORG, at(0));
            changes.ops.push(Op::Describe(version, masks.clone()));
            (changes, masks)
        };
        // By another process: what this one has in mind of the token is old.
        let other = test.reopened().await;
        let (changes, masks) = describe(0, "aStr");
        other.apply(changes).await.expect("a change");
        let expected = Described { version: 1, masks: Some(std::sync::Arc::new(masks)) };
        assert_eq!(entered(&*store).await.described, expected);
        assert_eq!(store.described(ORG).await.expect("a read"), expected);
        // Who began with an older picture loses; by this process, the same.
        assert_conflict(store.apply(describe(0, "bStr").0).await, &Conflict::Stale(Kind::Org, ORG.0));
        assert_eq!(entered(&*store).await.described, expected);
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Describe(1, Masks::default()));
        store.apply(changes).await.expect("a change");
        assert_eq!(entered(&*store).await.described, Described { version: 2, masks: None });
        assert_eq!(store.described(OTHER).await.expect("a read"), Described::default());
    }

    pub(super) async fn orgs_are_listed_by_name(test: TestStore) {
        let store = test.store();
        let org = |n, name: &str| {
            let org = Org { id: OrgId(id(n)), name: name.into(), created_at: at(n as i64) };
            let mut changes = Changes::new(org.id, at(0));
            changes.ops.push(Op::Found(org));
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
        let mut changes = Changes::new(ORG, at(0));
        for (user, team) in [(1, 12), (1, 11), (2, 11), (1, 11)] {
            changes.ops.push(Op::Join(Membership { user: UserId(id(user)), team: TeamId(id(team)) }));
        }
        store.apply(changes).await.expect("a place taken twice is one place");
        let users = [UserId(id(2)), UserId(id(3)), UserId(id(1))];
        let teams = store.teams_of(ORG, &users).await.expect("a read");
        assert_eq!(teams, [vec![TeamId(id(11))], vec![], vec![TeamId(id(11)), TeamId(id(12))]]);
    }

    pub(super) async fn what_surrounds_a_record_is_found_with_it(test: TestStore) {
        let store = test.store();
        let customer = Row { turn: 7, ..record(Kind::Customer, id(1), 1) };
        let conversation = Row { state: Some(r#"{"a":1}"#.into()), ..conversation(2, 1, 2) };
        let message = entry(Kind::Message, 3, 2, 1, 3);
        // Ids of different kinds may be equal. Hidden ones are found, too.
        let note = Row { hidden: Hidden::Deleted, ..entry(Kind::Note, 3, 2, 1, 4) };
        let others = [record(Kind::Customer, id(9), 1), self::conversation(8, 9, 2), entry(Kind::Message, 7, 8, 9, 3)];
        insert(&*store, [&customer, &conversation, &message, &note].into_iter().chain(&others).cloned()).await;
        let mut changes = Changes::new(ORG, at(0));
        for team in [12, 11] {
            changes.ops.push(Op::Join(Membership { user: UserId(id(1)), team: TeamId(id(team)) }));
        }
        store.apply(changes).await.expect("places");
        let user = Some(UserId(id(1)));
        for (kind, of, entry) in
            [(Kind::Conversation, 2, None), (Kind::Message, 3, Some(message)), (Kind::Note, 3, Some(note))]
        {
            let found = store.surroundings(ORG, kind, id(of), user).await.expect("a read");
            let (customer, conversation) = (customer.clone(), conversation.clone());
            let teams = vec![TeamId(id(11)), TeamId(id(12))];
            assert_eq!(found, Some(Surroundings { customer, conversation, entry, teams }));
            let nobodys = store.surroundings(ORG, kind, id(of), None).await.expect("a read").expect("it is there");
            assert_eq!(nobodys.teams, []);
            assert_eq!(store.surroundings(ORG, kind, id(99), user).await.expect("a read"), None);
            assert_eq!(store.surroundings(OTHER, kind, id(of), user).await.expect("a read"), None);
        }
    }

    pub(super) async fn one_org_does_not_see_another(test: TestStore) {
        let store = test.store();
        let row = conversation(1, 1, 1);
        insert(&*store, [row.clone()]).await;
        assert_eq!(store.get(OTHER, row.kind, row.id).await.expect("a read"), None);
        assert!(store.get_many(OTHER, row.kind, &[row.id]).await.expect("a read").is_empty());
        let mut changes = Changes::new(OTHER, at(0));
        changes.update(row.clone(), next(&row));
        assert_conflict(store.apply(changes).await, &Conflict::Stale(row.kind, row.id));
        let mut changes = Changes::new(OTHER, at(0));
        changes.insert(Row { doc: "another".into(), ..row.clone() });
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(id(1))), None));
        store.apply(changes).await.expect("the id is free there");
        assert_eq!(get(&*store, &row).await, Some(row.clone()));
    }

    pub(super) async fn events_are_numbered_without_gaps_within_a_lane(test: TestStore) {
        let store = test.store();
        let bare = NewEvent {
            verb: Verb::Create,
            kind: Kind::Tag,
            customer: None,
            actor: Some(UserId(id(3))),
            changes: None,
            ..event(0)
        };
        for n in 0..6u64 {
            let mut changes = Changes::new(if n % 2 == 0 { ORG } else { OTHER }, at(n as i64));
            let told = [
                NewEvent { object: id(n), ..bare.clone() },
                event(100 + n),
                NewEvent { verb: Verb::Restore, ..event(100 + n) },
            ];
            changes.ops.extend(told.map(Op::Emit));
            store.apply(changes).await.expect("a change");
        }
        for (org, first) in [(ORG, 0), (OTHER, 1)] {
            let found = events(&*store, org, 9).await;
            let of_tags: Vec<&Event> = found.iter().filter(|event| event.kind == Kind::Tag).collect();
            assert!(of_tags.iter().all(|event| event.lane == 0), "what belongs to no customer has lane 0");
            assert_eq!(
                of_tags.iter().map(|event| event.object).collect::<Vec<_>>(),
                [first, first + 2, first + 4].map(id)
            );
            assert_eq!(
                (of_tags[0].verb, of_tags[0].actor, of_tags[0].rev, &of_tags[0].changes, of_tags[0].customer),
                (Verb::Create, Some(UserId(id(3))), 2, &None, None)
            );
            for n in [first, first + 2, first + 4] {
                let of_one: Vec<&Event> = found.iter().filter(|event| event.object == id(100 + n)).collect();
                assert_eq!(of_one.iter().map(|event| event.verb).collect::<Vec<_>>(), [Verb::Update, Verb::Restore]);
                let lane = store.lane_of(of_one[0].customer);
                assert!(of_one.iter().all(|event| event.lane == lane), "a customer always has the same lane");
                assert_eq!(of_one[0].name(), "kustomer.conversation.update");
                assert_eq!(of_one[0].changes.as_deref(), Some(r#"{"attributes":{}}"#));
                // Its id tells where it lies.
                assert_eq!(of_one[0].id(), event_id(of_one[0].at, lane, of_one[0].seq));
                assert_eq!(lane_and_seq(of_one[0].id()), (lane, of_one[0].seq));
            }
            let ids: BTreeSet<_> = found.iter().map(Event::id).collect();
            assert_eq!(ids.len(), 9);
            // Reading on after each number gives what follows it, as much as asked.
            for event in &found {
                let rest = store.events(org, event.lane, event.seq, 100).await.expect("a read");
                let expected: Vec<_> =
                    found.iter().filter(|one| one.lane == event.lane && one.seq > event.seq).cloned().collect();
                assert_eq!(rest, expected);
                let one = store.events(org, event.lane, event.seq, 1).await.expect("a read");
                assert_eq!(one, expected[..expected.len().min(1)]);
            }
        }
    }

    pub(super) async fn a_timeline_that_moved_refuses_who_saw_it_before(test: TestStore) {
        let store = test.store();
        let customer = record(Kind::Customer, id(1), 1);
        let message = entry(Kind::Message, 2, 20, 1, 1);
        insert(&*store, [customer.clone(), message.clone()]).await;
        let stale = Conflict::Stale(Kind::Customer, id(1));
        let guarded = |turn, n| {
            let mut changes = inserting([entry(Kind::Note, n, 20, 1, 1)]);
            changes.ops.push(Op::Guard(CustomerId(id(1)), turn));
            changes
        };
        store.apply(guarded(0, 100)).await.expect("nobody wrote since");
        assert_conflict(store.apply(guarded(0, 101)).await, &stale);
        assert_eq!(store.get(ORG, Kind::Note, id(101)).await.expect("a read"), None);
        store.apply(guarded(1, 101)).await.expect("the turn moved by one");
        // A change of the customer itself moves it as well, and needs it.
        assert_conflict(update(&*store, &customer, &next(&customer)).await, &stale);
        let was = Row { turn: 2, ..customer.clone() };
        update(&*store, &was, &next(&was)).await.expect("the turn is two");
        assert_conflict(store.apply(guarded(2, 102)).await, &stale);
        store.apply(guarded(3, 102)).await.expect("the turn is three");
        assert_conflict(store.apply(guarded(3, 103)).await, &stale);
        // A customer who does not show has no turn to give.
        let was = get(&*store, &customer).await.expect("it is there");
        assert_eq!(was.turn, 4);
        let hidden = Row { hidden: Hidden::Deleted, ..next(&was) };
        update(&*store, &was, &hidden).await.expect("it is fresh");
        assert_conflict(store.apply(guarded(5, 103)).await, &stale);
    }

    pub(super) async fn what_was_hidden_meanwhile_refuses_who_saw_it_before(test: TestStore) {
        let store = test.store();
        let rows = [
            conversation(1, 10, 1),
            entry(Kind::Message, 2, 1, 10, 1),
            entry(Kind::Note, 3, 1, 10, 1),
            record(Kind::Customer, id(4), 1),
            record(Kind::Tag, id(5), 1),
        ];
        insert(&*store, rows.clone()).await;
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Hide(Hide::OfConversation(CustomerId(id(10)), id(1)), None));
        store.apply(changes).await.expect("a change");
        for row in &rows {
            if row.conversation.is_none() {
                // Hidden in place, at the revision it had.
                let hidden = Row { hidden: Hidden::Deleted, turn: row.turn + 1, ..row.clone() };
                update(&*store, row, &hidden).await.expect("it is fresh");
            }
            let hidden = get(&*store, row).await.expect("it is there");
            assert!(!hidden.shows());
            let was = Row { turn: hidden.turn, ..row.clone() };
            assert_conflict(update(&*store, &was, &next(&was)).await, &Conflict::Stale(row.kind, row.id));
            assert_eq!(get(&*store, row).await, Some(hidden), "it was not brought back");
        }
    }

    pub(super) async fn every_row_hidden_along_is_told_of(test: TestStore) {
        let store = test.store();
        let customer = CustomerId(id(10));
        let rows = [
            conversation(1, 10, 1),
            // An older program could leave a message behind that shows in a conversation that does not.
            Row { hidden: Hidden::Deleted, ..conversation(9, 10, 2) },
            conversation(8, 11, 1),
            entry(Kind::Message, 2, 1, 10, 1),
            entry(Kind::Message, 3, 1, 10, 2),
            entry(Kind::Note, 4, 1, 10, 1),
            Row { hidden: Hidden::Deleted, ..entry(Kind::Note, 5, 1, 10, 1) },
            entry(Kind::Message, 6, 9, 10, 1),
            entry(Kind::Message, 7, 8, 11, 1),
        ];
        insert(&*store, rows).await;
        let mut seen = 0;
        let mut told = async |hide, actor| {
            let mut changes = Changes::new(ORG, at(7));
            changes.ops.push(Op::Emit(NewEvent { customer: Some(customer), ..event(50) }));
            changes.ops.push(Op::Hide(hide, actor));
            store.apply(changes).await.expect("a change");
            let lane = store.lane_of(Some(customer));
            let events = store.events(ORG, lane, seen, 100).await.expect("a read");
            seen += events.len() as i64;
            let head = store.heads(ORG).await.expect("a read").into_iter().find(|head| head.lane == lane);
            assert_eq!(head.map(|head| head.newest), Some(seen), "the lane goes on after them");
            assert_eq!(events[0].object, id(50), "the cause comes first");
            assert!(events.iter().all(|event| event.at >= at(7) && event.customer == Some(customer)));
            assert!(events[1..].iter().all(|event| event.actor == actor && event.changes.is_none()));
            events[1..].iter().map(|event| (event.verb, event.kind, event.object)).collect::<Vec<_>>()
        };
        let of = |verb| [(verb, Kind::Message, id(2)), (verb, Kind::Message, id(3)), (verb, Kind::Note, id(4))];
        let conversation = id(1);
        let actor = Some(UserId(id(77)));
        assert_eq!(told(Hide::OfConversation(customer, conversation), actor).await, of(Verb::Delete));
        assert_eq!(told(Hide::Undo(customer, conversation), None).await, of(Verb::Restore));
        let mut all = vec![(Verb::Delete, Kind::Conversation, id(1))];
        all.extend([2, 6, 3].map(|n| (Verb::Delete, Kind::Message, id(n))));
        all.push((Verb::Delete, Kind::Note, id(4)));
        assert_eq!(told(Hide::OfCustomer(customer), actor).await, all);
    }

    pub(super) async fn the_commit_gives_each_record_its_moment(test: TestStore) {
        let store = test.store();
        let placeholder = "0001-01-01T00:00:00.000Z";
        let put = |n: u64| {
            let doc = format!(r#"{{"updatedAt":"{placeholder}","n":{n}}}"#);
            let customer = Some(CustomerId(id(n % 3)));
            let difference = format!(r#"{{"attributes":{{"updatedAt":{{"after":"{placeholder}"}}}}}}"#);
            Put {
                was: None,
                now: Row { customer, doc, ..record(Kind::Conversation, id(n), n as i64) },
                stamp_at: Some(14),
                event: Some(NewEvent {
                    customer,
                    object: id(n),
                    changes: Some(difference),
                    stamp_at: Some(37),
                    ..event(n)
                }),
            }
        };
        let mut shared: std::collections::HashMap<Instant, usize> = std::collections::HashMap::new();
        let mut newest: std::collections::HashMap<u8, Instant> = std::collections::HashMap::new();
        // The clock stands, jumps, and steps back.
        for (round, now) in [5, 5, 5, 900, 900, 3, 3, 3, 901].into_iter().enumerate() {
            let mut changes = Changes::new(ORG, at(now));
            let numbers: Vec<u64> = (0..30).map(|n| round as u64 * 30 + n).collect();
            for n in &numbers {
                changes.put(put(*n));
            }
            let applied = store.apply(changes).await.expect("a change");
            assert_eq!(applied.stamps.len(), 30);
            let mut latest = newest.clone();
            for (n, stamp) in numbers.into_iter().zip(applied.stamps) {
                let row = store.get(ORG, Kind::Conversation, id(n)).await.expect("a read").expect("it is there");
                assert_eq!(row.updated_at, stamp);
                assert_eq!(row.doc, format!(r#"{{"updatedAt":"{stamp}","n":{n}}}"#));
                let lane = store.lane_of(row.customer);
                assert!(stamp >= at(now), "never before the change was handed over");
                assert!(newest.get(&lane).is_none_or(|before| *before <= stamp), "never before what is visible");
                let entry = latest.entry(lane).or_insert(stamp);
                *entry = stamp.max(*entry);
                *shared.entry(stamp).or_default() += 1;
            }
            newest = latest;
        }
        assert!(shared.values().all(|count| *count <= 20), "{:?}", shared.values().max());
        for event in events(&*store, ORG, 270).await {
            let row = store.get(ORG, Kind::Conversation, event.object).await.expect("a read").expect("it is there");
            assert_eq!(event.at, row.updated_at);
            assert_eq!(event.changes, Some(format!(r#"{{"attributes":{{"updatedAt":{{"after":"{}"}}}}}}"#, event.at)));
        }
    }

    pub(super) async fn writers_of_two_processes_share_few_moments(test: TestStore) {
        let stores = [test.store(), test.reopened().await, test.reopened().await];
        let tasks: Vec<_> = (0..240u64)
            .map(|n| {
                let store = Arc::clone(&stores[n as usize % 3]);
                tokio::spawn(async move {
                    let mut changes = Changes::new(ORG, at(0));
                    let row = conversation(n, n, 1);
                    let doc = format!(r#"{{"updatedAt":"{}"}}"#, at(0));
                    let event = Some(NewEvent { customer: row.customer, ..event(n) });
                    changes.put(Put { was: None, now: Row { doc, ..row }, stamp_at: Some(14), event });
                    store.apply(changes).await.expect("nothing is in its way").stamps[0]
                })
            })
            .collect();
        let mut shared: std::collections::HashMap<Instant, usize> = std::collections::HashMap::new();
        for task in tasks {
            *shared.entry(task.await.expect("the task ends")).or_default() += 1;
        }
        assert!(shared.values().all(|count| *count <= 20), "{:?}", shared.values().max());
        events(&*stores[0], ORG, 240).await;
    }

    pub(super) async fn a_text_without_a_place_for_its_moment_is_refused(test: TestStore) {
        let store = test.store();
        for (doc, place) in [("short", 3), ("", 0), ("é".repeat(30).as_str(), 1)] {
            let mut changes = Changes::new(ORG, at(0));
            let now = Row { doc: doc.into(), ..conversation(1, 1, 1) };
            changes.put(Put { was: None, now, stamp_at: Some(place), event: None });
            assert!(matches!(store.apply(changes).await, Err(StoreError::Corrupt(_))));
            assert_eq!(store.get(ORG, Kind::Conversation, id(1)).await.expect("a read"), None);
        }
    }

    pub(super) async fn old_events_are_forgotten_from_the_beginning(test: TestStore) {
        let store = test.store();
        let customer = Some(CustomerId(id(3)));
        for n in 0..10u64 {
            let mut changes = Changes::new(ORG, at(n as i64 * 1_000));
            changes.put(Put {
                was: None,
                now: Row { doc: format!(r#"{{"updatedAt":"{}"}}"#, at(0)), ..conversation(n, 3, 1) },
                stamp_at: Some(14),
                event: Some(NewEvent { customer, ..event(n) }),
            });
            store.apply(changes).await.expect("a change");
        }
        let lane = store.lane_of(customer);
        assert_eq!(store.forget(ORG, lane, at(0), 100).await.expect("a change"), 0);
        assert_eq!(store.forget(ORG, lane, at(5_000), 3).await.expect("a change"), 3);
        let head = store.heads(ORG).await.expect("a read")[0];
        assert_eq!((head.lane, head.newest, head.gone), (lane, 10, 3));
        assert_eq!(store.forget(ORG, lane, at(5_000), 100).await.expect("a change"), 2);
        let left = store.events(ORG, lane, 0, 100).await.expect("a read");
        assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
        assert_eq!(store.forget(OTHER, lane, at(99_000), 100).await.expect("a change"), 0);
        // All of them may go; the numbers go on.
        assert_eq!(store.forget(ORG, lane, at(99_000), 100).await.expect("a change"), 5);
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Emit(NewEvent { customer, ..event(11) }));
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(id(3))), None));
        store.apply(changes).await.expect("a change");
        let left = store.events(ORG, lane, 0, 100).await.expect("a read");
        assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), (11..=21).collect::<Vec<_>>());
    }

    pub(super) async fn a_claimed_turn_is_its_holders(test: TestStore) {
        let store = test.store();
        let customers = [record(Kind::Customer, id(1), 1), record(Kind::Customer, id(2), 1)];
        insert(&*store, customers.clone()).await;
        let claim = claim_on(ORG, CustomerId(id(1)));
        let guarded = |n: u64, turn, moment, holder| {
            let mut changes = Changes::new(ORG, at(moment));
            changes.holder = holder;
            changes.insert(entry(Kind::Note, 100 * n + turn, 20, n, 1));
            changes.ops.push(Op::Guard(CustomerId(id(n)), turn as i64));
            changes
        };
        let renamed = |moment, holder| {
            let mut changes = Changes::new(ORG, at(moment));
            changes.holder = holder;
            let was = Row { turn: 1, ..customers[0].clone() };
            changes.update(was.clone(), next(&was));
            changes
        };
        let stale = Conflict::Stale(Kind::Customer, id(1));
        assert!(store.lease(&claim, id(8), at(0), at(CLAIM_MS)).await.expect("a lease"));
        assert_eq!(store.holder(&claim, at(0), at(CLAIM_MS)).await.expect("a read"), Some(id(8)));
        for holder in [None, Some(id(9))] {
            assert_conflict(store.apply(guarded(1, 0, CLAIM_MS - 1, holder)).await, &stale);
            store.apply(guarded(2, u64::from(holder.is_some()), 0, holder)).await.expect("another customer's turn");
        }
        store.apply(guarded(1, 0, 0, Some(id(8)))).await.expect("it is the holder's");
        assert_eq!(store.holder(&claim, at(0), at(CLAIM_MS)).await.expect("a read"), None, "the claim ended with it");

        // The customer's own change needs the turn as well.
        assert!(store.lease(&claim, id(8), at(0), at(CLAIM_MS)).await.expect("a lease"));
        assert_conflict(store.apply(renamed(0, None)).await, &stale);
        store.apply(renamed(0, Some(id(8)))).await.expect("it is the holder's");
        assert_eq!(store.holder(&claim, at(0), at(CLAIM_MS)).await.expect("a read"), None);

        // One that is over stands in nobody's way, and neither does one that ends later than any can.
        for (turn, ends) in [(2, 10), (3, 10 + 2 * CLAIM_MS + 1)] {
            assert!(store.lease(&claim, id(8), at(0), at(ends)).await.expect("a lease"));
            assert_eq!(store.holder(&claim, at(10), at(10 + CLAIM_MS)).await.expect("a read"), None);
            store.apply(guarded(1, turn, 10, None)).await.expect("nobody claims it");
        }
    }

    pub(super) async fn a_lease_has_one_holder(test: TestStore) {
        let (store, other) = (test.store(), test.reopened().await);
        assert!(store.lease("a", id(1), at(0), at(10)).await.expect("a change"));
        assert!(!other.lease("a", id(2), at(9), at(20)).await.expect("a change"), "it is held");
        assert!(other.lease("b", id(2), at(9), at(20)).await.expect("a change"), "another lease");
        assert!(store.lease("a", id(1), at(9), at(30)).await.expect("a change"), "its holder renews it");
        assert!(!other.lease("a", id(2), at(29), at(40)).await.expect("a change"));
        assert!(other.lease("a", id(2), at(30), at(40)).await.expect("a change"), "it has ended");
        assert!(!store.lease("a", id(1), at(31), at(50)).await.expect("a change"));
        store.release("a", id(1)).await.expect("a change");
        assert!(!store.lease("a", id(1), at(31), at(50)).await.expect("a change"), "only its holder gives it back");
        other.release("a", id(2)).await.expect("a change");
        assert!(store.lease("a", id(1), at(31), at(50)).await.expect("a change"));
    }

    pub(super) async fn troubles_and_positions_are_kept(test: TestStore) {
        let store = test.store();
        let trouble = |n, retry| Trouble {
            job: "mend".into(),
            org: ORG,
            item: id(n),
            attempts: 1,
            retry_at: at(retry),
            reason: "it is broken".into(),
        };
        for one in [trouble(1, 30), trouble(2, 10)] {
            store.put_trouble(one).await.expect("a change");
        }
        store.put_trouble(Trouble { job: "other".into(), ..trouble(3, 1) }).await.expect("a change");
        assert_eq!(store.troubles("mend", 10).await.expect("a read"), [trouble(2, 10), trouble(1, 30)]);
        assert_eq!(store.troubles("mend", 1).await.expect("a read"), [trouble(2, 10)]);
        let due_troubles = |org, now, limit| store.due_troubles("mend", org, at(now), limit);
        assert_eq!(due_troubles(ORG, 9, 10).await.expect("a read"), []);
        assert_eq!(due_troubles(ORG, 10, 10).await.expect("a read"), [trouble(2, 10)]);
        assert_eq!(due_troubles(ORG, 30, 10).await.expect("a read"), [trouble(2, 10), trouble(1, 30)]);
        assert_eq!(due_troubles(ORG, 30, 1).await.expect("a read"), [trouble(2, 10)]);
        assert_eq!(due_troubles(OTHER, 30, 10).await.expect("a read"), []);
        let again = Trouble { attempts: 2, reason: "still \0 broken".into(), ..trouble(2, 40) };
        store.put_trouble(again.clone()).await.expect("a change");
        let kept = store.trouble("mend", ORG, id(2)).await.expect("a read").expect("it is there");
        assert_eq!((kept.attempts, kept.retry_at, kept.reason.as_str()), (2, at(40), "still   broken"));
        assert_eq!(store.trouble("mend", OTHER, id(2)).await.expect("a read"), None);
        store.clear_trouble("mend", ORG, id(2)).await.expect("a change");
        assert_eq!(store.trouble("mend", ORG, id(2)).await.expect("a read"), None);

        assert_eq!(store.position("index", ORG).await.expect("a read"), None);
        store.put_position("index", ORG, "abc").await.expect("a change");
        store.put_position("index", ORG, "def").await.expect("a change");
        assert_eq!(store.position("index", ORG).await.expect("a read").as_deref(), Some("def"));
        assert_eq!(store.position("index", OTHER).await.expect("a read"), None);
        assert_eq!(store.position("webhook", ORG).await.expect("a read"), None);

        // What a job is in trouble with is not due for it until its time has come.
        insert(&*store, [1u64, 2].map(|n| Row { wake_at: Some(at(n as i64)), ..conversation(n, 1, 1) })).await;
        let due = |n| Due { org: ORG, id: id(n) };
        assert_eq!(store.due("mend", at(20), 10).await.expect("a read"), [due(2)]);
        assert_eq!(store.due("other", at(20), 10).await.expect("a read"), [due(1), due(2)]);
        assert_eq!(store.due("mend", at(30), 10).await.expect("a read"), [due(1), due(2)]);
        for (kind, n) in [(Kind::Message, 5), (Kind::Customer, 6), (Kind::Tag, 7)] {
            let row = if kind == Kind::Message { entry(kind, n, 1, 1, 1) } else { record(kind, id(n), 1) };
            let row = Row { version: RENDERER - 1, ..row };
            insert(&*store, [row.clone(), Row { id: id(n + 10), version: RENDERER, ..row.clone() }]).await;
            assert_eq!(store.outdated("mend", kind, at(20), 10).await.expect("a read"), [(ORG, row)]);
            store.put_trouble(trouble(n, 30)).await.expect("a change");
            assert_eq!(store.outdated("mend", kind, at(20), 10).await.expect("a read"), []);
        }
    }

    pub(super) async fn a_refused_change_leaves_no_event(test: TestStore) {
        let store = test.store();
        let row = conversation(1, 1, 1);
        insert(&*store, [row.clone()]).await;
        for n in 0..3 {
            let mut changes = inserting([row.clone()]);
            changes.ops.push(Op::Emit(event(n)));
            assert_conflict(store.apply(changes).await, &Conflict::Taken(row.kind, row.id));
        }
        let mut changes = Changes::new(ORG, at(0));
        changes.ops.push(Op::Emit(event(9)));
        store.apply(changes).await.expect("a change");
        assert_eq!(events(&*store, ORG, 1).await[0].object, id(9));
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
                    changes.ops.push(Op::Emit(event(n)));
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

    pub(super) async fn changes_of_few_lanes_at_once_are_told_in_order_and_refused_alone(test: TestStore) {
        const CHANGES: u64 = 240;
        let store = test.store();
        let shared = conversation(1_000, 1, 1);
        insert(&*store, [shared.clone()]).await;
        let tasks: Vec<_> = (0..CHANGES)
            .map(|n| {
                let (store, shared) = (Arc::clone(&store), shared.clone());
                tokio::spawn(async move {
                    // Two customers, so that many wait for the same lane at once.
                    let customer = Some(CustomerId(id(n % 2)));
                    let mut changes = Changes::new(ORG, at(0));
                    let place = if n % 6 == 2 { 900 } else { 14 };
                    let doc = format!(r#"{{"updatedAt":"{}"}}"#, at(0));
                    changes.ops.push(Op::Emit(NewEvent { customer, ..super::event(500 + n) }));
                    let event = Some(NewEvent { customer, ..event(n) });
                    let now = Row { doc, ..conversation(n, n % 2, 1) };
                    changes.put(Put { was: None, now, stamp_at: Some(place), event });
                    if n % 6 == 1 {
                        changes.insert(shared.clone());
                    }
                    if n % 6 == 3 {
                        changes.update(Row { rev: 77, ..shared }, next(&conversation(1_000, 1, 1)));
                    }
                    store.apply(changes).await
                })
            })
            .collect();
        let mut landed = BTreeSet::new();
        for (n, task) in (0..).zip(tasks) {
            let result = task.await.expect("the task ends");
            match n % 6 {
                1 => assert_conflict(result, &Conflict::Taken(shared.kind, shared.id)),
                2 => assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}"),
                3 => assert_conflict(result, &Conflict::Stale(shared.kind, shared.id)),
                _ => {
                    let stamp = result.expect("nothing is in its way").stamps[0];
                    let row = get(&*store, &conversation(n, n % 2, 1)).await.expect("it is there");
                    assert_eq!((row.updated_at, row.doc), (stamp, format!(r#"{{"updatedAt":"{stamp}"}}"#)));
                    landed.extend([id(n), id(500 + n)]);
                }
            }
        }
        let told = events(&*store, ORG, landed.len()).await;
        assert_eq!(objects(&told), landed);
        // What one change tells stays together.
        for event in told.iter().filter(|event| event.object < id(500)) {
            let before = told.iter().find(|other| other.lane == event.lane && other.seq == event.seq - 1);
            let n = (0..CHANGES).find(|n| id(*n) == event.object).expect("a number");
            assert_eq!(before.map(|event| event.object), Some(id(500 + n)));
        }
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
                    changes.ops.extend([event(n), event(1_000 + n)].map(Op::Emit));
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
        assert_eq!(objects(&found).len(), 400);
    }

    /// A change waits for the slots of a kept count that others add to, and must not wait for what waits for it.
    pub(super) async fn changes_that_count_the_same_in_any_order_all_land(test: TestStore) {
        let store = test.store();
        let tasks: Vec<_> = (0..8u64)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let mut changes = Changes::new(ORG, at(0));
                        changes.ops.push(Op::Emit(event(n)));
                        for row in 0..160 {
                            let by = if n % 2 == 0 { row } else { 159 - row };
                            changes.tally("customers", id(by), 1);
                        }
                        store.apply(changes).await.expect("nothing is in its way");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
        assert_eq!(store.tally(ORG, "customers").await.expect("a read"), 8 * 10 * 160);
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
                        let mut changes = Changes::new(ORG, at(0));
                        changes.update(was.clone(), next(&was));
                        changes.tally("updates", id(1), 1);
                        match store.apply(changes).await {
                            Ok(_) => done += 1,
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
                        changes.ops.push(Op::Emit(event(number)));
                        store.apply(changes).await.expect("nothing is in its way");
                    }
                })
            })
            .collect();
        let reader = {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            tokio::spawn(async move {
                let (mut seen, mut last) = (BTreeSet::new(), [0; 256]);
                loop {
                    let over = done.load(Atomic::SeqCst);
                    let mut found = 0;
                    for head in store.heads(ORG).await.expect("a read") {
                        let events = store.events(ORG, head.lane, last[usize::from(head.lane)], 50).await;
                        for event in events.expect("a read") {
                            assert_eq!(event.seq, last[usize::from(head.lane)] + 1, "no number appears behind another");
                            last[usize::from(head.lane)] = event.seq;
                            assert!(seen.insert(event.object), "an event came twice");
                            found += 1;
                        }
                    }
                    if over && found == 0 {
                        break seen;
                    }
                    tokio::task::yield_now().await;
                }
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
                    changes.ops.push(Op::Emit(event(n)));
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
        store.apply(Changes::new(ORG, at(0))).await.expect("nothing fails");
        // What is not there can be given back and revoked.
        let mut changes = Changes::new(ORG, at(0));
        changes.release(Space::TagName, "none".into(), id(1));
        changes.ops.push(Op::ReleaseAll(Kind::Customer, id(1)));
        changes.ops.push(Op::Revoke(TokenId(id(1))));
        changes.ops.push(Op::Hide(Hide::OfCustomer(CustomerId(id(1))), None));
        changes.ops.push(Op::Hide(Hide::Undo(CustomerId(id(10)), id(1)), None));
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
    let mut changes = Changes::new(org, at(0));
    rows.iter().for_each(|row| changes.insert(row.clone()));
    store.apply(changes).await.expect("the rows are new");

    let field = if walk.order.0 { Field::CreatedAt } else { Field::UpdatedAt };
    let order = Order { field, descending: walk.order.1 };
    for scope in [Scope::Org, Scope::Customer(CustomerId(id(1)))] {
        let mut list = List::of(Kind::Conversation, scope);
        if let Some(from) = walk.from {
            list = list.with(Filter::From(Field::UpdatedAt, at(from)));
        }
        let (all, _) =
            sorted(&rows, &list, &Window { order, start: Start::Offset(0), limit: 1_000, bytes: usize::MAX });
        let position =
            |row: &Row| Position { at: if walk.order.0 { row.created_at } else { row.updated_at }, id: row.id };
        let read = async |start| {
            check_window(store, org, &rows, &list, &Window { order, start, limit: walk.limit, bytes: usize::MAX }).await
        };

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

/// Of one thread: nobody serves the lane before the caller is gone.
#[tokio::test]
async fn a_change_whose_caller_left_before_its_turn_is_not_made_on_postgres() {
    let test = TestStore::new(Backend::Postgres).await;
    let store = test.store();
    let changing = |n| {
        let mut changes = inserting([conversation(n, 1, n as i64)]);
        changes.ops.push(Op::Emit(event(1)));
        changes
    };
    tokio::select! {
        biased;
        _ = store.apply(changing(1)) => panic!("nobody has served the lane"),
        () = std::future::ready(()) => {}
    }
    store.apply(changing(2)).await.expect("a change");
    assert_eq!(get(&*store, &conversation(1, 1, 1)).await, None);
    assert_eq!(get(&*store, &conversation(2, 1, 2)).await, Some(conversation(2, 1, 2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_elsewhere_holds_no_event_back_on_postgres() {
    let test = TestStore::new(Backend::Postgres).await;
    let store = test.store();
    let (mut client, connection) =
        tokio_postgres::connect(&test.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let running = client.transaction().await.expect("a transaction");
    running.query_one("SELECT pg_current_xact_id()::text", &[]).await.expect("an id");
    for n in 1..=3 {
        let mut changes = inserting([conversation(n, 1, n as i64)]);
        changes.ops.push(Op::Emit(event(n)));
        store.apply(changes).await.expect("a change");
    }
    assert_eq!(objects(&events(&*store, ORG, 3).await), [1, 2, 3].map(id).into());
    running.rollback().await.expect("it ends");
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
            let mut changes = Changes::new(ORG, at(0));
            changes.ops.push(Op::Emit(event(1)));
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

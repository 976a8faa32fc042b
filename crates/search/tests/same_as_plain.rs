//! The index finds what a query means: random records and random queries, answered by both.

use std::sync::Arc;

use async_trait::async_trait;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId};
use konverse_search::index::{Batch, Index, Mark, Options, Start, Ties, Window};
use konverse_search::{Extracted, Query, Sort, Surface, Value, attribute, evaluate, extract, parse};
use konverse_store::{Event, Events, Heads, Hidden, Row, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::{Value as Json, json};

/// A sequence in which nothing ever happened.
struct Nothing;

#[async_trait]
impl Events for Nothing {
    async fn heads(&self, _: OrgId) -> Result<Vec<Heads>, StoreError> {
        Ok(Vec::new())
    }

    async fn events(&self, _: OrgId, _: u8, _: i64, _: u32) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    fn lane_of(&self, _: Option<CustomerId>) -> u8 {
        0
    }

    async fn forget(&self, _: OrgId, _: u8, _: Instant, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

const TEXTS: &[&str] = &[
    "refund",
    "Refund me",
    "re-fund",
    "REFUND ME now",
    "me refund",
    "open",
    "Straße 9",
    "STRASSE 9",
    "ÉCLAIR au café",
    "a",
    "a.b*c",
    "a%b_c",
    "x\u{0}y",
    "日本 語",
    "…",
    "İstanbul",
    "ΣΑΣ",
    "no. 3",
];
const TIMES: &[&str] = &[
    "2026-10-19T03:59:59.999Z",
    "2026-10-19T04:00:00.000Z",
    "2026-10-20T03:59:59.999Z",
    "2026-10-20T04:00:00.000Z",
    "0001-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "1969-12-31T23:59:59.999Z",
];
const NUMBERS: &[f64] = &[0.0, -0.0, 1.0, 4.0, 5.0, -2.5, 1e300, 4.000_000_1];
const STATUSES: &[&str] = &["open", "snoozed", "done"];

/// What is drawn by chance.
struct Chance(TestRng);

impl Chance {
    fn below(&mut self, count: usize) -> usize {
        (self.0.next_u32() as usize) % count
    }

    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn number(&mut self) -> f64 {
        NUMBERS[self.below(NUMBERS.len())]
    }

    /// One of a few ids, so that records meet.
    fn id(&mut self, kind: u8) -> Id {
        let mut bytes = [kind; 12];
        bytes[11] = self.below(5) as u8;
        Id::from_bytes(bytes)
    }

    fn some<T>(&mut self, of: impl Fn(&mut Self) -> T) -> Option<T> {
        (!self.once_in(3)).then(|| of(self))
    }

    fn several<T>(&mut self, of: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| of(self)).collect()
    }
}

const COMPANY: u8 = 1;
const CUSTOMER: u8 = 2;
const CONVERSATION: u8 = 3;
const TAG: u8 = 9;

fn one(kind: Kind, id: Option<Id>) -> Json {
    id.map_or(json!({}), |id| json!({ "data": { "type": kind.name(), "id": id } }))
}

/// A record, as much of it as searches see.
fn record(chance: &mut Chance, kind: Kind, id: Id) -> Row {
    let (text, time) = (|c: &mut Chance| c.of(TEXTS), |c: &mut Chance| c.of(TIMES));
    let mut attributes = json!({ "createdAt": time(chance), "updatedAt": time(chance) });
    for (name, value) in [
        ("externalId", json!(chance.some(text))),
        ("tags", json!(chance.several(|c| c.id(TAG)))),
        ("importedAt", json!(chance.some(time))),
        (
            "custom",
            json!({ "noteStr": chance.some(text), "sizeNum": chance.some(Chance::number), "seenAt": chance.some(time),
            "longTxt": chance.some(text), "goodBool": chance.some(|c| c.once_in(2)) }),
        ),
    ] {
        attributes[name] = value;
    }
    let mut relationships = json!({});
    let more = match kind {
        Kind::Customer => {
            relationships["company"] = one(Kind::Company, chance.some(|c| c.id(COMPANY)));
            json!({ "name": chance.some(text), "emails": chance.several(|c| json!({ "email": text(c) })),
                "conversationCounts": { "open": chance.below(2), "done": chance.below(2), "all": chance.below(3) },
                "sentiment": { "polarity": chance.below(3) as i64 - 1 }, "lastMessageAt": chance.some(time) })
        }
        Kind::Conversation => {
            relationships["customer"] = one(Kind::Customer, Some(chance.id(CUSTOMER)));
            json!({ "name": text(chance), "status": chance.of(STATUSES), "priority": chance.some(Chance::number),
                "ended": chance.once_in(2), "lastDone": chance.some(|c| json!({ "createdAt": time(c) })) })
        }
        Kind::Message | Kind::Note => {
            relationships["customer"] = one(Kind::Customer, Some(chance.id(CUSTOMER)));
            relationships["conversation"] = one(Kind::Conversation, Some(chance.id(CONVERSATION)));
            let text = format!("{} {}", text(chance), text(chance));
            json!({ "preview": text, "body": text, "direction": chance.of(&["in", "out"]), "size": chance.number(),
                "meta": { "to": chance.several(|c| json!({ "email": c.of(TEXTS) })) } })
        }
        _ => json!({ "name": text(chance) }),
    };
    for (name, value) in more.as_object().into_iter().flatten() {
        attributes[name] = value.clone();
    }
    let hidden = match chance.below(8) {
        0 => Hidden::Deleted,
        1 => Hidden::WithCustomer,
        _ => Hidden::No,
    };
    let doc = json!({ "type": kind.name(), "id": id, "attributes": attributes, "relationships": relationships });
    let at = Instant::from_millis(0);
    Row {
        kind,
        id,
        customer: None,
        conversation: None,
        hidden,
        rev: 1,
        turn: 0,
        version: 1,
        created_at: at,
        updated_at: at,
        wake_at: None,
        external_id: None,
        label: None,
        doc: doc.to_string(),
        state: None,
    }
}

fn records(chance: &mut Chance) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (kind, byte, count) in [
        (Kind::Company, COMPANY, 4),
        (Kind::Customer, CUSTOMER, 6),
        (Kind::Conversation, CONVERSATION, 12),
        (Kind::Message, 4, 20),
        (Kind::Note, 5, 6),
    ] {
        for n in 0..count {
            let mut bytes = [byte; 12];
            bytes[11] = n;
            rows.push(record(chance, kind, Id::from_bytes(bytes)));
        }
    }
    rows
}

/// Attributes of each class and object, with the class.
const ATTRIBUTES: &[(&str, char)] = &[
    ("customer_name", 's'),
    ("customer_email", 's'),
    ("customer_any_text", 'w'),
    ("customer_status", 'e'),
    ("customer_tags", 'i'),
    ("customer_sentiment", 'm'),
    ("customer_last_message_at", 'd'),
    ("customer_deleted", 'b'),
    ("customer_companyId", 'c'),
    ("customer_custom_noteStr", 's'),
    ("customer_custom_sizeNum", 'n'),
    ("customer_custom_seenAt", 'd'),
    ("customer_custom_longTxt", 'w'),
    ("customer_custom_goodBool", 'b'),
    ("customer_custom_neverStr", 's'),
    ("company_name", 's'),
    ("company_externalId", 'k'),
    ("company_any_text", 'w'),
    ("company_created_at", 'd'),
    ("conversation_name", 's'),
    ("conversation_status", 'e'),
    ("conversation_priority", 'n'),
    ("conversation_ended", 'b'),
    ("conversation_tags", 'i'),
    ("conversation_last_done_created_at", 'd'),
    ("conversation_updated_at", 'd'),
    ("conversation_custom_sizeNum", 'n'),
    ("conversation_any_text", 'w'),
    ("conversation_imported", 'b'),
    ("message_body", 'w'),
    ("message_recipients", 's'),
    ("message_external_id", 'k'),
    ("message_size", 'n'),
    ("message_updated_at", 'd'),
    ("message_any_text", 'w'),
    ("note_body", 'w'),
    ("note_external_id", 'k'),
    ("note_created_at", 'd'),
    ("any_text", 'w'),
];

fn criterion(chance: &mut Chance) -> (String, Json) {
    let (name, class) = ATTRIBUTES[chance.below(ATTRIBUTES.len())];
    let part = |chance: &mut Chance| {
        let text: Vec<char> = chance.of(TEXTS).chars().collect();
        let from = chance.below(text.len());
        text[from..=from + chance.below(text.len() - from)].iter().collect::<String>()
    };
    let value = |chance: &mut Chance| match class {
        'e' => json!(chance.of(STATUSES)),
        'm' => json!(chance.of(&["happy", "unhappy", "indifferent"])),
        'i' => json!(chance.id(TAG)),
        'c' => json!(chance.id(COMPANY)),
        'n' => json!(chance.number()),
        'b' => json!(chance.once_in(2)),
        'd' if chance.once_in(3) => json!(chance.of(&["2026-10-19", "2026-10-20"])),
        'd' => json!(chance.of(TIMES)),
        's' if chance.once_in(2) => json!(part(chance)),
        _ => json!(chance.of(TEXTS)),
    };
    let operator = match class {
        's' => chance.of(&["equals", "not_equals", "contains", "not_contains", "prefix", "set", "not_set"]),
        'w' => chance.of(&["contains", "not_contains", "equals", "set", "not_set"]),
        'k' | 'c' => chance.of(&["equals", "not_equals", "in", "not_in", "prefix", "set"]),
        'e' | 'i' | 'm' => chance.of(&["equals", "not_equals", "in", "not_in", "not_set"]),
        'n' => chance.of(&["equals", "in", "gt", "gte", "lt", "lte", "not_set", "not_equals"]),
        'd' => chance.of(&["equals", "not_equals", "gt", "gte", "lt", "lte", "set"]),
        _ => chance.of(&["equals", "not_equals", "set"]),
    };
    let operand = match operator {
        "in" | "not_in" => json!(chance.several(value)),
        _ => value(chance),
    };
    (name.to_owned(), json!({ operator: operand }))
}

fn group(chance: &mut Chance, depth: usize) -> Json {
    let mut entries = Vec::new();
    for _ in 0..chance.below(3) {
        let mut entry = json!({});
        for _ in 0..=chance.below(2) {
            let (name, value) = if depth > 0 && chance.once_in(3) {
                (chance.of(&["and", "or", "not"]).to_owned(), group(chance, depth - 1))
            } else {
                criterion(chance)
            };
            entry[name] = value;
        }
        entries.push(entry);
    }
    Json::from(entries)
}

fn query(chance: &mut Chance) -> Query {
    let contexts = [
        ("customer", &["customer_name", "customer_last_message_at", "customer_custom_noteStr", "customer_sentiment"]),
        ("company", &["company_name", "company_created_at", "company_externalId", "company_custom_sizeNum"]),
        (
            "conversation",
            &["conversation_name", "conversation_priority", "conversation_ended", "conversation_custom_seenAt"],
        ),
        ("message", &["message_size", "message_updated_at", "message_external_id", "message_direction"]),
        ("note", &["note_external_id", "note_created_at", "note_updated_at", "note_deleted"]),
    ];
    let (context, sortable) = &contexts[chance.below(contexts.len())];
    let mut body = json!({
        "queryContext": context, "includeDeleted": chance.once_in(3), "timeZone": chance.of(&["America/New_York", "GMT"]),
    });
    for word in ["and", "or", "not"] {
        if chance.once_in(2) {
            body[word] = group(chance, 2);
        }
    }
    if !chance.once_in(3) {
        let sorts = (0..chance.below(5)).map(|_| json!({ chance.of(&sortable[..]): chance.of(&["asc", "desc"]) }));
        body["sort"] = sorts.collect();
    }
    parse(&body, Surface::Live).unwrap_or_else(|errors| panic!("{body}: {errors:?}"))
}

async fn agree(index: &Index, rows: &[Row], chance: &mut Chance, queries: usize) -> Result<(), TestCaseError> {
    let seen: Vec<Extracted> =
        rows.iter().map(|row| extract(row.kind, &row.doc, !row.shows()).expect("a record")).collect();
    for _ in 0..queries {
        let query = query(chance);
        let expected = evaluate(&query, &seen);
        let (offset, limit) = (chance.below(4), chance.below(30));
        let window = Window { start: Start::Offset(offset), limit, ties: Ties::Cut };
        let found = index
            .search(&Nothing, ORG, &query, window)
            .await
            .map_err(|error| TestCaseError::fail(format!("{error:?} of {query:?}")))?;
        let page: Vec<Id> = expected.iter().skip(offset).take(limit).copied().collect();
        prop_assert_eq!(&found.ids, &page, "{:?} {:?}", window, query);
        prop_assert_eq!(found.total, expected.len() as u64, "{:?}", query);
        if limit > 0 {
            prop_assert_eq!(found.more, expected.len() > offset + page.len(), "{:?}", window);
        }
        walked(index, &seen, query, chance).await?;
    }
    Ok(())
}

/// The same query in the order of the last change, from after a time: what changed up to then is counted and not shown.
async fn walked(index: &Index, seen: &[Extracted], mut query: Query, chance: &mut Chance) -> Result<(), TestCaseError> {
    let by_change = attribute(&format!("{}_updated_at", query.object.prefix())).expect("every object has one");
    let name = by_change.name.clone();
    query.sort = vec![Sort { attribute: by_change, descending: false }];
    let changed = |id: &Id| {
        let record = seen.iter().find(|record| record.id == *id && Some(record.kind) == query.object.kind())?;
        match record.of(&name).first()? {
            Value::Instant(at) => Some(*at),
            other => panic!("{other:?} is no moment"),
        }
    };
    let expected = evaluate(&query, seen);
    let times: Vec<Instant> = expected.iter().filter_map(changed).collect();
    let time = if times.is_empty() { Instant::from_millis(0) } else { times[chance.below(times.len())] };
    let limit = 1 + chance.below(30);
    let rest: Vec<Id> = expected.iter().filter(|id| changed(id).is_none_or(|at| at > time)).copied().collect();
    let window = Window { start: Start::After(time), limit, ties: Ties::Cut };
    let found = index
        .search(&Nothing, ORG, &query, window)
        .await
        .map_err(|error| TestCaseError::fail(format!("{error:?} of {query:?}")))?;
    prop_assert_eq!(&found.ids[..], &rest[..limit.min(rest.len())], "{:?} {:?}", window, query);
    prop_assert_eq!((found.total, found.more), (expected.len() as u64, rest.len() > limit), "{:?}", query);
    Ok(())
}

const ORG: OrgId = OrgId(Id::from_bytes([7; 12]));

async fn both(chance: &mut Chance) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("a folder");
    let index = Arc::new(Index::open(Options::new(folder.path().to_owned())).expect("an index"));
    let mut rows = records(chance);
    let batch = |rows: &[Row], gone| Batch { rows: rows.to_vec(), gone, mark: Mark::default() };
    index.begin(ORG).await.expect("begun");
    for some in rows.chunks(20) {
        prop_assert_eq!(index.build(ORG, batch(some, Vec::new())).await.expect("built"), 0);
    }
    index.publish(ORG).await.expect("published");
    agree(&index, &rows, chance, 40).await?;
    // Some change, and some are no longer there.
    for row in &mut rows {
        if chance.once_in(3) {
            *row = record(chance, row.kind, row.id);
        }
    }
    let (gone, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|_| chance.once_in(6));
    let gone = gone.into_iter().map(|row| (row.kind, row.id)).collect();
    prop_assert_eq!(index.write(ORG, batch(&rows, gone)).await.expect("written"), 0);
    index.commit(ORG).await.expect("committed");
    agree(&index, &rows, chance, 40).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn the_index_and_the_plain_evaluator_find_the_same(chance in Just(()).prop_perturb(|(), rng| rng)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(both(&mut Chance(chance)))?;
    }
}

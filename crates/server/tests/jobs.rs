//! Work that runs by itself: what fails holds up nothing else, and what one process leaves another finishes.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use konverse_domain::{Domain, Org};
use konverse_jobs::{LEASE_MS, Rerender, Round, Runner, Snoozes};
use konverse_model::resource::{
    ConversationAttributes, CustomerAttributes, MessageAttributes, NoteAttributes, TagAttributes, TeamAttributes,
    TokenAttributes, UserAttributes,
};
use konverse_model::{Attributes, Document, Instant, RENDERER};
use konverse_store::Trouble;
use konverse_testkit::{Place, Record, TestApp, TestClock, TestStore, from_schema_1, on_both_engines};
use serde_json::{Value, json};

/// The columns of each table with texts, but for those a test looks at by themselves.
const TABLES: [(&str, &str); 5] = [
    ("customer", "hidden, rev, turn, created_at, updated_at"),
    ("conversation", "customer, hidden, created_at, rev, updated_at, wake_at, external_id, state"),
    ("message", "conversation, created_at, customer, hidden, rev, updated_at, external_id"),
    ("note", "conversation, created_at, customer, hidden, rev, updated_at, external_id"),
    ("record", "kind, hidden, rev, created_at, updated_at, label"),
];

/// Every row with a text by table, kind and id; its version and its text apart from the rest.
async fn rows(place: &Place) -> BTreeMap<(String, String), (i64, String, Record)> {
    let mut rows = BTreeMap::new();
    for (table, columns) in TABLES {
        for mut row in place.rows(&format!("SELECT org, id, version, doc, {columns} FROM {table}")).await {
            let mut take = |column| row.shift_remove(column).expect("the column");
            let (id, version, doc) = (take("id"), take("version"), take("doc"));
            let kind = row.get("kind").map_or(table, |kind| kind.as_str().expect("a text")).to_owned();
            let key = (kind, id.as_str().expect("an id").to_owned());
            rows.insert(key, (version.as_i64().expect("a number"), doc.as_str().expect("a text").to_owned(), row));
        }
    }
    rows
}

/// Everything that is told.
async fn told(place: &Place) -> Vec<Record> {
    let mut told = place
        .rows("SELECT lane, seq, at, verb, kind, object, customer, actor, rev, changes FROM event ORDER BY lane, seq")
        .await;
    told.extend(place.rows("SELECT n, seq, at, used, gone FROM lane ORDER BY n").await);
    told
}

fn rendered<A: Attributes>(text: &str) -> String {
    Document::<A>::from_text(text).expect("a stored text").render().text
}

/// A text as this program writes it.
fn anew(kind: &str, text: &str) -> String {
    match kind {
        "customer" => rendered::<CustomerAttributes>(text),
        "conversation" => rendered::<ConversationAttributes>(text),
        "message" => rendered::<MessageAttributes>(text),
        "note" => rendered::<NoteAttributes>(text),
        "user" => rendered::<UserAttributes>(text),
        "team" => rendered::<TeamAttributes>(text),
        "tag" => rendered::<TagAttributes>(text),
        "auth_token" => rendered::<TokenAttributes>(text),
        other => panic!("what is a {other}?"),
    }
}

async fn migrated(place: Place) -> TestApp {
    // Later than all that is in either of the kept databases.
    let now = "2026-11-25T00:00:00.000Z".parse().expect("an instant");
    TestApp::over_stored(TestStore::at(place).await, TestClock::at(now)).await
}

async fn outdated(app: &TestApp) -> usize {
    let mut count = 0;
    for kind in Domain::RENDERED {
        count += app.domain.outdated("somebody", kind, app.now(), 10_000).await.expect("a read").len();
    }
    count
}

/// Rounds until nothing is done any more: items done and items failed.
async fn rendering(app: &TestApp) -> (usize, usize) {
    let (mut done, mut failed) = (0, 0);
    loop {
        let round = app.round(&Rerender(Arc::clone(&app.domain))).await;
        assert!(!round.elsewhere);
        if round == Round::default() {
            return (done, failed);
        }
        done += round.done;
        failed += round.failed;
    }
}

async fn troubles(app: &TestApp, job: &str) -> Vec<Trouble> {
    app.store.store().troubles(job, 1_000).await.expect("a read")
}

from_schema_1!(all_texts_are_rendered_anew_and_nothing_else_changes, |place| async move {
    let app = migrated(place).await;
    let place = app.store.place();
    let (before, told_before) = (rows(place).await, told(place).await);
    assert!(before.values().all(|(version, ..)| *version < RENDERER));
    assert_eq!(outdated(&app).await, before.len());

    assert_eq!(rendering(&app).await, (before.len(), 0));

    assert_eq!(outdated(&app).await, 0);
    let after = rows(place).await;
    assert_eq!(after.len(), before.len());
    for ((key, (version, doc, rest)), (_, was, rest_before)) in after.iter().zip(before.values()) {
        assert_eq!(*version, RENDERER, "{key:?}");
        assert_eq!(rest, rest_before, "{key:?}");
        assert_eq!(*doc, anew(&key.0, was), "{key:?}");
    }
    assert!(after.keys().eq(before.keys()));
    assert_eq!(told(place).await, told_before, "it is no change anybody is told of");
    assert_eq!(rendering(&app).await, (0, 0));
    assert!(troubles(&app, "render").await.is_empty());
});

from_schema_1!(what_one_process_began_to_render_another_finishes, |place| async move {
    let app = migrated(place).await;
    let place = app.store.place();
    let before = rows(place).await;
    let first = app.round(&Rerender(Arc::clone(&app.domain))).await;
    let current = rows(place).await.values().filter(|(version, ..)| *version == RENDERER).count();
    assert!(first.done > 0 && first.done < before.len() && first.done == current, "{first:?}, {current}");

    let other = app.other_domain(17).await;
    let (runner, job) = (Runner::of(&other), Rerender(Arc::clone(&other)));
    let elsewhere = Round { elsewhere: true, ..Round::default() };
    assert_eq!(runner.round(&job, 500).await.expect("a round"), elsewhere);
    app.clock.advance(LEASE_MS);
    let mut done = first.done;
    loop {
        let round = runner.round(&job, 500).await.expect("a round");
        assert_eq!((round.failed, round.elsewhere), (0, false));
        if round.done == 0 {
            break;
        }
        done += round.done;
    }
    assert_eq!(done, before.len(), "none of them twice");
    assert_eq!(outdated(&app).await, 0);
});

from_schema_1!(a_text_that_cannot_be_read_is_put_aside, |place| async move {
    let token = Place::schema_1_token(place.backend());
    let app = migrated(place).await;
    let (place, actor) = (app.store.place(), app.bearer(token).of_any_release());
    let before = rows(place).await;
    let some = |kind: &str| {
        let mut of_kind = before.iter().filter(|((of, _), (.., row))| of == kind && row["hidden"] == 0);
        let ((_, id), (_, doc, row)) = of_kind.next_back().expect("one that shows");
        (id.clone(), doc.clone(), row.clone())
    };
    let (message, message_doc, message_row) = some("message");
    let (conversation, conversation_doc, _) = some("conversation");
    let put = async |table: &str, id: &str, doc: &str| {
        let (doc, id) = (doc.replace('\'', "''"), place.id(id));
        place.run(&format!("UPDATE {table} SET doc = '{doc}' WHERE id = {id}")).await;
    };
    let cut_off = &message_doc[..message_doc.len() / 2];
    let wrong = r#"{"type":"conversation","id":"000000000000000000000000","attributes":{"priority":"my secret"}}"#;
    put("message", &message, cut_off).await;
    put("conversation", &conversation, wrong).await;

    assert_eq!(rendering(&app).await, (before.len() - 2, 2), "all others");
    let aside = troubles(&app, "render").await;
    let mut items: Vec<String> = aside.iter().map(|trouble| trouble.item.to_string()).collect();
    items.sort_unstable();
    let mut damaged = [message.clone(), conversation.clone()];
    damaged.sort_unstable();
    assert_eq!(items, damaged);
    for trouble in &aside {
        assert_eq!((trouble.attempts, trouble.org), (1, app.org.id));
        assert!(trouble.reason.contains("stored record"), "{}", trouble.reason);
        assert!(!trouble.reason.contains("secret"), "a reason tells nothing of what people wrote: {}", trouble.reason);
    }
    let still: Vec<String> =
        rows(place).await.into_iter().filter(|(_, row)| row.0 < RENDERER).map(|(k, _)| k.1).collect();
    assert_eq!(still, [conversation.clone(), message.clone()]);

    // Whoever reads gets all there is; what cannot be read is handed on as it lies.
    for path in ["/v1/customers", "/v1/notes", "/v1/users", "/v1/teams", "/v1/tags", "/v1/auth/tokens"] {
        assert!(!actor.get(path).await.ids().is_empty(), "{path}");
    }
    let of = message_row["conversation"].as_str().expect("an id");
    let list = actor.get(&format!("/v1/conversations/{of}/messages")).await;
    assert_eq!(list.status, 200);
    let list = String::from_utf8(list.body).expect("a text");
    assert!(list.contains(cut_off));
    for ((kind, id), (_, doc, row)) in &rows(place).await {
        if kind == "message" && row["conversation"] == of && *id != message && row["hidden"] == 0 {
            assert!(list.contains(doc.as_str()), "the others of its list are there");
        }
    }

    // Later it is tried again, and waits longer each time.
    let wait = |trouble: &Trouble| trouble.retry_at.since(app.now());
    let mut waits = vec![wait(&aside[0])];
    for attempts in 2..=4 {
        assert_eq!(rendering(&app).await, (0, 0), "not before its time");
        app.clock.advance(*waits.last().expect("a wait"));
        assert_eq!(rendering(&app).await, (0, 2));
        let aside = troubles(&app, "render").await;
        assert!(aside.iter().all(|trouble| trouble.attempts == attempts), "{aside:?}");
        waits.push(wait(&aside[0]));
    }
    assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");

    put("message", &message, &message_doc).await;
    put("conversation", &conversation, &conversation_doc).await;
    app.clock.advance(*waits.last().expect("a wait"));
    assert_eq!(rendering(&app).await, (2, 0));
    assert!(troubles(&app, "render").await.is_empty());
    assert_eq!(outdated(&app).await, 0);
});

/// A conversation snoozed for a minute, of a customer of its own.
async fn snoozed(app: &TestApp, org: &Org) -> String {
    let actor = app.actor_of(org, &["org"]).await;
    let customer = actor.customer().await;
    let conversation = actor.conversation(&customer, json!({})).await;
    let time = app.now().plus(60_000);
    let snooze = json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": time } });
    actor.patch(&format!("/v1/conversations/{conversation}"), snooze).await.ok();
    conversation
}

async fn status(app: &TestApp, org: &Org, conversation: &str) -> Value {
    let actor = app.actor_of(org, &["org"]).await;
    actor.attributes(&format!("/v1/conversations/{conversation}")).await["status"].clone()
}

/// Overwrites a conversation's text with what is none; gives what it was.
async fn damage(app: &TestApp, conversation: &str) -> String {
    let place = app.store.place();
    let id = place.id(conversation);
    let was = place.rows(&format!("SELECT doc FROM conversation WHERE id = {id}")).await.remove(0);
    place.run(&format!("UPDATE conversation SET doc = '{{\"id\":' WHERE id = {id}")).await;
    was["doc"].as_str().expect("a text").to_owned()
}

async fn mend(app: &TestApp, conversation: &str, doc: &str) {
    let place = app.store.place();
    let (id, doc) = (place.id(conversation), doc.replace('\'', "''"));
    place.run(&format!("UPDATE conversation SET doc = '{doc}' WHERE id = {id}")).await;
}

/// What is logged on this thread while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines_with(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().filter(|line| line.contains(text)).count()
    }
}

on_both_engines!(a_failing_snooze_holds_up_no_other, |app| async move {
    let globex = app.domain.create_org("globex").await.expect("the org is new");
    let failing = snoozed(&app, &app.org).await;
    let mut others = Vec::new();
    for org in [&app.org, &globex, &app.org, &globex] {
        others.push((org, snoozed(&app, org).await));
    }
    let text = damage(&app, &failing).await;
    app.clock.advance(60_000);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let logging = tracing::subscriber::set_default(subscriber);

    let job = Snoozes(Arc::clone(&app.domain));
    assert_eq!(app.round(&job).await, Round { done: 4, failed: 1, elsewhere: false });
    for (org, conversation) in &others {
        assert_eq!(status(&app, org, conversation).await, "open");
    }
    assert_eq!(log.lines_with(&failing), 1, "it is reported once for each attempt");

    for (attempts, wait) in [(1, 5_000), (2, 10_000), (3, 20_000), (4, 40_000)] {
        let aside = troubles(&app, "snooze").await;
        assert_eq!(aside.len(), 1);
        assert_eq!(
            (aside[0].item.to_string(), aside[0].org, aside[0].attempts),
            (failing.clone(), app.org.id, attempts)
        );
        assert_eq!(aside[0].retry_at, app.now().plus(wait));
        assert_eq!(app.round(&job).await, Round::default());
        app.clock.advance(wait - 1);
        assert_eq!(app.round(&job).await, Round::default(), "not before its time");
        app.clock.advance(1);
        assert_eq!(app.round(&job).await, Round { failed: 1, ..Round::default() });
        assert_eq!(log.lines_with(&failing), attempts as usize + 1);
    }

    // What comes due meanwhile is not held up either, however little is looked at in a round.
    let late = snoozed(&app, &globex).await;
    app.clock.advance(80_000);
    assert_eq!(app.runner().round(&job, 1).await.expect("a round"), Round { failed: 1, ..Round::default() });
    assert_eq!(app.runner().round(&job, 1).await.expect("a round"), Round { done: 1, ..Round::default() });
    assert_eq!(status(&app, &globex, &late).await, "open");

    mend(&app, &failing, &text).await;
    assert_eq!(app.round(&job).await, Round::default(), "it waits for its time all the same");
    app.clock.advance(160_000);
    assert_eq!(app.round(&job).await, Round { done: 1, ..Round::default() });
    assert_eq!(status(&app, &app.org, &failing).await, "open");
    assert!(troubles(&app, "snooze").await.is_empty());
    assert_eq!(app.round(&job).await, Round::default());
    drop(logging);
});

on_both_engines!(what_is_due_without_being_snoozed_is_not_tried_without_end, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let open = admin.conversation(&customer, json!({})).await;
    let deleted = admin.conversation(&customer, json!({})).await;
    assert_eq!(admin.delete(&format!("/v1/conversations/{deleted}")).await.status, 204);
    let due = app.now().millis() - 1;
    app.store.place().run(&format!("UPDATE conversation SET wake_at = {due}")).await;
    let job = Snoozes(Arc::clone(&app.domain));
    assert_eq!(app.round(&job).await, Round { failed: 2, ..Round::default() });
    assert_eq!(app.round(&job).await, Round::default());
    assert_eq!(admin.attributes(&format!("/v1/conversations/{open}")).await["status"], "open");

    // The next change puts it right.
    admin.patch(&format!("/v1/conversations/{open}"), json!({ "name": "changed" })).await.ok();
    let asleep = "SELECT count(*) FROM conversation WHERE wake_at IS NOT NULL";
    assert_eq!(app.store.place().number(asleep).await, 1);
});

on_both_engines!(a_job_is_taken_over_when_its_process_is_gone, |app| async move {
    let first = snoozed(&app, &app.org).await;
    let other = app.other_domain(17).await;
    let (runner, theirs) = (Runner::of(&other), Snoozes(Arc::clone(&other)));
    let ours = Snoozes(Arc::clone(&app.domain));
    let elsewhere = Round { elsewhere: true, ..Round::default() };
    assert_eq!(runner.round(&theirs, 500).await.expect("a round"), Round::default());
    assert_eq!(app.store.place().number("SELECT count(*) FROM lease").await, 0, "idle servers write nothing");

    app.clock.advance(60_000);
    assert!(runner.holds("snooze").await.expect("a write"));
    assert_eq!(app.round(&ours).await, elsewhere);
    // Each round of theirs is another full lease.
    app.clock.advance(LEASE_MS - 1);
    assert!(runner.holds("snooze").await.expect("a write"));
    app.clock.advance(LEASE_MS - 1);
    assert_eq!(app.round(&ours).await, elsewhere);
    app.clock.advance(1);
    assert_eq!(app.round(&ours).await, Round { done: 1, ..Round::default() });
    assert_eq!(status(&app, &app.org, &first).await, "open");

    // Given back, nobody waits for its end; nobody gives back another's.
    let second = snoozed(&app, &app.org).await;
    app.clock.advance(60_000);
    assert!(app.runner().holds("snooze").await.expect("a write"));
    assert_eq!(runner.round(&theirs, 500).await.expect("a round"), elsewhere);
    runner.let_go("snooze").await.expect("a write");
    assert_eq!(runner.round(&theirs, 500).await.expect("a round"), elsewhere);
    app.runner().let_go("snooze").await.expect("a write");
    assert_eq!(runner.round(&theirs, 500).await.expect("a round"), Round { done: 1, ..Round::default() });
    assert_eq!(status(&app, &app.org, &second).await, "open");
});

on_both_engines!(processes_that_want_a_job_at_once_share_no_item, |app| async move {
    let mut conversations = Vec::new();
    for _ in 0..12 {
        conversations.push(snoozed(&app, &app.org).await);
    }
    app.clock.advance(60_000);
    let mut rounds = Vec::new();
    for seed in 20..24 {
        let domain = app.other_domain(seed).await;
        rounds.push(tokio::spawn(async move {
            Runner::of(&domain).round(&Snoozes(Arc::clone(&domain)), 500).await.expect("a round")
        }));
    }
    let mut outcomes = Vec::new();
    for round in rounds {
        outcomes.push(round.await.expect("no panic"));
    }
    // Whoever comes when all is done finds nothing to do.
    let done: Vec<usize> = outcomes.iter().map(|round| round.done).filter(|done| *done > 0).collect();
    assert_eq!(done, [12], "{outcomes:?}");
    let woken = "SELECT count(*) FROM event WHERE kind = 'conversation' AND verb = 'update' AND actor IS NULL";
    assert_eq!(app.store.place().number(woken).await, 12);
    assert!(troubles(&app, "snooze").await.is_empty());
    let at: Instant = app.now();
    assert!(app.store.store().due("snooze", at, 100).await.expect("a read").is_empty());
});

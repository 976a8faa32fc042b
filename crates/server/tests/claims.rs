//! Turns of one customer between processes: whoever loses time and again claims the next turn, so that a change that takes
//! long to compute gets done beside others that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use konverse_model::{Clock as _, CustomerId, Id};
use konverse_store::{CLAIM_MS, claim_on};
use konverse_testkit::{Actor, Backend, Interposed, TestApp, on_both_engines};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const CLAIMS: &str = "SELECT count(*) FROM lease WHERE name LIKE 'turn %'";

/// A process whose changes can be held back and are counted, and a token for it.
async fn process(app: &TestApp, admin: &Actor) -> (Arc<Interposed>, Arc<Actor>) {
    let store = Interposed::new(app.store.reopened().await);
    let process = app.over(store.clone());
    (store, Arc::new(admin.at(&process)))
}

/// A customer with a conversation of three messages.
async fn talk(admin: &Actor) -> (String, String, Vec<String>) {
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let mut messages = Vec::new();
    for n in 0..3 {
        messages.push(admin.message(&conversation, json!({ "preview": format!("message {n}") })).await);
    }
    (customer, conversation, messages)
}

/// Changes that were begun.
type Begun = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// Begins a change of the process over `store`, unless one still waits, and goes on once it is done or has lost.
async fn between(store: Arc<Interposed>, change: impl Future<Output = ()> + Send + 'static, begun: Begun) {
    let mut begun = begun.lock().await;
    if begun.iter().all(JoinHandle::is_finished) {
        let lost = store.conflicts();
        let change = tokio::spawn(change);
        while !change.is_finished() && store.conflicts() == lost {
            tokio::task::yield_now().await;
        }
        begun.push(change);
    }
}

fn said(preview: &str) -> Value {
    json!({ "channel": "chat", "app": "x", "direction": "out", "preview": preview })
}

/// The lease that somebody else takes on a customer's turn, and how far in milliseconds from now it ends.
async fn claimed(app: &TestApp, customer: &str, millis: i64) {
    let (store, now) = (app.store.store(), app.now());
    let name = claim_on(app.org.id, CustomerId(customer.parse().expect("an id")));
    assert!(store.lease(&name, Id::from_bytes([7; 12]), now, now.plus(millis)).await.expect("a lease"));
}

/// Nobody holds a claim, once those who have been answered have given theirs back.
async fn no_claim_is_left(app: &TestApp) {
    for _ in 0..6_000 {
        if app.store.place().number(CLAIMS).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a claim is left");
}

on_both_engines!(a_change_that_takes_long_is_done_beside_writers_who_never_pause, |app| async move {
    const MOST: usize = 40;
    let admin = app.admin().await;
    let (dear_store, dear) = process(&app, &admin).await;
    let (cheap_store, cheap) = process(&app, &admin).await;
    let (customer, conversation, messages) = talk(&admin).await;
    // Whenever the dear change has been computed, a message of the other process comes in between, if it may.
    let sent = Begun::default();
    for n in 0..MOST {
        let (cheap, path) = (Arc::clone(&cheap), format!("/v1/conversations/{conversation}/messages"));
        let sending = async move { drop(cheap.post(&path, said(&format!("{n}"))).await.created()) };
        dear_store.before_apply(between(Arc::clone(&cheap_store), sending, Arc::clone(&sent))).await;
    }
    dear.patch(&format!("/v1/messages/{}", messages[0]), json!({ "preview": "changed" })).await.ok();
    assert_eq!(dear_store.conflicts(), 3, "then it claimed the next turn");
    let sent = std::mem::take(&mut *sent.lock().await);
    let count = sent.len();
    assert_eq!(count, 4, "the last one met the claim");
    for sending in sent {
        sending.await.expect("it is taken once the turn is free");
    }
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!((&it["messageCount"], &it["preview"]), (&json!(3 + count), &json!("changed")));
    no_claim_is_left(&app).await;

    // One of which the first attempt took long claims the next turn at once.
    let (dear_store, dear) = process(&app, &admin).await;
    let (clock, path) = (Arc::clone(&app.clock), format!("/v1/conversations/{conversation}"));
    let sending = async move {
        clock.advance(100);
        drop(cheap.patch(&path, json!({ "priority": 2 })).await.ok());
    };
    let begun = Begun::default();
    dear_store.before_apply(between(Arc::clone(&cheap_store), sending, begun)).await;
    let (claims, reading) = (Arc::default(), Arc::clone(&app.store.place().open().await.expect("a store")));
    let name = claim_on(app.org.id, CustomerId(customer.parse().expect("an id")));
    let (seen, now): (Arc<Mutex<Option<Id>>>, _) = (Arc::clone(&claims), app.now());
    dear_store
        .before_apply(async move {
            *seen.lock().await = reading.holder(&name, now, now.plus(CLAIM_MS)).await.expect("a read");
        })
        .await;
    dear.patch(&format!("/v1/messages/{}", messages[0]), json!({ "preview": "again" })).await.ok();
    assert_eq!(dear_store.conflicts(), 1);
    assert!(claims.lock().await.is_some(), "it was claimed");
});

on_both_engines!(a_claim_is_renewed_while_its_change_is_computed, |app| async move {
    let admin = app.admin().await;
    let (dear_store, dear) = process(&app, &admin).await;
    let (cheap_store, cheap) = process(&app, &admin).await;
    let (customer, conversation, messages) = talk(&admin).await;
    let name = claim_on(app.org.id, CustomerId(customer.parse().expect("an id")));
    let (reading, clock, looked_at) = (app.store.reopened().await, Arc::clone(&app.clock), Arc::clone(&dear_store));
    let path = format!("/v1/conversations/{conversation}");
    let (slow, begun) = (Arc::clone(&app.clock), Begun::default());
    // The first attempt takes long and loses, so the second one has a claim; that takes long, too.
    let sending = async move {
        slow.advance(100);
        drop(cheap.patch(&path, json!({ "priority": 2 })).await.ok());
    };
    let renewed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&renewed);
    dear_store
        .before_apply(async move {
            between(cheap_store, sending, begun).await;
            let computing = async move {
                let claimed_until = clock.now().plus(CLAIM_MS);
                clock.advance(1_000);
                for _ in 0..6_000 {
                    // Who asks when the claim would have ended finds it all the same.
                    if reading
                        .holder(&name, claimed_until, claimed_until.plus(CLAIM_MS))
                        .await
                        .expect("a read")
                        .is_some()
                    {
                        seen.store(true, Ordering::SeqCst);
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            looked_at.before_look(computing).await;
        })
        .await;
    dear.patch(&format!("/v1/messages/{}", messages[0]), json!({ "preview": "changed" })).await.ok();
    assert_eq!(dear_store.conflicts(), 1);
    assert!(renewed.load(Ordering::SeqCst), "it was renewed");
    no_claim_is_left(&app).await;
});

on_both_engines!(who_dies_with_a_claim_holds_up_that_customer_for_seconds_and_nobody_else, |app| async move {
    let admin = app.admin().await;
    let (store, writer) = process(&app, &admin).await;
    let (customer, conversation, messages) = talk(&admin).await;
    let (_, elsewhere, _) = talk(&admin).await;
    claimed(&app, &customer, CLAIM_MS).await;
    let waiting = {
        let (writer, path) = (Arc::clone(&writer), format!("/v1/conversations/{conversation}/messages"));
        tokio::spawn(async move { writer.post(&path, said("late")).await })
    };
    let renaming = {
        let (writer, path) = (Arc::clone(&writer), format!("/v1/customers/{customer}"));
        tokio::spawn(async move { writer.patch(&path, json!({ "name": "Ann" })).await })
    };
    let others = Arc::new(admin.at(&app.other_process().await));
    let path = format!("/v1/conversations/{elsewhere}/messages");
    let mut rounds = 0;
    while (store.conflicts() == 0 && !waiting.is_finished()) || rounds < 3 {
        others.post(&path, said("not held up")).await.created();
        rounds += 1;
    }
    app.clock.advance(CLAIM_MS - 1);
    others.post(&path, said("nor now")).await.created();
    assert!(!waiting.is_finished() && !renaming.is_finished(), "the claim holds");
    app.clock.advance(1);
    waiting.await.expect("the task ends").created();
    renaming.await.expect("the task ends").ok();
    // A claim that ends later than any can was made before the clock was set back.
    claimed(&app, &customer, 2 * CLAIM_MS + 1).await;
    let lost = store.conflicts();
    writer.patch(&format!("/v1/messages/{}", messages[0]), json!({ "preview": "changed" })).await.ok();
    assert_eq!(store.conflicts(), lost, "it holds no longer");
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!((&it["messageCount"], &it["preview"]), (&json!(4), &json!("changed")));
});

on_both_engines!(a_change_that_is_given_up_gives_its_claim_back, |app| async move {
    let admin = app.admin().await;
    let (store, writer) = process(&app, &admin).await;
    let (customer, _, messages) = talk(&admin).await;
    store.lose_all();
    let path = format!("/v1/messages/{}", messages[0]);
    assert_eq!(writer.patch(&path, json!({ "preview": "changed" })).await.status, 503);
    no_claim_is_left(&app).await;
    // And so does one whose caller goes away.
    let lost = store.conflicts();
    let waiting = tokio::spawn(async move { writer.patch(&path, json!({ "preview": "changed" })).await });
    while store.conflicts() < lost + 5 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    no_claim_is_left(&app).await;
    admin.patch(&format!("/v1/customers/{customer}"), json!({ "name": "Ann" })).await.ok();
});

/// Two processes that add to, change and move the conversations of two customers, all at once, and each of them by turns
/// slow: whatever they were told was done is there, once.
async fn writers_of_two_processes(app: TestApp) {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 5;
    let admin = app.admin().await;
    let (first, conversation, messages) = talk(&admin).await;
    let second = admin.customer().await;
    let (one, other) = (process(&app, &admin).await, process(&app, &admin).await);
    // Each loses often: whenever it was slow, somebody else was not.
    let (quick_store, quick) = process(&app, &admin).await;
    let begun = Begun::default();
    for (store, _) in [&one, &other] {
        for n in 0..60 {
            let (quick, path) = (Arc::clone(&quick), format!("/v1/conversations/{conversation}"));
            let change = async move { drop(quick.patch(&path, json!({ "priority": 1 + n % 5 })).await.ok()) };
            store.before_apply(between(Arc::clone(&quick_store), change, Arc::clone(&begun))).await;
        }
    }
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let actor = Arc::clone(if n % 2 == 0 { &one.1 } else { &other.1 });
        let (conversation, message) = (conversation.clone(), messages[n % 3].clone());
        let customers = [first.clone(), second.clone()];
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                match n {
                    0 | 1 => {
                        let body = json!({ "preview": format!("{n} {round}") });
                        actor.patch(&format!("/v1/messages/{message}"), body).await.ok();
                    }
                    2 | 3 => {
                        let body = json!({ "customer": customers[(n + round) % 2] });
                        actor.patch(&format!("/v1/conversations/{conversation}"), body).await.ok();
                    }
                    _ => {
                        let path = format!("/v1/conversations/{conversation}/messages");
                        actor.post(&path, said(&format!("{n} {round}"))).await.created();
                    }
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("nobody is refused");
    }
    for change in std::mem::take(&mut *begun.lock().await) {
        change.await.expect("nor one of those who came between");
    }
    assert!(one.0.conflicts() + other.0.conflicts() > 6, "they met each other");
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    let listed = admin.get(&format!("/v1/conversations/{conversation}/messages?pageSize=100")).await.ok();
    let listed = listed["data"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 3 + 2 * ROUNDS, "each message is there once");
    assert_eq!(it["messageCount"], json!(listed.len()));
    let preview = admin.attributes(&format!("/v1/messages/{}", messages[0])).await["preview"].clone();
    assert_eq!((&preview, &it["preview"]), (&json!(format!("0 {}", ROUNDS - 1)), &preview), "the last change holds");
    let mut counted = 0;
    for customer in [&first, &second] {
        let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
        let theirs = admin.get(&format!("/v1/customers/{customer}/conversations")).await.ids().len();
        assert_eq!(who["conversationCounts"]["all"], json!(theirs));
        let messages = admin.get(&format!("/v1/customers/{customer}/messages?pageSize=100")).await.ids().len();
        assert_eq!(messages, theirs * listed.len(), "messages move with their conversation");
        counted += theirs;
    }
    assert_eq!(counted, 1);
    no_claim_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_processes_that_claim_turns_on_sqlite() {
    writers_of_two_processes(TestApp::new(Backend::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_processes_that_claim_turns_on_postgres() {
    writers_of_two_processes(TestApp::new(Backend::Postgres).await).await;
}

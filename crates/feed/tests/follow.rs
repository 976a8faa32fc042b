//! Following the sequence: every event once, in each customer's order, by one process at a time, from where it was left;
//! and what fails holds up nothing else.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use konverse_domain::Org;
use konverse_feed::{Feed, FeedError, Followed, Follower, Position, follow, follow_once, forget_old};
use konverse_jobs::{JobError, LEASE_MS, Runner};
use konverse_model::OrgId;
use konverse_store::{Event, Trouble};
use konverse_testkit::{Actor, TestApp, on_both_engines};
use serde_json::json;
use tokio::sync::{Notify, watch};

/// A follower that notes what it is handed, and fails where it is told to.
#[derive(Default)]
struct Notebook {
    seen: Mutex<Vec<(OrgId, Event)>>,
    anew: Mutex<Vec<OrgId>>,
    /// Events of these orgs fail.
    failing: Mutex<HashSet<OrgId>>,
    /// Events about these records fail.
    poison: Mutex<HashSet<String>>,
    /// Beginning anew fails.
    stuck: Mutex<bool>,
    noted: Notify,
}

#[async_trait]
impl Follower for Notebook {
    fn name(&self) -> &str {
        "notebook"
    }

    async fn take(&self, org: OrgId, event: &Event) -> Result<(), JobError> {
        let poisoned = self.poison.lock().unwrap().contains(&event.object.to_string());
        if poisoned || self.failing.lock().unwrap().contains(&org) {
            return Err(JobError("the ink is dry".into()));
        }
        self.seen.lock().unwrap().push((org, event.clone()));
        self.noted.notify_one();
        Ok(())
    }

    async fn begin_anew(&self, org: OrgId) -> Result<(), JobError> {
        if *self.stuck.lock().unwrap() {
            return Err(JobError("no new page".into()));
        }
        self.anew.lock().unwrap().push(org);
        Ok(())
    }
}

impl Notebook {
    /// What was noted since this was last asked.
    fn noted(&self) -> Vec<Event> {
        std::mem::take(&mut *self.seen.lock().unwrap()).into_iter().map(|(_, event)| event).collect()
    }

    /// How often it began anew since this was last asked.
    fn begun_anew(&self) -> usize {
        std::mem::take(&mut *self.anew.lock().unwrap()).len()
    }
}

const NOTHING: Followed = Followed { taken: 0, failed: 0, elsewhere: false };
const ELSEWHERE: Followed = Followed { elsewhere: true, ..NOTHING };

fn taken(taken: usize) -> Followed {
    Followed { taken, ..NOTHING }
}

async fn once(runner: &Runner, notebook: &Notebook, org: &Org) -> Followed {
    follow_once(runner, notebook, org.id).await.expect("it can be followed")
}

/// Follows until there is nothing more.
async fn to_the_end(runner: &Runner, notebook: &Notebook, org: &Org) -> Followed {
    let mut all = NOTHING;
    loop {
        let followed = once(runner, notebook, org).await;
        assert!(!followed.elsewhere);
        if followed == NOTHING {
            return all;
        }
        all.taken += followed.taken;
        all.failed += followed.failed;
    }
}

/// How many events an org has, as plain SQL finds them.
async fn stored(app: &TestApp, org: &Org) -> usize {
    let place = app.store.place();
    let org = place.id(&org.id.to_string());
    let count = place.number(&format!("SELECT count(*) FROM event WHERE org = {org}")).await;
    usize::try_from(count).expect("a count")
}

async fn forget(app: &TestApp) -> u64 {
    forget_old(&*app.store.store(), app.now()).await.expect("a write")
}

async fn troubles(app: &TestApp) -> Vec<Trouble> {
    app.store.store().troubles("notebook", 1_000).await.expect("a read")
}

async fn position(app: &TestApp) -> Option<String> {
    app.store.store().position("notebook", app.org.id).await.expect("a read")
}

async fn put_position(app: &TestApp, position: &str) {
    app.store.store().put_position("notebook", app.org.id, position).await.expect("a write");
}

async fn newest(app: &TestApp) -> Position {
    app.feed().newest().await.expect("a read")
}

/// Conversations with a message, some of them deleted, and tags: as one process writes them.
async fn busy(actor: Actor, customers: Vec<String>, rounds: usize) {
    for n in 0..rounds {
        let conversation = actor.conversation(&customers[n % customers.len()], json!({})).await;
        let path = format!("/v1/conversations/{conversation}");
        let message = json!({ "channel": "email", "app": "x", "preview": format!("{n}") });
        actor.post(&format!("{path}/messages"), message).await.created();
        if n % 4 == 0 {
            assert_eq!(actor.delete(&path).await.status, 204);
        }
        if n % 5 == 0 {
            actor.post("/v1/tags", json!({ "name": conversation })).await.created();
        }
    }
}

/// None comes twice, and those of a customer come in the order of their numbers.
fn in_order(events: &[Event]) {
    let places: HashSet<_> = events.iter().map(|event| (event.lane, event.seq)).collect();
    assert_eq!(places.len(), events.len(), "none comes twice");
    let mut of_customer = BTreeMap::new();
    for event in events {
        let customer = event.customer.map(|customer| customer.to_string());
        let last = of_customer.insert(customer, (event.lane, event.seq));
        let follows = last.is_none_or(|(lane, seq)| lane == event.lane && seq < event.seq);
        assert!(follows, "{last:?} and then {event:?}: one customer, one lane, one order");
    }
}

on_both_engines!(every_event_comes_once_and_in_order_while_two_processes_write, |app| async move {
    let admin = app.admin().await;
    let mut customers = Vec::new();
    for _ in 0..5 {
        customers.push(admin.customer().await);
    }
    let other = admin.at(&app.other_process().await);
    let here = tokio::spawn(busy(app.admin().await, customers.clone(), 30));
    customers.rotate_left(2);
    let there = tokio::spawn(busy(other, customers, 30));
    let (notebook, runner) = (Notebook::default(), app.runner());
    while !(here.is_finished() && there.is_finished()) {
        assert_eq!(once(&runner, &notebook, &app.org).await.failed, 0);
        tokio::task::yield_now().await;
    }
    here.await.expect("all was written");
    there.await.expect("all was written");
    to_the_end(&runner, &notebook, &app.org).await;

    let events = notebook.noted();
    in_order(&events);
    assert_eq!(events.len(), stored(&app, &app.org).await);
    assert!(events.len() > 200, "{} events", events.len());
    assert_eq!(position(&app).await, Some(newest(&app).await.to_string()));
    assert!(troubles(&app).await.is_empty());
});

on_both_engines!(another_process_goes_on_where_the_first_left, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let (notebook, here) = (Notebook::default(), app.runner());
    let first = to_the_end(&here, &notebook, &app.org).await.taken;
    assert_eq!(first, stored(&app, &app.org).await);

    let conversation = admin.conversation(&customer, json!({})).await;
    let there = Runner::of(&*app.other_domain(17).await);
    assert_eq!(once(&there, &notebook, &app.org).await, ELSEWHERE);
    app.clock.advance(LEASE_MS - 1);
    assert_eq!(once(&there, &notebook, &app.org).await, ELSEWHERE, "not before the lease has ended");
    app.clock.advance(1);
    let second = once(&there, &notebook, &app.org).await.taken;
    assert_eq!(first + second, stored(&app, &app.org).await, "what came after, and nothing again");

    // The first one is back, and waits its turn; when the lease is given back it need not wait for its end.
    admin.message(&conversation, json!({})).await;
    assert_eq!(once(&here, &notebook, &app.org).await, ELSEWHERE);
    there.let_go(&format!("notebook {}", app.org.id)).await.expect("a write");
    let third = once(&here, &notebook, &app.org).await.taken;
    let events = notebook.noted();
    in_order(&events);
    assert!(second > 0 && third > 0);
    assert_eq!((events.len(), first + second + third), (stored(&app, &app.org).await, events.len()));
});

/// A follower for whom an event takes a while, and whatever else happens meanwhile.
struct Slow<'a> {
    app: &'a TestApp,
    milliseconds: i64,
    other: &'a Runner,
    /// What the other process was told.
    others: Mutex<Vec<bool>>,
}

#[async_trait]
impl Follower for Slow<'_> {
    fn name(&self) -> &str {
        "slow"
    }

    async fn take(&self, org: OrgId, _: &Event) -> Result<(), JobError> {
        self.app.clock.advance(self.milliseconds);
        let told = self.other.holds(&format!("slow {org}")).await?;
        self.others.lock().unwrap().push(told);
        Ok(())
    }

    async fn begin_anew(&self, _: OrgId) -> Result<(), JobError> {
        Ok(())
    }
}

on_both_engines!(a_slow_follower_keeps_its_turn_and_leaves_the_rest_when_it_lost_it, |app| async move {
    app.admin().await.customer().await;
    let there = Runner::of(&*app.other_domain(17).await);
    let of = |milliseconds| Slow { app: &app, milliseconds, other: &there, others: Mutex::default() };
    let runner = app.runner();
    let kept = async || app.store.store().position("slow", app.org.id).await.expect("a read");

    // One event outlasts the lease: the other process has the turn, and the position.
    let stopped = of(LEASE_MS);
    let followed = follow_once(&runner, &stopped, app.org.id).await.expect("it can be followed");
    assert_eq!(followed, Followed { taken: 1, ..ELSEWHERE });
    assert_eq!(*stopped.others.lock().unwrap(), [true]);
    assert_eq!(kept().await, None);

    there.let_go(&format!("slow {}", app.org.id)).await.expect("a write");
    let steady = of(LEASE_MS / 3 + 1);
    let followed = follow_once(&runner, &steady, app.org.id).await.expect("it can be followed");
    let all = stored(&app, &app.org).await;
    assert!(all > 3, "longer than one lease");
    assert_eq!(followed, taken(all));
    assert!(steady.others.lock().unwrap().iter().all(|told| !told), "the turn is kept");
    assert_eq!(kept().await, Some(newest(&app).await.to_string()));
});

on_both_engines!(every_lane_has_its_turn_where_there_is_no_place_for_all, |app| async move {
    let admin = app.admin().await;
    let mut position = newest(&app).await;
    for _ in 0..8 {
        let customer = admin.customer().await;
        for _ in 0..3 {
            admin.conversation(&customer, json!({})).await;
        }
    }
    let busy: HashSet<u8> =
        newest(&app).await.lanes().filter(|(lane, seq)| *seq > position.of(*lane)).map(|(lane, _)| lane).collect();
    let mut seen = HashSet::new();
    for _ in 0..busy.len() {
        let batch = app.feed().after(&position, 1).await.expect("a read");
        assert_eq!(batch.events.len(), 1);
        seen.insert(batch.events[0].lane);
        position = batch.position;
    }
    assert_eq!(seen, busy);
});

on_both_engines!(an_event_that_fails_is_put_aside_and_comes_again, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let poison = admin.conversation(&customer, json!({})).await;
    let fine = admin.conversation(&customer, json!({})).await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    notebook.poison.lock().unwrap().insert(poison.clone());
    let followed = once(&runner, &notebook, &app.org).await;
    assert_eq!((followed.failed, followed.taken), (1, stored(&app, &app.org).await - 1), "the others pass");
    assert!(notebook.noted().iter().any(|event| event.object.to_string() == fine), "also those of its customer");
    assert_eq!(position(&app).await, Some(newest(&app).await.to_string()), "the position moves on");

    for (attempts, wait) in [(1, 5_000), (2, 10_000), (3, 20_000)] {
        let aside = troubles(&app).await;
        assert_eq!(aside.len(), 1);
        assert_eq!((aside[0].org, aside[0].attempts), (app.org.id, attempts));
        assert_eq!((aside[0].retry_at, &*aside[0].reason), (app.now().plus(wait), "the ink is dry"));
        app.clock.advance(wait - 1);
        assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING, "not before its time");
        app.clock.advance(1);
        assert_eq!(once(&runner, &notebook, &app.org).await, Followed { failed: 1, ..NOTHING });
    }

    // Another process tries it again too, and then it is over.
    notebook.poison.lock().unwrap().clear();
    app.clock.advance(40_000);
    let there = Runner::of(&*app.other_domain(17).await);
    assert_eq!(once(&there, &notebook, &app.org).await, taken(1));
    let events = notebook.noted();
    assert_eq!((events.len(), events[0].object.to_string()), (1, poison));
    assert_eq!(events[0].name(), "kustomer.conversation.create");
    assert!(troubles(&app).await.is_empty());
    assert_eq!(once(&there, &notebook, &app.org).await, NOTHING);
});

on_both_engines!(an_event_that_is_gone_before_it_was_tried_again_is_let_go, |app| async move {
    let admin = app.admin().await;
    let poison = admin.customer().await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    notebook.poison.lock().unwrap().insert(poison);
    assert_eq!(once(&runner, &notebook, &app.org).await.failed, 1);
    assert_eq!(troubles(&app).await.len(), 1);
    app.clock.advance(60_000);
    forget(&app).await;
    assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING);
    assert!(troubles(&app).await.is_empty());
    assert_eq!(notebook.begun_anew(), 0, "it had been handed all there was");
});

on_both_engines!(a_follower_that_was_away_too_long_begins_anew, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    to_the_end(&runner, &notebook, &app.org).await;
    let left = position(&app).await.expect("a position");
    admin.conversation(&customer, json!({})).await;
    app.clock.advance(1_000);
    forget(&app).await;
    let conversation = admin.conversation(&customer, json!({})).await;
    notebook.noted();

    let kept = left.parse().expect("a position");
    assert!(matches!(app.feed().after(&kept, 10).await, Err(FeedError::Gone)));
    // Whoever could not begin anew has not begun.
    *notebook.stuck.lock().unwrap() = true;
    for _ in 0..2 {
        let error = follow_once(&runner, &notebook, app.org.id).await.expect_err("it fails");
        assert_eq!(error.0, "no new page");
    }
    assert_eq!(position(&app).await.as_ref(), Some(&left));
    *notebook.stuck.lock().unwrap() = false;
    assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING);
    assert_eq!(notebook.begun_anew(), 1);
    assert_eq!(position(&app).await, Some(newest(&app).await.to_string()));
    assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING);
    assert_eq!((notebook.begun_anew(), notebook.noted().len()), (0, 0));
    let message = admin.message(&conversation, json!({})).await;
    once(&runner, &notebook, &app.org).await;
    assert_eq!(notebook.noted()[0].object.to_string(), message, "it goes on from there");
});

on_both_engines!(a_position_of_a_database_that_was_put_back_is_not_believed, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    let at = newest(&app).await;
    let (lane, seq) = at.lanes().last().expect("a lane");
    let mut ahead = at.clone();
    ahead.set(lane, seq + 1);
    // Of a lane nothing was ever written to here.
    let mut elsewhere = at.clone();
    elsewhere.set(200, 1);
    for wrong in [ahead, elsewhere] {
        put_position(&app, &wrong.to_string()).await;
        assert!(matches!(app.feed().after(&wrong, 10).await, Err(FeedError::Gone)));
        assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING);
        assert_eq!(notebook.begun_anew(), 1);
        assert_eq!(position(&app).await, Some(at.to_string()));
    }
    let conversation = admin.conversation(&customer, json!({})).await;
    once(&runner, &notebook, &app.org).await;
    assert!(notebook.noted().iter().any(|event| event.object.to_string() == conversation), "nothing new is missed");
});

on_both_engines!(what_is_no_position_means_the_beginning, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    let all = stored(&app, &app.org).await;
    let whole = newest(&app).await.to_string();
    // No text of ours, one of another version, one cut off, an empty one.
    for text in ["who knows?", "AgAAAAAAAAAAAQ", &whole[..whole.len() - 2], ""] {
        put_position(&app, text).await;
        assert_eq!(once(&runner, &notebook, &app.org).await, taken(all), "{text:?}");
        assert_eq!(notebook.noted().len(), all);
        assert_eq!(position(&app).await.as_ref(), Some(&whole), "{text:?}");
    }
    // When the beginning is no longer kept, it is no place to begin at.
    app.clock.advance(1_000);
    forget(&app).await;
    admin.conversation(&customer, json!({})).await;
    put_position(&app, "who knows?").await;
    assert_eq!(once(&runner, &notebook, &app.org).await, NOTHING);
    assert_eq!(notebook.begun_anew(), 1);
});

on_both_engines!(a_batch_is_shared_by_the_lanes, |app| async move {
    let admin = app.admin().await;
    let mut customers = Vec::new();
    for _ in 0..4 {
        customers.push(admin.customer().await);
    }
    // One of them is far busier than the others.
    busy(app.admin().await, vec![customers[0].clone()], 20).await;
    for customer in &customers[1..] {
        busy(app.admin().await, vec![customer.clone()], 2).await;
    }
    let feed = app.feed();
    let lanes: HashSet<u8> = newest(&app).await.lanes().map(|(lane, _)| lane).collect();
    let first = feed.after(&Position::default(), 30).await.expect("a batch");
    let of: HashSet<u8> = first.events.iter().map(|event| event.lane).collect();
    assert_eq!(of, lanes, "each lane has its share");

    for most in [1, 3, 7, 30, 1_000] {
        let (mut at, mut events) = (Position::default(), Vec::new());
        loop {
            let batch = feed.after(&at, most).await.expect("a batch");
            assert!(batch.events.len() <= most as usize, "{} events for {most}", batch.events.len());
            if batch.events.is_empty() {
                assert_eq!(batch.position, at);
                break;
            }
            at = batch.position;
            events.extend(batch.events);
        }
        in_order(&events);
        assert_eq!(events.len(), stored(&app, &app.org).await, "batches of {most}");
        assert_eq!(at, newest(&app).await);
    }
});

on_both_engines!(only_what_is_old_is_forgotten_and_numbers_go_on, |app| async move {
    const DAY: i64 = 86_400_000;
    let globex = app.domain.create_org("globex").await.expect("the org is new");
    let (admin, theirs) = (app.admin().await, app.actor_of(&globex, &["org"]).await);
    let customer = admin.customer().await;
    busy(app.admin().await, vec![customer.clone()], 4).await;
    theirs.customer().await;
    let store = app.store.store();
    let (notebook, runner) = (Notebook::default(), app.runner());
    to_the_end(&runner, &notebook, &app.org).await;
    let old = stored(&app, &app.org).await + stored(&app, &globex).await;
    app.clock.advance(DAY);
    // What happens at the very moment did not happen before it.
    let conversation = admin.conversation(&customer, json!({})).await;
    let new = stored(&app, &app.org).await + stored(&app, &globex).await - old;
    let newest_before = newest(&app).await;

    assert_eq!(forget(&app).await, old as u64);
    assert_eq!(forget(&app).await, 0, "there is nothing left of it");
    assert_eq!((stored(&app, &app.org).await, stored(&app, &globex).await), (new, 0));
    assert_eq!(newest(&app).await, newest_before);
    let kept = app.events(&mut app.feed().oldest().await.expect("a read")).await;
    assert!(kept.iter().all(|event| event.at >= app.now()));
    assert!(kept.iter().any(|event| event.object.to_string() == conversation));
    for head in store.heads(app.org.id).await.expect("heads") {
        let of_lane: Vec<i64> = kept.iter().filter(|event| event.lane == head.lane).map(|event| event.seq).collect();
        assert_eq!(of_lane, (head.gone + 1..=head.newest).collect::<Vec<_>>(), "{head:?}");
    }

    // Whoever had seen what is gone goes on as if nothing had happened.
    assert_eq!((once(&runner, &notebook, &app.org).await, notebook.begun_anew()), (taken(new), 0));

    // A lane of which nothing is kept goes on after its last number.
    let before = Feed::new(store.clone(), globex.id).newest().await.expect("a read");
    theirs.post("/v1/tags", json!({ "name": "late" })).await.created();
    assert_eq!(stored(&app, &globex).await, 1);
    let events = store.events(globex.id, 0, before.of(0), 10).await.expect("events");
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [before.of(0) + 1]);
    assert!(before.of(0) > 0);
});

on_both_engines!(an_org_whose_follower_fails_holds_up_no_other, |app| async move {
    let globex = app.domain.create_org("globex").await.expect("the org is new");
    let (admin, theirs) = (app.admin().await, app.actor_of(&globex, &["org"]).await);
    // More failures of one org than are tried again in a round.
    let customer = admin.customer().await;
    busy(app.admin().await, vec![customer], 50).await;
    let poison = theirs.customer().await;
    let (notebook, runner) = (Notebook::default(), app.runner());
    notebook.failing.lock().unwrap().insert(app.org.id);
    notebook.poison.lock().unwrap().insert(poison.clone());
    let failed = to_the_end(&runner, &notebook, &app.org).await;
    assert_eq!((failed.failed, failed.taken), (stored(&app, &app.org).await, 0));
    assert!(failed.failed > 200);
    app.clock.advance(1);
    let others = stored(&app, &globex).await - 1;
    assert_eq!(once(&runner, &notebook, &globex).await, Followed { failed: 1, ..taken(others) });

    app.clock.advance(10_000);
    notebook.poison.lock().unwrap().clear();
    notebook.noted();
    assert_eq!(once(&runner, &notebook, &globex).await, taken(1), "what failed there comes again in its time");
    assert_eq!(notebook.noted()[0].object.to_string(), poison);
    // All of the many have their turns, a part in each round.
    assert_eq!(to_the_end(&runner, &notebook, &app.org).await, failed);

    // An org that cannot be followed at all holds up no other either.
    *notebook.stuck.lock().unwrap() = true;
    app.clock.advance(10_000);
    forget(&app).await;
    put_position(&app, "").await;
    let (stop, stopped) = watch::channel(false);
    let (runner, changed) = (app.runner(), app.domain.changes());
    let notebook = Arc::new(notebook);
    let book = Arc::clone(&notebook);
    // Its own look is an hour away: a change wakes it up.
    let pause = Duration::from_secs(3_600);
    let following = tokio::spawn(async move { follow(&runner, &*book, changed, stopped, pause).await });
    let wanted = theirs.customer().await;
    let noted = async {
        while !notebook.seen.lock().unwrap().iter().any(|(_, event)| event.object.to_string() == wanted) {
            notebook.noted.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.expect("it is told of the other org's change");
    stop.send(true).expect("it listens");
    following.await.expect("it ends");
    assert!(notebook.seen.lock().unwrap().iter().all(|(org, _)| *org == globex.id));
    let there = Runner::of(&*app.other_domain(17).await);
    assert_eq!(once(&there, &notebook, &globex).await, NOTHING, "it has given its lease back");
});

on_both_engines!(whoever_is_far_behind_does_not_wait_between_batches, |app| async move {
    let admin = app.admin().await;
    let mut customers = Vec::new();
    for _ in 0..3 {
        customers.push(admin.customer().await);
    }
    let poison = customers[0].clone();
    let writers = customers.iter().map(async |customer| busy(app.admin().await, vec![customer.clone()], 50).await);
    futures_util::future::join_all(writers).await;
    let all = stored(&app, &app.org).await;
    assert!(all > 600, "{all} events are more than one batch");
    // A failure does not make a full batch look like the last.
    let failing = app.store.place().id(&poison);
    let failing = format!("SELECT count(*) FROM event WHERE object = {failing}");
    let failing = usize::try_from(app.store.place().number(&failing).await).expect("a count");
    let notebook = Arc::new(Notebook::default());
    notebook.poison.lock().unwrap().insert(poison);
    let (stop, stopped) = watch::channel(false);
    let (runner, changed, book) = (app.runner(), app.domain.changes(), Arc::clone(&notebook));
    let pause = Duration::from_secs(3_600);
    let following = tokio::spawn(async move { follow(&runner, &*book, changed, stopped, pause).await });
    let noted = async {
        while notebook.seen.lock().unwrap().len() < all - failing {
            notebook.noted.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), noted).await.expect("it goes on to the end");
    stop.send(true).expect("it listens");
    following.await.expect("it ends");
    in_order(&notebook.noted());
    assert_eq!(troubles(&app).await.len(), failing);
});

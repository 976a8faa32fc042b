//! Clients walk lists while others write to them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use konverse_harness::Random;
use serde_json::{Value, json};

use crate::audit::{audit, ids, in_order, walk};
use crate::client::Client;
use crate::ground::{Ground, Setting};

pub(crate) const CLAIM: &str =
    "lists are walked while others write: by links no row that existed throughout is missed or comes twice";

const WRITERS: usize = 8;

/// Conversations and messages below which a list would be walked before anybody wrote to it.
const BASE: (usize, usize) = (150, 1_000);

/// Conversations of its own that a writer keeps at most.
const OWN: usize = 40;

/// When a record was there for certain: from the moment its creation was acknowledged until its deletion was asked for, and
/// gone for certain since that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Life {
    from: Instant,
    until: Option<Instant>,
    gone: Option<Instant>,
}

/// The lives of everything in one list, by id.
type Lives = Mutex<HashMap<String, Life>>;

/// What is written to, and what is known of it.
struct Scene {
    customer: String,
    /// Conversations that stay.
    base: Vec<String>,
    conversations: Lives,
    messages: Lives,
    over: AtomicBool,
    writes: AtomicU64,
    rows: AtomicU64,
}

fn lives(of: &Lives) -> std::sync::MutexGuard<'_, HashMap<String, Life>> {
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn born(of: &Lives, record: &Value) -> Result<String> {
    let id = record["id"].as_str().context("an id")?.to_owned();
    lives(of).insert(id.clone(), Life { from: Instant::now(), until: None, gone: None });
    Ok(id)
}

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let ground = Ground::new(setting)?;
    let limit = setting.limit;
    let walks = setting.cycles(10, 100);
    let server = ground.serve(&[])?;
    let client = || ground.client(&server);
    let customer = client().create("/v1/customers", &json!({}))?["id"].as_str().context("an id")?.to_owned();
    let mut scene = Scene {
        customer,
        base: Vec::new(),
        conversations: Lives::default(),
        messages: Lives::default(),
        over: AtomicBool::new(false),
        writes: AtomicU64::new(0),
        rows: AtomicU64::new(0),
    };
    let share = setting.pick(BASE.0, BASE.1).div_ceil(WRITERS);
    scene.base = thread::scope(|scope| {
        let make = || -> Result<Vec<String>> {
            let mut client = client();
            (0..share).map(|_| scene.conversation(&mut client)).collect()
        };
        let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(make)).collect();
        let made: Result<Vec<Vec<String>>> =
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect();
        made.map(|made| made.concat())
    })?;

    let of_customer = format!("/v1/customers/{}", scene.customer);
    let lists = [
        (format!("{of_customer}/conversations"), 7, &scene.conversations),
        (format!("{of_customer}/conversations"), 50, &scene.conversations),
        (format!("{of_customer}/messages"), 40, &scene.messages),
        ("/v1/conversations".to_owned(), 30, &scene.conversations),
    ];
    let by_number = [format!("{of_customer}/conversations"), "/v1/messages".to_owned()];
    let scene = &scene;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let client = client();
                scope.spawn(move || {
                    let outcome = scene.write(client, n as u64);
                    // Walks against nobody prove nothing.
                    scene.over.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        let walkers: Vec<_> = lists
            .iter()
            .map(|(path, size, lives)| {
                let mut client = client();
                scope.spawn(move || -> Result<()> {
                    for _ in 0..walks {
                        limit.check()?;
                        scene
                            .walk_by_links(&mut client, path, *size, lives)
                            .with_context(|| format!("walking {path}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        let numbers: Vec<_> = by_number
            .iter()
            .map(|path| {
                let client = client();
                scope.spawn(move || scene.walk_by_numbers(client, path).with_context(|| format!("pages of {path}")))
            })
            .collect();
        let walked: Vec<Result<()>> =
            walkers.into_iter().map(|thread| thread.join().expect("a walker does not panic")).collect();
        scene.over.store(true, Ordering::Relaxed);
        for thread in writers.into_iter().chain(numbers) {
            thread.join().expect("it does not panic")?;
        }
        walked.into_iter().collect::<Result<()>>()
    })?;

    let counted = audit(&mut client())?;
    for (path, of) in [("/v1/conversations", &scene.conversations), ("/v1/messages", &scene.messages)] {
        let mut listed = ids(&walk(&mut client(), path, 100)?);
        let mut known: Vec<_> =
            lives(of).iter().filter(|(_, life)| life.until.is_none()).map(|(id, _)| id.clone()).collect();
        listed.sort_unstable();
        known.sort_unstable();
        ensure!(listed == known, "{path} has {} records, {} were acknowledged", listed.len(), known.len());
    }
    server.stop(Duration::from_secs(40), limit)?;
    ground.expect_sound()?;
    let (rows, writes) = (scene.rows.load(Ordering::Relaxed), scene.writes.load(Ordering::Relaxed));
    let links = lists.len() * walks;
    Ok(format!("{links} walks by links and others by numbers saw {rows} rows during {writes} writes; {counted}"))
}

impl Scene {
    fn conversation(&self, client: &mut Client) -> Result<String> {
        let path = format!("/v1/customers/{}/conversations", self.customer);
        let conversation = client.create(&path, &json!({ "name": "there" }))?;
        let id = born(&self.conversations, &conversation)?;
        self.message(client, &id)?;
        Ok(id)
    }

    fn message(&self, client: &mut Client, conversation: &str) -> Result<String> {
        let body = json!({ "channel": "chat", "app": "trials", "direction": "out", "preview": "hello" });
        let message = client.create(&format!("/v1/conversations/{conversation}/messages"), &body)?;
        born(&self.messages, &message)
    }

    /// Writes until the walks are over.
    fn write(&self, mut client: Client, seed: u64) -> Result<()> {
        let mut random = Random::seeded(seed);
        // With their messages, which go with them.
        let mut own: Vec<(String, Vec<String>)> = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let chance = random.below(10);
            match chance {
                0..3 if own.len() < OWN => {
                    let path = format!("/v1/customers/{}/conversations", self.customer);
                    let conversation = client.create(&path, &json!({}))?;
                    own.push((born(&self.conversations, &conversation)?, Vec::new()));
                }
                3..5 if !own.is_empty() => {
                    let at = random.below(own.len());
                    let (conversation, messages) = &mut own[at];
                    messages.push(self.message(&mut client, conversation)?);
                }
                5..7 if !own.is_empty() => {
                    let (conversation, messages) = own.swap_remove(random.below(own.len()));
                    self.each_life(&conversation, &messages, |life| life.until = Some(Instant::now()));
                    let path = format!("/v1/conversations/{conversation}");
                    let reply = client.ask("DELETE", &path, None)?;
                    ensure!(reply.status == 204, "DELETE {path} was answered {}: {}", reply.status, reply.body);
                    self.each_life(&conversation, &messages, |life| life.gone = Some(Instant::now()));
                }
                7 => {
                    let conversation = random.pick(&self.base).context("there are some")?;
                    self.message(&mut client, conversation)?;
                }
                _ => {
                    // What moves is not where it stands in a list.
                    let conversation = random.pick(&self.base).context("there are some")?;
                    let body =
                        json!({ "name": format!("as of {}", random.below(1000)), "priority": 1 + random.below(5) });
                    let reply = client.ask("PATCH", &format!("/v1/conversations/{conversation}"), Some(&body))?;
                    ensure!(reply.status == 200, "a PATCH was answered {}: {}", reply.status, reply.body);
                }
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn each_life(&self, conversation: &str, messages: &[String], change: impl Fn(&mut Life)) {
        lives(&self.conversations).get_mut(conversation).into_iter().for_each(&change);
        let mut lives = lives(&self.messages);
        messages.iter().for_each(|id| lives.get_mut(id).into_iter().for_each(&change));
    }

    fn walk_by_links(&self, client: &mut Client, path: &str, size: usize, of: &Lives) -> Result<()> {
        let start = Instant::now();
        // Fails when a row comes twice: rows rise or fall throughout.
        let rows = walk(client, path, size)?;
        let end = Instant::now();
        self.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let seen: std::collections::HashSet<_> = ids(&rows).into_iter().collect();
        for (id, life) in lives(of).iter() {
            let throughout = life.from < start && life.until.is_none_or(|until| until > end);
            ensure!(
                !throughout || seen.contains(id),
                "{id} was there throughout, and was missed among {} rows",
                rows.len()
            );
            let gone = life.gone.is_some_and(|gone| gone < start);
            ensure!(!gone || !seen.contains(id), "{id} had been deleted before, and was seen");
        }
        Ok(())
    }

    /// Reads pages by number until the walks are over. Rows may come twice as others arrive above them, but never within a
    /// page, and a page before the last is full.
    fn walk_by_numbers(&self, mut client: Client, path: &str) -> Result<()> {
        const SIZE: usize = 20;
        let mut page = 1;
        while !self.over.load(Ordering::Relaxed) {
            let answer = client.read(&format!("{path}?page={page}&pageSize={SIZE}"))?;
            let Value::Array(rows) = &answer["data"] else { bail!("no list") };
            in_order(rows)?;
            let is_last = answer["links"]["next"].is_null();
            ensure!(rows.len() == SIZE || is_last && rows.len() < SIZE, "page {page} has {} rows", rows.len());
            self.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
            page = if is_last { 1 } else { page + 1 };
        }
        Ok(())
    }
}

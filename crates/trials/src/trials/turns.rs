//! A dear change and many cheap ones to the same customer, by different servers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::audit::audit;
use crate::client::Client;
use crate::ground::{Ground, Setting};

pub(crate) const CLAIM: &str =
    "a change that costs much gets its turn beside cheap ones of another server to the same customer";

/// Messages of the conversation, all of which a change of one of them has to fold anew.
const MESSAGES: (usize, usize) = (200, 3_000);

/// Clients that add messages through the other server.
const POSTERS: usize = 3;

/// How long a change may take.
const BOUND: Duration = Duration::from_secs(30);

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let ground = Ground::new(setting)?;
    let servers = [ground.serve(&[])?, ground.serve(&[])?];
    let changes = setting.cycles(5, 20);
    let mut client = ground.client(&servers[0]).waiting(BOUND);
    let id_of = |record: Value| Ok::<_, anyhow::Error>(record["id"].as_str().context("an id")?.to_owned());
    let customer = id_of(client.create("/v1/customers", &json!({}))?)?;
    let conversation = id_of(client.create(&format!("/v1/customers/{customer}/conversations"), &json!({}))?)?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let message = json!({ "channel": "chat", "app": "trials", "direction": "out", "preview": "hello" });
    let first = id_of(client.create(&path, &message)?)?;
    for _ in 1..setting.pick(MESSAGES.0, MESSAGES.1) {
        setting.limit.check()?;
        client.create(&path, &message)?;
    }
    let (over, posted) = (AtomicBool::new(false), AtomicU64::new(0));
    let slowest = thread::scope(|scope| {
        let posters: Vec<_> = (0..POSTERS)
            .map(|_| {
                let mut client = ground.client(&servers[1]);
                let (over, posted, path, message) = (&over, &posted, &path, &message);
                scope.spawn(move || -> Result<()> {
                    while !over.load(Ordering::Relaxed) {
                        client.create(path, message)?;
                        posted.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let changed = (|| {
            let begun = || Ok(posted.load(Ordering::Relaxed) >= POSTERS as u64);
            setting.limit.until(BOUND, begun)?.context("no message was taken")?;
            let mut slowest = Duration::ZERO;
            for n in 0..changes {
                setting.limit.check()?;
                let taken = change(&mut client, &first, n).with_context(|| {
                    format!("change {n}, beside {} messages of another server", posted.load(Ordering::Relaxed))
                })?;
                slowest = slowest.max(taken);
            }
            Ok::<_, anyhow::Error>(slowest)
        })();
        over.store(true, Ordering::Relaxed);
        for poster in posters {
            poster.join().expect("it does not panic").context("a message")?;
        }
        changed
    })?;
    let counted = audit(&mut client)?;
    for server in servers {
        server.stop(Duration::from_secs(40), setting.limit)?;
    }
    ground.expect_sound()?;
    Ok(format!(
        "{changes} changes beside {} messages, the slowest after {:.2} s; {counted}",
        posted.load(Ordering::Relaxed),
        slowest.as_secs_f64()
    ))
}

/// Changes a message, and sees it changed. Gives how long that took.
fn change(client: &mut Client, message: &str, n: usize) -> Result<Duration> {
    let start = Instant::now();
    let body = json!({ "preview": format!("changed {n} times") });
    let reply = client.ask("PATCH", &format!("/v1/messages/{message}"), Some(&body))?;
    ensure!(reply.status == 200, "a PATCH was answered {}: {}", reply.status, reply.body);
    ensure!(reply.body["data"]["attributes"]["preview"] == body["preview"], "it is not as asked for: {}", reply.body);
    Ok(start.elapsed())
}

//! The SQLite file is deleted, replaced or cut off while konverse serves from it.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::client::{Client, Fate};
use crate::ground::{Ground, Setting};

pub(crate) const CLAIM: &str =
    "the file is deleted, replaced or cut off under a running server: no write is acknowledged that is lost";

const WRITERS: usize = 4;

/// Writes before the deed.
const LEAST: usize = 50;

/// How long is written after the deed.
const AFTER: Duration = Duration::from_secs(2);

/// What is done to the file.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Deleted,
    Replaced,
    CutOff,
}

/// A write that was acknowledged: when it was sent, and what it made.
struct Written {
    sent: Instant,
    path: String,
}

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let cycles = setting.cycles(1, 10);
    let (mut acknowledged, mut refused, mut ended) = (0, 0, 0);
    for cycle in 0..cycles {
        for deed in [Deed::Deleted, Deed::Replaced, Deed::CutOff] {
            let outcome = meet(setting, deed, cycle).with_context(|| format!("{deed:?}"))?;
            acknowledged += outcome.0;
            refused += outcome.1;
            ended += usize::from(outcome.2);
        }
    }
    Ok(format!(
        "{} deeds, {acknowledged} writes acknowledged before, {refused} refused after, {ended} times konverse ended",
        cycles * 3
    ))
}

/// Writes acknowledged, writes refused since the deed, and whether the server ended by itself.
fn meet(setting: &Setting, deed: Deed, cycle: usize) -> Result<(usize, usize, bool)> {
    let folder = setting.work.join(format!("{deed:?}-{cycle}"));
    fs::create_dir(&folder)?;
    let ground = Ground::with(setting, &folder, &[])?;
    let file = ground.file()?;
    let other = folder.join("other.db");
    fs::copy(&file, &other)?;
    let mut server = ground.serve(&[])?;
    let (port, limit) = (server.port, setting.limit);
    let over = AtomicBool::new(false);
    let written: Mutex<Vec<Written>> = Mutex::default();
    let refused: Mutex<Vec<Instant>> = Mutex::default();
    // What was answered otherwise than that only a restart helps.
    let wrong: Mutex<Vec<(Instant, String)>> = Mutex::default();
    let write = || {
        let mut client = Client::new(port, &ground.token);
        while !over.load(Ordering::Relaxed) {
            let sent = Instant::now();
            match client.send("POST", "/v1/customers", Some(&json!({ "name": "kept" }))) {
                Fate::Answered(reply) if reply.status == 201 => {
                    let path = format!("/v1/customers/{}", reply.body["data"]["id"].as_str().unwrap_or_default());
                    written.lock().expect("no writer panics").push(Written { sent, path });
                }
                fate => {
                    if let Fate::Answered(reply) = fate
                        && (reply.status, reply.retry) != (503, false)
                    {
                        let text = format!("a write was answered {}: {}", reply.status, reply.body);
                        wrong.lock().expect("no writer panics").push((sent, text));
                    }
                    refused.lock().expect("no writer panics").push(sent);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    };
    let done = thread::scope(|scope| -> Result<Instant> {
        let write = &write;
        for _ in 0..WRITERS {
            scope.spawn(write);
        }
        let done = (|| {
            let enough = || Ok(written.lock().expect("no writer panics").len() >= LEAST);
            limit.until(Duration::from_secs(60), enough)?.context("nothing was written before")?;
            match deed {
                Deed::Deleted => fs::remove_file(&file)?,
                Deed::Replaced => fs::rename(&other, &file)?,
                Deed::CutOff => fs::File::options().write(true).open(&file)?.set_len(fs::metadata(&file)?.len() / 2)?,
            }
            let done = Instant::now();
            limit.rest(AFTER)?;
            Ok(done)
        })();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    let alive = server.process.is_alive();
    drop(server);
    let written = written.into_inner().expect("no writer panics");
    let refused = refused.into_inner().expect("no writer panics");
    let wrong = wrong.into_inner().expect("no writer panics");
    if let Some((_, text)) = wrong.iter().find(|(sent, _)| *sent > done) {
        bail!("{text} (and {} more)", wrong.len() - 1);
    }
    let late: Vec<_> = written.iter().filter(|written| written.sent > done).collect();
    if !late.is_empty() {
        // They may be acknowledged if they are there for whoever opens the file now.
        let server = ground.serve(&[]).with_context(|| format!("{} writes were acknowledged since", late.len()))?;
        let mut client = ground.client(&server);
        for written in &late {
            let status = client.get(&written.path)?.status;
            ensure!(
                status == 200,
                "{} writes were acknowledged since, and now {} is {status}",
                late.len(),
                written.path
            );
        }
    }
    Ok((written.len(), refused.iter().filter(|sent| **sent > done).count(), !alive))
}

//! Clients that begin and do not end: half heads, half bodies, a byte a second, answers nobody reads, idle connections.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use konverse_harness::Limit;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::client::Client;
use crate::ground::{Ground, Setting};
use crate::process::anonymous_kib;

pub(crate) const CLAIM: &str =
    "slow and endless clients and thousands of idle ones: others are served, memory is bounded, SIGTERM ends in time";

/// Of each kind of slow client.
const SLOW: (usize, usize) = (40, 200);

/// Connections on which nothing is ever sent.
const IDLE: (usize, usize) = (1_000, 10_000);

/// Descriptors for everything else.
const SPARE: u64 = 500;

/// How long an answer to anybody else may take.
const BOUND: Duration = Duration::from_secs(5);

/// What a connection may cost, and what comes on top for whatever else grows meanwhile.
const KIB_A_CONNECTION: u64 = 32;
const KIB_BESIDES: u64 = 64 << 10;

/// Seconds that `serve` is told to drain for, and how long it may take in all.
const DRAIN: &str = "5";
const END: Duration = Duration::from_secs(15);

/// Raises how many descriptors this process, and what it starts, may have to what it may be raised to. Gives that.
fn raise_descriptors() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let descriptors = raise_descriptors()?;
    let slow = setting.pick(SLOW.0, SLOW.1);
    let wanted = setting.pick(IDLE.0, IDLE.1);
    let room = descriptors.saturating_sub(SPARE + 5 * slow as u64);
    let idle = wanted.min(usize::try_from(room)?);
    let ground = Ground::new(setting)?;
    let mut options = vec!["--drain-seconds", DRAIN];
    // All connections of a trial come from one address, and are meant to get in.
    let many = (idle + 10 * slow).to_string();
    for option in ["--connections", "--connections-per-address"] {
        if ground.serve_knows(option)? {
            options.extend([option, &many]);
        }
    }
    let mut server = ground.serve(&options)?;
    let mut client = ground.client(&server).waiting(BOUND);
    let customer = client.create("/v1/customers", &json!({}))?["id"].as_str().context("an id")?.to_owned();
    let list = format!("/v1/customers/{customer}/conversations");
    for n in 0..100 {
        client.create(&list, &json!({ "name": format!("conversation {n} {}", "and so on ".repeat(20)) }))?;
    }
    serve_others(&mut client, &list, Duration::from_secs(1), setting.limit)?;
    let before = anonymous_kib(server.process.id())?;

    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).context("a connection");
    let begin = |count: usize, text: &str| -> Result<Vec<TcpStream>> {
        let connections = (0..count).map(|_| {
            let mut stream = connect()?;
            // What does not fit is not sent: nobody reads the answers.
            stream.set_write_timeout(Some(Duration::from_millis(20)))?;
            let _ = stream.write_all(text.as_bytes());
            Ok(stream)
        });
        connections.collect()
    };
    let authorization = format!("Host: trials\r\nAuthorization: Bearer {}\r\n", ground.token);
    let half_heads = begin(slow, &format!("GET {list} HTTP/1.1\r\n{authorization}X-Half: "))?;
    let half_bodies = begin(
        slow,
        &format!(
            "POST /v1/customers HTTP/1.1\r\n{authorization}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n\
             {{\"name\": \"half"
        ),
    )?;
    let unread = begin(slow, &format!("GET {list} HTTP/1.1\r\n{authorization}\r\n").repeat(200))?;
    let mut trickling = begin(slow, "GET /v1/customers HTTP/1.1\r\n")?;
    let nobody = (0..idle).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    let open = half_heads.len() + half_bodies.len() + unread.len() + trickling.len() + nobody.len();

    let over = AtomicBool::new(false);
    let served = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for stream in &mut trickling {
                    // It may have been closed: that is what a limit is for.
                    let _ = stream.write_all(b"x");
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        // Those who come after all the others as well as who was there before.
        let mut newcomer = ground.client(&server).waiting(BOUND);
        let time = Duration::from_secs(setting.pick(3, 30)) / 2;
        let served = serve_others(&mut client, &list, time, setting.limit).and_then(|served| {
            Ok(served + serve_others(&mut newcomer, &list, time, setting.limit).context("somebody who came later")?)
        });
        over.store(true, Ordering::Relaxed);
        served
    })?;
    server.expect_alive()?;
    let after = anonymous_kib(server.process.id())?;
    let bound = before + open as u64 * KIB_A_CONNECTION + KIB_BESIDES;
    ensure!(after <= bound, "memory grew from {before} to {after} KiB with {open} connections, {bound} is the bound");
    // All of them still hold their ends.
    let ended = server.stop(END, setting.limit).context("with slow clients")?;
    drop((half_heads, half_bodies, unread, trickling, nobody));
    ground.expect_sound()?;
    Ok(format!(
        "{open} connections ({idle} idle{}), others got {served} answers meanwhile, {} MiB before and {} MiB with them, ended \
         in {:.1} s",
        if idle < wanted {
            format!(" of {wanted}: the system allows {descriptors} descriptors")
        } else {
            String::new()
        },
        before >> 10,
        after >> 10,
        ended.as_secs_f64()
    ))
}

/// Reads and writes for a while, as others do. Gives how many answers came, all of them in time.
fn serve_others(client: &mut Client, list: &str, time: Duration, limit: Limit) -> Result<usize> {
    let start = Instant::now();
    let mut served = 0;
    while start.elapsed() < time {
        limit.check()?;
        client.read(&format!("{list}?pageSize=10"))?;
        client.create("/v1/customers", &json!({ "name": "somebody else" }))?;
        served += 2;
    }
    Ok(served)
}

//! What clients know: every write they sent, what was acknowledged of it, and what must therefore be there.
//!
//! A record is written by one client, one request at a time, so what it must look like is known exactly: as last
//! acknowledged or, while the fate of a later write is unclear, as that write would have made it, wholly. A record's text
//! follows from its key and version, so that halves of two versions are seen as such.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use konverse_harness::Random;
use serde_json::{Value, json};

use crate::client::{Client, Fate, Reply};

/// Records of its own that a client writes to again.
const NEWEST: usize = 60;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Customer,
    Conversation,
    Message,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Customer => "customers",
            Self::Conversation => "conversations",
            Self::Message => "messages",
        }
    }

    /// Where a record is looked up by its external id.
    fn by_key(self, key: &str) -> String {
        let name = if self == Self::Message { "externalid" } else { "externalId" };
        format!("/v1/{}/{name}={key}", self.plural())
    }
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Update,
    Delete,
}

/// What is known of a record.
#[derive(Clone, Debug)]
struct Record {
    kind: Kind,
    /// The key of what it belongs to: a conversation's customer, a message's conversation.
    parent: Option<String>,
    /// Given by the server when it was created.
    id: Option<String>,
    version: u64,
    /// As last acknowledged.
    document: Value,
    /// Others may write to it or below it, at any time.
    shared: bool,
    /// Something was written since that may have changed it.
    moved: bool,
    deleted: bool,
    /// A write whose answer is awaited or never came.
    pending: Option<Change>,
    /// That write was refused in a way that promises that nothing was done.
    refused: bool,
    /// Something was written to it, or above it, since it was last looked at.
    touched: bool,
}

/// A write that is about to be sent.
#[derive(Debug)]
pub(crate) struct Write {
    key: String,
    change: Change,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

/// Everything that was written, by the keys of records, which are their external ids.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: BTreeMap<String, Record>,
    /// The keys of customers and conversations that all clients write to.
    shared: Vec<String>,
    made: u64,
    /// Acknowledged writes.
    pub(crate) acknowledged: u64,
    /// Writes whose fate was unclear, and of these the ones that were there afterwards.
    pub(crate) unclear: u64,
    pub(crate) unclear_done: u64,
    /// Writes that were refused for now, with the promise that nothing was done.
    pub(crate) refused: u64,
    /// How often each status was answered.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Broken promises seen while writing.
    pub(crate) broken: Vec<String>,
}

/// What a record's own attributes are in a version.
fn body(kind: Kind, key: &str, version: u64, shared: bool) -> Value {
    let text = format!("{key} as of {version}, {}", "and so on ".repeat(version as usize % 7 * 5));
    match kind {
        Kind::Customer => json!({
            "externalId": key,
            "name": format!("{key} {version}"),
            "emails": [{ "email": format!("{key}.{version}@trials.example") }],
            "custom": { "versionNum": version, "noteTxt": text },
        }),
        Kind::Conversation => json!({
            "externalId": key,
            "name": format!("{key} {version}"),
            "priority": 1 + version % 5,
            // Messages that come in reopen a conversation: those that take them stay open.
            "status": if shared { "open" } else { ["done", "open", "snoozed"][version as usize % 3] },
            "custom": { "versionNum": version, "noteTxt": text },
        }),
        Kind::Message => json!({
            "externalId": key,
            "channel": "chat",
            "app": "trials",
            "direction": if shared && key.ends_with(['1', '3', '5']) { "in" } else { "out" },
            "preview": text,
            "custom": { "versionNum": version },
        }),
    }
}

/// Whether what is shown has everything that was sent. Objects of lists and records may have more members.
fn shows(shown: &Value, sent: &Value) -> bool {
    match (shown, sent) {
        (Value::Object(shown), Value::Object(sent)) => {
            sent.iter().all(|(name, sent)| shown.get(name).is_some_and(|shown| shows(shown, sent)))
        }
        (Value::Array(shown), Value::Array(sent)) => {
            shown.len() == sent.len() && shown.iter().zip(sent).all(|(shown, sent)| shows(shown, sent))
        }
        (Value::Number(shown), Value::Number(sent)) => shown.as_f64() == sent.as_f64(),
        (shown, sent) => shown == sent,
    }
}

impl Record {
    fn path(&self) -> Result<String> {
        let id = self.id.as_deref().context("a record without an id")?;
        Ok(format!("/v1/{}/{id}", self.kind.plural()))
    }
}

impl Ledger {
    /// Makes what all clients write to: customers, each with a conversation; their keys.
    pub(crate) fn share(&mut self, client: &mut Client, customers: usize) -> Result<()> {
        for _ in 0..customers {
            let customer = self.plan_create(Kind::Customer, None, "all", true);
            let key = customer.key.clone();
            self.shared.push(key.clone());
            self.write(client, customer)?;
            let conversation = self.plan_create(Kind::Conversation, Some(key), "all", true);
            self.shared.push(conversation.key.clone());
            self.write(client, conversation)?;
        }
        Ok(())
    }

    /// Sends a write and takes down what came of it; anything but success is an error.
    fn write(&mut self, client: &mut Client, write: Write) -> Result<()> {
        let reply = client.ask(write.method, &write.path, write.body.as_ref())?;
        ensure!(reply.status < 300, "{} {} was answered {}: {}", write.method, write.path, reply.status, reply.body);
        self.settle(write, Fate::Answered(reply));
        Ok(())
    }

    fn is_live(&self, key: &str) -> bool {
        self.records.get(key).is_some_and(|record| record.id.is_some() && !record.deleted && record.pending.is_none())
            && self.is_below_live(key)
    }

    /// Whether everything it belongs to is there for certain.
    fn is_below_live(&self, key: &str) -> bool {
        let parent = self.records.get(key).and_then(|record| record.parent.as_deref());
        parent.is_none_or(|parent| {
            let pending = self.records.get(parent).and_then(|record| record.pending);
            self.records.get(parent).is_some_and(|record| record.id.is_some() && !record.deleted)
                && !matches!(pending, Some(Change::Delete | Change::Create))
                && self.is_below_live(parent)
        })
    }

    fn plan_create(&mut self, kind: Kind, parent: Option<String>, writer: &str, shared: bool) -> Write {
        self.made += 1;
        let key = format!("{}-{writer}-{}", kind.plural().trim_end_matches('s'), self.made);
        let parent_path =
            parent.as_ref().and_then(|parent| self.records[parent].path().ok()).unwrap_or_else(|| "/v1".to_owned());
        let body = body(kind, &key, 1, shared);
        let record = Record {
            kind,
            parent,
            id: None,
            version: 1,
            document: Value::Null,
            shared,
            moved: false,
            deleted: false,
            pending: None,
            refused: false,
            touched: true,
        };
        self.records.insert(key.clone(), record);
        let path = format!("{parent_path}/{}", kind.plural());
        self.begin(Write { key, change: Change::Create, method: "POST", path, body: Some(body) })
    }

    fn plan_update(&mut self, key: &str) -> Result<Write> {
        let record = &self.records[key];
        let mut body = body(record.kind, key, record.version + 1, record.shared);
        for fixed in ["channel", "app", "direction"] {
            body.as_object_mut().context("an object")?.remove(fixed);
        }
        let (key, path) = (key.to_owned(), record.path()?);
        Ok(self.begin(Write { key, change: Change::Update, method: "PATCH", path, body: Some(body) }))
    }

    fn plan_delete(&mut self, key: &str) -> Result<Write> {
        let path = self.records[key].path()?;
        Ok(self.begin(Write { key: key.to_owned(), change: Change::Delete, method: "DELETE", path, body: None }))
    }

    fn begin(&mut self, write: Write) -> Write {
        let mut at = write.key.clone();
        if let Some(record) = self.records.get_mut(&at) {
            record.pending = Some(write.change);
            record.touched = true;
        }
        // What it belongs to follows: counts, the last message.
        while let Some(parent) = self.records.get(&at).and_then(|record| record.parent.clone()) {
            if let Some(record) = self.records.get_mut(&parent) {
                record.moved = true;
                record.touched = true;
            }
            at = parent;
        }
        write
    }

    /// Takes down what came of a write. Gives whether the server is there.
    pub(crate) fn settle(&mut self, write: Write, fate: Fate) -> bool {
        match fate {
            Fate::Answered(Reply { status, body, retry }) => {
                *self.statuses.entry(status).or_default() += 1;
                match status {
                    200 | 201 | 204 => {
                        self.acknowledged += 1;
                        self.apply(&write.key, write.change, Some(&body["data"]));
                    }
                    503 if retry => {
                        self.refused += 1;
                        if let Some(record) = self.records.get_mut(&write.key) {
                            record.refused = true;
                        }
                    }
                    500.. => self.unclear += 1,
                    _ => self.broken.push(format!("{} {} was answered {status}: {body}", write.method, write.path)),
                }
                true
            }
            Fate::NotSent => {
                if write.change == Change::Create {
                    self.records.remove(&write.key);
                } else if let Some(record) = self.records.get_mut(&write.key) {
                    record.pending = None;
                }
                false
            }
            Fate::Unclear => {
                self.unclear += 1;
                false
            }
            Fate::Silence => {
                self.broken.push(format!("{} {} was never answered", write.method, write.path));
                false
            }
        }
    }

    /// A write was done, and this is what it left.
    fn apply(&mut self, key: &str, change: Change, document: Option<&Value>) {
        let Some(record) = self.records.get_mut(key) else { return };
        record.pending = None;
        record.refused = false;
        match change {
            Change::Create => {
                record.id = document.and_then(|document| document["id"].as_str()).map(str::to_owned);
            }
            Change::Update => record.version += 1,
            Change::Delete => record.deleted = true,
        }
        if let Some(document) = document {
            record.document = document.clone();
            record.moved = false;
        }
        if change == Change::Delete {
            // What belongs to it went with it, and is looked at again.
            let mut gone = vec![key.to_owned()];
            while let Some(above) = gone.pop() {
                for (key, record) in &mut self.records {
                    if record.parent.as_ref() == Some(&above) {
                        record.touched = true;
                        if record.kind == Kind::Conversation {
                            gone.push(key.clone());
                        }
                    }
                }
            }
        }
    }

    /// What a client writes next; `own` are the records it alone writes to.
    pub(crate) fn next(&mut self, writer: &str, own: &mut Vec<String>, random: &mut Random) -> Result<Write> {
        own.retain(|key| self.records.get(key).is_some_and(|record| !record.deleted));
        // The newest: what was written long ago is looked at again in the end.
        own.drain(..own.len().saturating_sub(NEWEST));
        let live = |keys: &[String], kind: Kind| -> Vec<String> {
            let fits = |key: &&String| self.records.get(*key).is_some_and(|record| record.kind == kind);
            keys.iter().filter(|key| fits(key) && self.is_live(key)).cloned().collect()
        };
        let customers = live(own, Kind::Customer);
        let conversations = live(own, Kind::Conversation);
        let mut messages = live(own, Kind::Message);
        // To change one costs the length of its conversation, and those that all write to grow long.
        messages.retain(|key| !self.records[key].shared);
        let shared_customers = live(&self.shared, Kind::Customer);
        let shared_conversations = live(&self.shared, Kind::Conversation);
        let chance = random.below(100);
        let write = match chance {
            0..40 if let Some(key) = random.pick(&conversations) => {
                self.plan_create(Kind::Message, Some(key.clone()), writer, false)
            }
            40..60 if let Some(key) = random.pick(&shared_conversations) => {
                self.plan_create(Kind::Message, Some(key.clone()), writer, true)
            }
            60..68 if let Some(key) = random.pick(&shared_customers) => {
                self.plan_create(Kind::Conversation, Some(key.clone()), writer, false)
            }
            68..80 if let Some(key) = random.pick(&conversations) => self.plan_update(key)?,
            80..86 if let Some(key) = random.pick(&messages) => self.plan_update(key)?,
            86..89 if let Some(key) = random.pick(&customers) => self.plan_update(key)?,
            89..91 if let Some(key) = random.pick(&conversations) => self.plan_delete(key)?,
            91 if let Some(key) = random.pick(&customers) => self.plan_delete(key)?,
            92..95 => self.plan_create(Kind::Customer, None, writer, false),
            _ => match random.pick(&customers) {
                Some(key) => self.plan_create(Kind::Conversation, Some(key.clone()), writer, false),
                None => self.plan_create(Kind::Customer, None, writer, false),
            },
        };
        if write.change == Change::Create {
            own.push(write.key.clone());
        }
        Ok(write)
    }

    /// Whether a record is to be seen, as far as is known.
    fn is_seen(&self, record: &Record) -> bool {
        !record.deleted
            && record
                .parent
                .as_ref()
                .is_none_or(|parent| self.records.get(parent).is_some_and(|parent| self.is_seen(parent)))
    }

    /// Looks at records that were written to since they were last looked at, or at all: each is exactly as acknowledged,
    /// a write of unclear fate was done wholly or not at all, and one that was refused for now not at all. Afterwards nothing is unclear. Gives how many were
    /// looked at.
    pub(crate) fn check(&mut self, client: &mut Client, all: bool) -> Result<usize> {
        if let Some(broken) = self.broken.first() {
            bail!("{broken} (and {} more)", self.broken.len() - 1);
        }
        let mut looked = 0;
        // From above to below: what belongs to something is seen with it.
        for kind in [Kind::Customer, Kind::Conversation, Kind::Message] {
            let of_kind = self.records.iter().filter(|(_, record)| record.kind == kind && (all || record.touched));
            let keys: Vec<String> = of_kind.map(|(key, _)| key.clone()).collect();
            looked += keys.len();
            for key in keys {
                self.check_one(client, &key).with_context(|| key.clone())?;
            }
        }
        Ok(looked)
    }

    fn check_one(&mut self, client: &mut Client, key: &str) -> Result<()> {
        let record = self.records.get(key).context("it is known")?.clone();
        let path = match &record.id {
            Some(_) => record.path()?,
            None => record.kind.by_key(key),
        };
        let Reply { status, body: answer, .. } = client.get(&path)?;
        let found = match status {
            200 => Some(&answer["data"]),
            404 => None,
            _ => bail!("GET {path} was answered {status}: {answer}"),
        };
        let is = |version: u64| {
            let sent = body(record.kind, key, version, record.shared);
            found.is_some_and(|found| shows(&found["attributes"], &sent))
        };
        let parent_id =
            record.parent.as_ref().and_then(|parent| self.records.get(parent)).and_then(|parent| parent.id.clone());
        if let (Some(found), Some(parent)) = (found, &parent_id) {
            let name = if record.kind == Kind::Message { "conversation" } else { "customer" };
            let shown = &found["relationships"][name]["data"]["id"];
            ensure!(shown == parent, "it belongs to {shown}, not to {parent}");
        }
        let unchanged = || {
            ensure!(is(record.version), "acknowledged as\n{}\nit is\n{answer}", record.document);
            if let (false, false, Some(found)) = (record.moved, record.shared, found) {
                ensure!(*found == record.document, "acknowledged as\n{}\nit is\n{found}", record.document);
            }
            Ok(())
        };
        let seen = self.is_seen(&record);
        match (record.pending, found) {
            (_, Some(found)) if !seen => bail!("it was deleted, and is there: {found}"),
            // Of a create that is unclear nothing is known once it would have been deleted along.
            (Some(Change::Create), None) => drop(self.records.remove(key)),
            (_, None) if !seen => {}
            (Some(Change::Create), Some(found)) => {
                ensure!(is(1), "half of it is there: {found}");
                self.was_done(&record)?;
                self.apply(key, Change::Create, Some(found));
            }
            (Some(Change::Delete), None) => {
                self.was_done(&record)?;
                self.apply(key, Change::Delete, None);
            }
            (_, None) => bail!("it is gone; acknowledged as\n{}", record.document),
            (Some(Change::Update), Some(found)) if is(record.version + 1) => {
                self.was_done(&record)?;
                self.apply(key, Change::Update, Some(found));
            }
            (_, Some(_)) => unchanged()?,
        }
        if let Some(record) = self.records.get_mut(key) {
            record.pending = None;
            record.refused = false;
            record.touched = false;
        }
        Ok(())
    }

    /// A write that was not acknowledged turns out to have been done.
    fn was_done(&mut self, record: &Record) -> Result<()> {
        ensure!(!record.refused, "it was refused with 503 and Retry-After, and was done: {:?}", record.pending);
        self.unclear_done += 1;
        Ok(())
    }

    /// The ids of all records of a kind that are there.
    pub(crate) fn ids(&self, kind: Kind) -> Vec<String> {
        let seen = self.records.values().filter(|record| record.kind == kind && self.is_seen(record));
        seen.filter_map(|record| record.id.clone()).collect()
    }

    /// How many requests were answered.
    pub(crate) fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// How many of them by a failure of the server.
    pub(crate) fn failures(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count).sum()
    }

    /// Fails when more than so many failures were answered otherwise than with 503. A write whose commit was not answered
    /// may be 500: 503 invites to try again what may have been done.
    pub(crate) fn expect_failures_as_503(&self, but: u64) -> Result<()> {
        let others = self.statuses.iter().filter(|(status, _)| **status >= 500 && **status != 503);
        let count: u64 = others.map(|(_, count)| count).sum();
        ensure!(count <= but, "{count} failures were not answered 503, where {but} may be: {}", self.figures());
        Ok(())
    }

    /// Outcomes in a few words.
    pub(crate) fn figures(&self) -> String {
        let failed = self.statuses.iter().filter(|(status, _)| **status >= 500);
        let failed: String = failed.map(|(status, count)| format!(", {count} answered {status}")).collect();
        format!(
            "{} writes acknowledged, {} refused for now, {} unclear of which {} were done{failed}",
            self.acknowledged, self.refused, self.unclear, self.unclear_done
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    /// What a server keeps: documents by path, look-ups by external id included.
    type Kept = Arc<Mutex<BTreeMap<String, Value>>>;

    /// A server that answers GETs with what is kept, and keeps what is written to it.
    fn server(kept: &Kept) -> Client {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let kept = Arc::clone(kept);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                let mut stream = stream;
                while let Some((method, path, body)) = request(&mut reader) {
                    let (status, answer) =
                        answer(&mut kept.lock().expect("no test panics in here"), &method, &path, body);
                    let answer = answer.to_string();
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
                    if stream.write_all((head + &answer).as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        Client::new(port, "token")
    }

    fn request(reader: &mut impl BufRead) -> Option<(String, String, Value)> {
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            match header.trim().split_once(": ") {
                Some(("Content-Length", number)) => length = number.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some((method, path, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn answer(kept: &mut BTreeMap<String, Value>, method: &str, path: &str, body: Value) -> (u16, Value) {
        match method {
            "POST" => {
                let kind = path.rsplit('/').next().expect("a kind");
                let id = format!("{:024x}", kept.len() + 1);
                let parent: Vec<&str> = path.split('/').collect();
                let above = if kind == "messages" { "conversation" } else { "customer" };
                let record = json!({
                    "id": id, "attributes": body,
                    "relationships": { above: { "data": { "id": parent.get(3) } } },
                });
                kept.insert(format!("/v1/{kind}/{id}"), record.clone());
                (201, json!({ "data": record }))
            }
            "PATCH" => {
                let record = kept.get_mut(path).expect("it is there");
                let (Value::Object(into), Value::Object(from)) = (&mut record["attributes"], body) else {
                    panic!("objects")
                };
                into.extend(from);
                (200, json!({ "data": record }))
            }
            _ => {
                let by_key = path.split_once('=').map(|(_, key)| key);
                let mut records = kept.iter();
                let found = records.find(|(at, record)| {
                    *at == path || by_key.is_some_and(|key| record["attributes"]["externalId"] == key)
                });
                found.map_or((404, json!({})), |(_, record)| (200, json!({ "data": record })))
            }
        }
    }

    /// A ledger of a customer with a conversation of one message, and where they are kept.
    fn written() -> (Kept, Client, Ledger, [String; 3]) {
        let (kept, mut ledger) = (Kept::default(), Ledger::default());
        let mut client = server(&kept);
        let mut parent = None;
        let keys = [Kind::Customer, Kind::Conversation, Kind::Message].map(|kind| {
            let write = ledger.plan_create(kind, parent.clone(), "w", false);
            let key = write.key.clone();
            ledger.write(&mut client, write).expect("it is written");
            parent = Some(key.clone());
            key
        });
        (kept, client, ledger, keys)
    }

    fn path_of(ledger: &Ledger, key: &str) -> String {
        ledger.records[key].path().expect("an id")
    }

    #[test]
    fn what_is_there_as_acknowledged_is_found_so() {
        let (_, mut client, mut ledger, keys) = written();
        assert_eq!(ledger.check(&mut client, false).expect("all is there"), 3);
        assert_eq!(ledger.check(&mut client, false).expect("nothing was touched"), 0);
        let update = ledger.plan_update(&keys[2]).expect("an update");
        ledger.write(&mut client, update).expect("it is written");
        // The message and what it belongs to.
        assert_eq!(ledger.check(&mut client, false).expect("all is there"), 3);
        assert_eq!(ledger.acknowledged, 4);
    }

    #[test]
    fn what_was_acknowledged_and_is_lost_older_or_altered_is_noticed() {
        let says = |break_it: &dyn Fn(&mut BTreeMap<String, Value>, &str)| {
            let (kept, mut client, mut ledger, keys) = written();
            let older = kept.lock().expect("a lock").clone();
            let update = ledger.plan_update(&keys[2]).expect("an update");
            ledger.write(&mut client, update).expect("it is written");
            let path = path_of(&ledger, &keys[2]);
            let mut kept = kept.lock().expect("a lock");
            if kept[&path] == older[&path] {
                panic!("the update did nothing");
            }
            kept.insert("older".into(), older[&path].clone());
            break_it(&mut kept, &path);
            drop(kept);
            format!("{:#}", ledger.check(&mut client, true).expect_err("it is noticed"))
        };
        assert!(says(&|kept, path| drop(kept.remove(path))).contains("it is gone"));
        let older = |kept: &mut BTreeMap<String, Value>, path: &str| {
            let older = kept["older"].clone();
            kept.insert(path.to_owned(), older);
        };
        assert!(says(&older).contains("acknowledged as"));
        // Nothing a client sent, but part of what it was shown.
        let altered = |kept: &mut BTreeMap<String, Value>, path: &str| {
            kept.get_mut(path).expect("it is there")["more"] = json!(1)
        };
        assert!(says(&altered).contains("acknowledged as"));
    }

    #[test]
    fn a_write_of_unclear_fate_is_done_wholly_or_not_at_all() {
        let (kept, mut client, mut ledger, keys) = written();
        let path = path_of(&ledger, &keys[1]);
        // Not at all.
        let unanswered = ledger.plan_update(&keys[1]).expect("an update");
        assert!(!ledger.settle(unanswered, Fate::Unclear));
        ledger.check(&mut client, false).expect("it is as it was");
        assert_eq!((ledger.unclear, ledger.unclear_done), (1, 0));
        // Wholly.
        let unanswered = ledger.plan_update(&keys[1]).expect("an update");
        client.ask("PATCH", &path, unanswered.body.as_ref()).expect("it is done, and nobody is told");
        ledger.settle(unanswered, Fate::Unclear);
        ledger.check(&mut client, false).expect("it is as it was meant to be");
        assert_eq!((ledger.unclear, ledger.unclear_done), (2, 1));
        // Half.
        let unanswered = ledger.plan_update(&keys[1]).expect("an update");
        let name = json!({ "name": unanswered.body.as_ref().expect("a body")["name"] });
        client.ask("PATCH", &path, Some(&name)).expect("a half is done");
        ledger.settle(unanswered, Fate::Unclear);
        let error = ledger.check(&mut client, false).expect_err("it is noticed");
        assert!(format!("{error:#}").contains("acknowledged as"), "{error:#}");
        drop(kept);
    }

    #[test]
    fn a_write_that_was_refused_for_now_was_not_done() {
        for done in [false, true] {
            let (_, mut client, mut ledger, keys) = written();
            let refused = |ledger: &mut Ledger, write: Write| {
                let reply = Reply { status: 503, body: Value::Null, retry: true };
                assert!(ledger.settle(write, Fate::Answered(reply)));
            };
            let create = ledger.plan_create(Kind::Message, Some(keys[1].clone()), "w", false);
            let update = ledger.plan_update(&keys[2]).expect("an update");
            if done {
                client.ask("PATCH", &update.path, update.body.as_ref()).expect("it is done all the same");
            }
            refused(&mut ledger, create);
            refused(&mut ledger, update);
            let checked = ledger.check(&mut client, false).map_err(|error| format!("{error:#}"));
            assert_eq!(checked.is_err_and(|error| error.contains("Retry-After")), done);
        }
    }

    #[test]
    fn a_create_of_unclear_fate_is_found_by_its_key() {
        let (_, mut client, mut ledger, keys) = written();
        for done in [false, true] {
            let unanswered = ledger.plan_create(Kind::Message, Some(keys[1].clone()), "w", false);
            if done {
                client.ask("POST", &unanswered.path, unanswered.body.as_ref()).expect("it is done, and nobody is told");
            }
            ledger.settle(unanswered, Fate::Unclear);
            ledger.check(&mut client, false).expect("both are fine");
            assert_eq!(ledger.ids(Kind::Message).len(), 1 + usize::from(done));
        }
    }

    #[test]
    fn what_was_deleted_and_is_there_is_noticed_also_below() {
        let (kept, mut client, mut ledger, keys) = written();
        let delete = ledger.plan_delete(&keys[0]).expect("a delete");
        let paths: Vec<String> = keys.iter().map(|key| path_of(&ledger, key)).collect();
        ledger.settle(delete, Fate::Answered(Reply { status: 204, body: Value::Null, retry: false }));
        kept.lock().expect("a lock").retain(|path, _| *path == paths[2]);
        let error = ledger.check(&mut client, false).expect_err("the message is there");
        assert!(format!("{error:#}").contains("it was deleted"), "{error:#}");
        kept.lock().expect("a lock").clear();
        ledger.check(&mut client, true).expect("all went");
        assert!(ledger.ids(Kind::Message).is_empty());
    }

    #[test]
    fn refusals_break_a_promise_and_failures_leave_it_open() {
        let (_, mut client, mut ledger, keys) = written();
        let mut settle = |status| {
            let write = ledger.plan_create(Kind::Message, Some(keys[1].clone()), "w", false);
            ledger.settle(write, Fate::Answered(Reply { status, body: Value::Null, retry: false }));
            ledger.check(&mut client, false).is_ok()
        };
        assert!(settle(503));
        assert!(!settle(404));
        ledger.broken.clear();
        assert!(ledger.expect_failures_as_503(0).is_ok());
        ledger.statuses.insert(500, 1);
        assert!(ledger.expect_failures_as_503(0).is_err());
        assert!(ledger.expect_failures_as_503(1).is_ok());
    }
}

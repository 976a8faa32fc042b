//! A recount over the API: what lists hold, in which order, and whether every counter says the same.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::client::Client;
use crate::ledger::{Kind, Ledger};

/// Pages no list of a trial has: the links go round in a circle.
const MOST_PAGES: usize = 100_000;

/// The rows of a list by its links. Fails when one comes twice or out of order.
pub(crate) fn walk(client: &mut Client, path: &str, size: usize) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut next = Some(format!("{path}?page=1&pageSize={size}"));
    let mut pages = 0;
    while let Some(page) = next {
        let mut answer = client.read(&page)?;
        let Value::Array(of_page) = answer["data"].take() else { bail!("{page} is no list") };
        ensure!(of_page.len() <= size, "{page} has {} rows", of_page.len());
        rows.extend(of_page);
        next = answer["links"]["next"].as_str().map(str::to_owned);
        pages += 1;
        ensure!(pages < MOST_PAGES, "{path} has no end");
    }
    in_order(&rows).with_context(|| format!("{path}, by its links"))?;
    Ok(rows)
}

/// The rows of a list by page numbers, up to the first empty page.
pub(crate) fn walk_by_number(client: &mut Client, path: &str, size: usize) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for page in 1..MOST_PAGES {
        let mut answer = client.read(&format!("{path}?page={page}&pageSize={size}"))?;
        let Value::Array(of_page) = answer["data"].take() else { bail!("{path} is no list") };
        if of_page.is_empty() {
            return Ok(rows);
        }
        rows.extend(of_page);
    }
    bail!("{path} has no end")
}

/// Where a row stands in a list by creation.
fn position(row: &Value) -> (&str, &str) {
    (row["attributes"]["createdAt"].as_str().unwrap_or_default(), row["id"].as_str().unwrap_or_default())
}

/// Fails unless rows rise or fall throughout, so that none comes twice.
pub(crate) fn in_order(rows: &[Value]) -> Result<()> {
    let mut directions = HashSet::new();
    for pair in rows.windows(2) {
        let order = position(&pair[0]).cmp(&position(&pair[1]));
        directions.insert(order);
        ensure!(
            order.is_ne() && directions.len() == 1,
            "out of order: {:?} before {:?}",
            position(&pair[0]),
            position(&pair[1])
        );
    }
    Ok(())
}

/// The ids of rows.
pub(crate) fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Fails unless both walks of a list find the same rows; gives them.
fn walk_both(client: &mut Client, path: &str, sizes: (usize, usize)) -> Result<Vec<Value>> {
    let rows = walk(client, path, sizes.0)?;
    let by_number = walk_by_number(client, path, sizes.1)?;
    ensure!(
        ids(&rows) == ids(&by_number),
        "{path} has {} rows by its links and {} by page numbers, or in another order",
        rows.len(),
        by_number.len()
    );
    Ok(rows)
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) customers: usize,
    pub(crate) conversations: usize,
    pub(crate) messages: usize,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} customers, {} conversations and {} messages recounted",
            self.customers, self.conversations, self.messages
        )
    }
}

/// Walks every list of an org in which nobody writes and compares: walks with each other, lists of the org with those of
/// customers and conversations, counters with what is counted.
pub(crate) fn audit(client: &mut Client) -> Result<Counted> {
    let customers = walk_both(client, "/v1/customers", (100, 64))?;
    let (mut conversations, mut messages) = (Vec::new(), Vec::new());
    for customer in &customers {
        let id = customer["id"].as_str().context("an id")?;
        let theirs = walk_both(client, &format!("/v1/customers/{id}/conversations"), (100, 30))?;
        let mut counts = BTreeMap::from([("all", 0), ("open", 0), ("snoozed", 0), ("done", 0)]);
        for conversation in &theirs {
            let status = conversation["attributes"]["status"].as_str().context("a status")?;
            *counts.get_mut("all").context("all")? += 1;
            *counts.get_mut(status).with_context(|| format!("a status {status}"))? += 1;
        }
        let shown = &customer["attributes"]["conversationCounts"];
        for (status, counted) in counts {
            ensure!(shown[status] == counted, "customer {id} says {status}: {} and has {counted}", shown[status]);
        }
        let mut of_customer = Vec::new();
        for conversation in &theirs {
            of_customer.extend(audit_conversation(client, conversation)?);
        }
        let listed: HashSet<_> =
            ids(&walk(client, &format!("/v1/customers/{id}/messages"), 100)?).into_iter().collect();
        ensure!(
            listed == of_customer.iter().cloned().collect(),
            "customer {id} lists other messages than their conversations"
        );
        messages.extend(of_customer);
        conversations.extend(ids(&theirs));
    }
    for (path, below) in [("/v1/conversations", &conversations), ("/v1/messages", &messages)] {
        let listed: HashSet<_> = ids(&walk_both(client, path, (100, 50))?).into_iter().collect();
        let below: HashSet<_> = below.iter().cloned().collect();
        ensure!(listed == below, "{path} has {} records, customers have {}", listed.len(), below.len());
    }
    Ok(Counted { customers: customers.len(), conversations: conversations.len(), messages: messages.len() })
}

/// The ids of a conversation's messages, whose counters are right.
fn audit_conversation(client: &mut Client, conversation: &Value) -> Result<Vec<String>> {
    let id = conversation["id"].as_str().context("an id")?;
    let messages = walk(client, &format!("/v1/conversations/{id}/messages"), 100)?;
    let out = messages.iter().filter(|message| message["attributes"]["direction"] == "out").count();
    let shown = &conversation["attributes"];
    let counted = [
        ("messageCount", messages.len()),
        ("outboundMessageCount", out),
        ("inboundMessageCount", messages.len() - out),
    ];
    for (name, counted) in counted {
        ensure!(shown[name] == counted, "conversation {id} says {name}: {} and has {counted}", shown[name]);
    }
    Ok(ids(&messages))
}

/// The recount, and that lists hold what was acknowledged and nothing else.
pub(crate) fn audit_against(client: &mut Client, ledger: &Ledger) -> Result<Counted> {
    let counted = audit(client)?;
    for (path, kind) in
        [("/v1/customers", Kind::Customer), ("/v1/conversations", Kind::Conversation), ("/v1/messages", Kind::Message)]
    {
        let listed: HashSet<_> = ids(&walk(client, path, 100)?).into_iter().collect();
        let known: HashSet<_> = ledger.ids(kind).into_iter().collect();
        ensure!(
            listed == known,
            "{path} has {} records nobody was told of and lacks {} that were acknowledged",
            listed.difference(&known).count(),
            known.difference(&listed).count()
        );
    }
    Ok(counted)
}

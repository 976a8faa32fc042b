//! Records and what follows from them, told through the real router on both engines.

mod conversations;
mod customers;
mod limits;
mod messages;
mod notes;
mod settings;

use konverse_testkit::Actor;
use serde_json::Value;

const MINUTE: i64 = 60_000;

/// A minute after nine, when the clock of every test stands at first.
fn at(minute: i64) -> String {
    format!("2026-10-24T09:{minute:02}:00.000Z")
}

async fn conversation(actor: &Actor, id: &str) -> Value {
    actor.attributes(&format!("/v1/conversations/{id}")).await
}

async fn customer(actor: &Actor, id: &str) -> Value {
    actor.attributes(&format!("/v1/customers/{id}")).await
}

async fn message(actor: &Actor, id: &str) -> Value {
    actor.attributes(&format!("/v1/messages/{id}")).await
}

fn id_of(relationship: &Value) -> &str {
    relationship["data"]["id"].as_str().unwrap_or_default()
}

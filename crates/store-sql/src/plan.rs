//! From changes to steps.

use std::borrow::Cow;

use konverse_model::{Id, Kind, OrgId};
use konverse_store::{Changes, Conflict, Put, Row};

use crate::table::{self, Table};
use crate::{Dialect, Step, Value};

/// Slots a kept count is spread over: enough that concurrent writers of one org seldom meet in one row.
const SLOTS: u8 = 16;

const NEW_ORG: &str = "INSERT INTO org (id, name, created_at) VALUES ($1, $2, $3)";
const RELEASE: &str = "DELETE FROM identifier WHERE org = $1 AND space = $2 AND value = $3 AND owner = $4";
const RELEASE_ALL: &str = "DELETE FROM identifier WHERE org = $1 AND owner = $2";
const CLAIM: &str = "INSERT INTO identifier (org, space, value, owner) VALUES ($1, $2, $3, $4)";
const TALLY: &str = "INSERT INTO tally (org, name, slot, amount) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (org, name, slot) DO UPDATE SET amount = tally.amount + excluded.amount";
const MEMBERSHIP: &str =
    "INSERT INTO membership (org, user_id, team) VALUES ($1, $2, $3) ON CONFLICT (org, user_id, team) DO NOTHING";
const CREDENTIAL: &str = "INSERT INTO credential (hash, org, token, user_id, roles, cidr, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const REVOKE: &str = "DELETE FROM credential WHERE org = $1 AND token = $2";
const HIDE_BY_CUSTOMER: [&str; 3] = [
    "UPDATE conversation SET hidden = 4, wake_at = NULL WHERE org = $1 AND customer = $2 AND hidden = 0",
    "UPDATE message SET hidden = 4 WHERE org = $1 AND customer = $2 AND hidden = 0",
    "UPDATE note SET hidden = 4 WHERE org = $1 AND customer = $2 AND hidden = 0",
];
const HIDE_BY_CONVERSATION: [&str; 2] = [
    "UPDATE message SET hidden = $1 WHERE org = $2 AND conversation = $3 AND hidden = $4",
    "UPDATE note SET hidden = $1 WHERE org = $2 AND conversation = $3 AND hidden = $4",
];
const EVENT_SQLITE: &str = "INSERT INTO event (org, seq, id, at, verb, kind, object, customer, actor, rev, changes) \
    VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM event WHERE org = $1), $2, $3, $4, $5, $6, $7, $8, $9, $10)";
/// The writing transaction's number, then the event's place in it. A reader that holds back at the oldest running
/// transaction therefore never meets a smaller number later; a sequence could not promise that, since its order is not
/// the order in which transactions begin.
const EVENT_POSTGRES: &str = "INSERT INTO event (org, seq, id, at, verb, kind, object, customer, actor, rev, changes) \
    VALUES ($1, CAST(CAST(pg_current_xact_id() AS text) AS bigint) * 1048576 + $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// The steps of a change. Existing rows come first, so that a stale revision is met before anything else is written.
pub(crate) fn steps(dialect: Dialect, changes: Changes) -> Vec<Step> {
    let Changes {
        org,
        new_org,
        puts,
        releases,
        claims,
        tallies,
        memberships,
        credentials,
        revoked,
        hide_customer,
        hide_conversation,
        events,
    } = changes;
    let org_id: Id = org.into();
    let mut steps = Vec::with_capacity(puts.len() + events.len() + claims.len() + 4);
    let any = |sql: &'static str, params: Vec<Value>| Step {
        sql: Cow::Borrowed(sql),
        params,
        must_change: false,
        conflict: None,
    };

    if let Some(new) = new_org {
        let conflict = Conflict::Taken(Kind::Org, org_id);
        let params = vec![new.id.0.into(), new.name.into(), new.created_at.into()];
        steps.push(must(NEW_ORG, params, conflict));
    }
    let (updates, inserts): (Vec<_>, Vec<_>) = puts.into_iter().partition(|put| matches!(put, Put::Update { .. }));
    for put in updates.into_iter().chain(inserts) {
        put_steps(org, put, &mut steps);
    }
    for (owner, name) in releases {
        steps.push(match name {
            Some((space, value)) => {
                any(RELEASE, vec![org_id.into(), Value::Text(space.name().into()), value.into(), owner.into()])
            }
            None => any(RELEASE_ALL, vec![org_id.into(), owner.into()]),
        });
    }
    for (space, value, owner) in claims {
        let params = vec![org_id.into(), Value::Text(space.name().into()), value.clone().into(), owner.into()];
        steps.push(must(CLAIM, params, Conflict::Name(space, value)));
    }
    for (name, by, amount) in tallies {
        let slot = by.bytes()[11] % SLOTS;
        steps.push(any(
            TALLY,
            vec![org_id.into(), Value::Text(name.into()), Value::Int(slot.into()), Value::Int(amount)],
        ));
    }
    for place in memberships {
        steps.push(any(MEMBERSHIP, vec![org_id.into(), place.user.0.into(), place.team.0.into()]));
    }
    for new in credentials {
        steps.push(any(
            CREDENTIAL,
            vec![
                Value::Hash(new.hash),
                org_id.into(),
                new.token.0.into(),
                new.user.0.into(),
                new.roles.into(),
                new.cidr.into(),
                new.expires_at.into(),
            ],
        ));
    }
    for token in revoked {
        steps.push(any(REVOKE, vec![org_id.into(), token.0.into()]));
    }
    if let Some(customer) = hide_customer {
        steps.extend(HIDE_BY_CUSTOMER.map(|sql| any(sql, vec![org_id.into(), customer.0.into()])));
    }
    if let Some((conversation, shows)) = hide_conversation {
        let (to, from) = if shows { (0, 2) } else { (2, 0) };
        steps.extend(HIDE_BY_CONVERSATION.map(|sql| Step {
            // Showing them again can meet an external id that was taken meanwhile.
            conflict: Some(Conflict::Taken(Kind::Conversation, conversation)),
            ..any(sql, vec![Value::Int(to), org_id.into(), conversation.into(), Value::Int(from)])
        }));
    }
    let insert_event = match dialect {
        Dialect::Sqlite => EVENT_SQLITE,
        Dialect::Postgres => EVENT_POSTGRES,
    };
    for (n, event) in events.into_iter().enumerate() {
        let mut params: Vec<Value> = vec![org_id.into()];
        if dialect == Dialect::Postgres {
            params.push(Value::Int(n as i64));
        }
        params.extend([
            event.id.0.into(),
            event.at.into(),
            Value::Text(event.verb.into()),
            Value::Text(event.kind.name().into()),
            event.object.into(),
            event.customer.map(Id::from).into(),
            event.actor.map(Id::from).into(),
            event.rev.into(),
            event.changes.into(),
        ]);
        steps.push(any(insert_event, params));
    }
    steps
}

fn must(sql: &'static str, params: Vec<Value>, conflict: Conflict) -> Step {
    Step { sql: Cow::Borrowed(sql), params, must_change: true, conflict: Some(conflict) }
}

fn insert(org: OrgId, table: &'static Table, row: Row) -> Step {
    let conflict = Conflict::Taken(row.kind, row.id);
    must(&table.insert, table.insert_params(org, row), conflict)
}

fn put_steps(org: OrgId, put: Put, steps: &mut Vec<Step>) {
    match put {
        Put::Insert(row) => steps.push(insert(org, table::of(row.kind), row)),
        Put::Update { was, now } => {
            let table = table::of(now.kind);
            let stale = Conflict::Stale(now.kind, now.id);
            if table.same_place(org, &was, &now) {
                steps.push(must(&table.update, table.update_params(org, &was, &now), stale));
            } else {
                steps.push(must(&table.delete, table.delete_params(org, &was), stale));
                steps.push(insert(org, table, now));
            }
        }
    }
}

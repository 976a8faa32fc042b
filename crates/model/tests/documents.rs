//! Stored texts: what a newer program wrote into them survives, and the instant of the last change is found in them,
//! whatever clients put into the members they fill as they like.

use konverse_model::resource::{
    ConversationAttributes, CustomerAttributes, MessageAttributes, NoteAttributes, RoleGroupAttributes, TagAttributes,
    TeamAttributes, TokenAttributes, UserAttributes,
};
use konverse_model::{Attributes, Document, Id, Kind, Rel, Rendered};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

const STAMP: &str = "2026-10-24T09:00:00.000Z";
const LATER: &str = "2031-01-02T03:04:05.678Z";
const ID: &str = "671a2d10a3f1b20012c4d0a7";

/// Attributes of a kind as they are stored, with `text` and `value` wherever a client may put them.
fn attributes(kind: Kind, text: &str, value: &Value) -> Value {
    let object = json!({ "updatedAt": STAMP, "x": value, "t": text, text: text });
    let mut attributes = match kind {
        Kind::Conversation => json!({
            "name": text, "channels": [text], "status": "open", "priority": 3, "direction": "in", "messageCount": 1,
            "inboundMessageCount": 1, "outboundMessageCount": 0, "noteCount": 0, "satisfaction": 0, "predictions": [],
            "satisfactionLevel": object, "sentiment": object, "tags": [], "suggestedTags": [object],
            "assignedUsers": [], "assignedTeams": [], "ended": false, "endedReason": text, "spam": false,
            "lastMessageIn": { "id": ID, "sentAt": STAMP, "createdAt": STAMP, "meta": object }, "firstResponse": {},
            "custom": object, "modificationHistory": { "updatedAt": STAMP }, "lastActivityAt": STAMP, "rev": 1,
        }),
        Kind::Customer => json!({
            "name": text, "displayName": text, "displayColor": "red", "displayIcon": "sun", "externalIds": [],
            "sharedExternalIds": [], "emails": [], "sharedEmails": [], "phones": [], "sharedPhones": [],
            "whatsapps": [], "facebookIds": [object], "instagramIds": [], "socials": [], "sharedSocials": [],
            "urls": [value], "locations": [], "activeUsers": [], "watchers": [], "recentLocation": { "updatedAt": STAMP },
            "lastActivityAt": STAMP, "lastCustomerActivityAt": STAMP, "lastConversation": { "tags": [], "channels": [] },
            "conversationCounts": { "all": 0, "open": 0, "snoozed": 0, "done": 0 }, "progressiveStatus": null,
            "preview": { "text": text }, "sentiment": object, "tags": [], "custom": object, "verified": true,
            "deleted": false, "rev": 1,
        }),
        Kind::Message => json!({
            "channel": "email", "app": text, "direction": "in", "directionType": "initial-in", "preview": text,
            "size": 1, "meta": object, "status": "received", "error": object, "sentAt": STAMP, "auto": false,
            "sentiment": object, "assignedUsers": [], "assignedTeams": [], "createdByTeams": [], "redacted": false,
            "reactions": [value], "location": object, "reference": object, "custom": object, "lang": text, "rev": 1,
        }),
        Kind::Note => json!({ "body": text, "lang": text, "createdByTeams": [], "rev": 1 }),
        Kind::User => json!({
            "displayName": text, "name": text, "email": text, "userType": "user", "mobile": text, "isEmailValid": true,
            "password": { "allowNew": false, "forceNew": false, "updatedAt": STAMP }, "roles": [text], "roleGroups": [],
        }),
        Kind::Team => json!({ "name": text, "icon": text, "members": [], "roleGroups": [] }),
        Kind::Tag => json!({ "name": text, "color": text, "deleted": false }),
        Kind::RoleGroup => {
            json!({ "name": text, "description": text, "display": true, "system": false, "roles": [text] })
        }
        _ => json!({
            "name": text, "lastTokenChars": text, "ipAddress": text, "userAgent": text, "roles": [text],
            "lastAccessedAt": STAMP,
        }),
    };
    for name in ["createdAt", "updatedAt", "modifiedAt"] {
        attributes[name] = json!(STAMP);
    }
    if kind == Kind::Token {
        attributes.as_object_mut().map(|attributes| attributes.shift_remove("modifiedAt"));
    }
    attributes
}

/// A stored text; `more` and `ties` are members as a newer program would have added them, as JSON texts.
fn stored(kind: Kind, attributes: &Value, more: &[(String, String)], ties: &[(String, String)]) -> String {
    let members = |members: &[(String, String)]| {
        members.iter().map(|(name, value)| format!(",{}:{value}", json!(name))).collect::<String>()
    };
    let attributes = attributes.to_string();
    format!(
        r#"{{"type":"{}","id":"{ID}","attributes":{}{}}},"relationships":{{"org":{{"links":{{"self":"/v1/orgs/{ID}"}},"data":{{"type":"org","id":"{ID}"}}}}{}}},"links":{{"self":"{}/{ID}"}}}}"#,
        kind.name(),
        &attributes[..attributes.len() - 1],
        members(more),
        members(ties),
        kind.path(),
    )
}

/// The text of a member of the resource object, as it stands.
fn member<'a>(text: &'a str, part: &str, name: &str) -> Option<&'a str> {
    let parts: std::collections::HashMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    let members: std::collections::HashMap<String, &RawValue> = serde_json::from_str(parts[part].get()).unwrap();
    members.get(name).map(|value| value.get())
}

/// Calls a function of one type parameter for the attributes of a kind.
macro_rules! of_kind {
    ($kind:expr, $check:ident($($argument:expr),*)) => {
        match $kind {
            Kind::Conversation => $check::<ConversationAttributes>($($argument),*),
            Kind::Customer => $check::<CustomerAttributes>($($argument),*),
            Kind::Message => $check::<MessageAttributes>($($argument),*),
            Kind::Note => $check::<NoteAttributes>($($argument),*),
            Kind::User => $check::<UserAttributes>($($argument),*),
            Kind::Team => $check::<TeamAttributes>($($argument),*),
            Kind::Tag => $check::<TagAttributes>($($argument),*),
            Kind::RoleGroup => $check::<RoleGroupAttributes>($($argument),*),
            _ => $check::<TokenAttributes>($($argument),*),
        }
    };
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Conversation,
        Kind::Customer,
        Kind::Message,
        Kind::Note,
        Kind::User,
        Kind::Team,
        Kind::Tag,
        Kind::RoleGroup,
        Kind::Token,
    ])
}

/// Texts that look like what is searched for.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,12}",
        Just(STAMP.to_owned()),
        Just(format!(r#""updatedAt":"{STAMP}""#)),
        Just(format!(r#"\"updatedAt\":\"{STAMP}"#)),
        Just(format!(r#"}},"updatedAt":"{STAMP}","rev":1"#)),
        Just("updatedAt".to_owned()),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// JSON as another program may have written it: with spaces, and numbers that would be printed in another way.
fn raw_values() -> impl Strategy<Value = String> {
    prop_oneof![
        values().prop_map(|value| value.to_string()),
        values().prop_map(|value| serde_json::to_string_pretty(&value).unwrap()),
        prop::sample::select(vec!["1.50", "1E+2", "-0", "123456789012345678901234567890.0", r#""\u00fc\/""#, "[ ]"])
            .prop_map(str::to_owned),
    ]
}

/// Names no program of today gives a member.
fn members() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("new[A-Z\"\\\\ü.]{0,6}", raw_values(), 0..4).prop_map(|map| map.into_iter().collect())
}

fn survives<A: Attributes + PartialEq>(
    text: &str,
    more: &[(String, String)],
    ties: &[(String, String)],
) -> Result<(), TestCaseError> {
    let mut doc = Document::<A>::from_text(text).unwrap();
    doc.relationships.set("modifiedBy", Rel::One(Kind::User, ID.parse().unwrap()));
    let changed = doc.to_text();
    for (part, members) in [("attributes", more), ("relationships", ties)] {
        for (name, value) in members {
            prop_assert_eq!(member(&changed, part, name), Some(value.as_str()), "{} of {}", name, changed);
        }
    }
    let read = Document::<A>::from_text(&changed).unwrap();
    prop_assert_eq!(read.relationships.one("modifiedBy"), Some(ID.parse().unwrap()));
    prop_assert!(read == doc, "{}", changed);
    prop_assert_eq!(read.to_text(), changed);
    let mut known = Document::<A>::from_text(&stored(A::KIND, &of(text), &[], &[])).unwrap();
    known.relationships.set("modifiedBy", Rel::One(Kind::User, ID.parse().unwrap()));
    prop_assert_eq!(known == doc, more.is_empty() && ties.is_empty(), "what is not known makes a difference");
    Ok(())
}

/// The attributes of a text that a program of today would have written.
fn of(text: &str) -> Value {
    let mut all: Value = serde_json::from_str(text).unwrap();
    let attributes = all["attributes"].as_object_mut().unwrap();
    attributes.retain(|name, _| !name.starts_with("new"));
    Value::from(attributes.clone())
}

fn is_stamped<A: Attributes>(text: &str) -> Result<(), TestCaseError> {
    let doc = Document::<A>::from_text(text).unwrap();
    let Rendered { mut text, stamp_at } = doc.render();
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    prop_assert_eq!(expected["attributes"]["updatedAt"].as_str(), text.get(stamp_at..stamp_at + 24), "{}", text);
    expected["attributes"]["updatedAt"] = json!(LATER);
    text.replace_range(stamp_at..stamp_at + 24, LATER);
    prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_not_known_survives_a_change(
        kind in kinds(), text in texts(), value in values(), more in members(), ties in members(),
    ) {
        let text = stored(kind, &attributes(kind, &text, &value), &more, &ties);
        of_kind!(kind, survives(&text, &more, &ties))?;
    }

    #[test]
    fn the_stamp_is_found_whatever_a_record_holds(
        kind in kinds(), text in texts(), value in values(), more in members(), ties in members(), last in texts(),
    ) {
        let mut more = more;
        more.push(("newest".to_owned(), json!({ "updatedAt": last, last: STAMP }).to_string()));
        let text = stored(kind, &attributes(kind, &text, &value), &more, &ties);
        of_kind!(kind, is_stamped(&text))?;
    }
}

#[test]
fn relationships_that_are_not_understood_are_kept() {
    let note = attributes(Kind::Note, "n", &Value::Null);
    let identifier = format!(r#"{{"type":"user","id":"{ID}"}}"#);
    let id: Id = ID.parse().unwrap();
    let other = Rel::One(Kind::Team, id);
    for (name, value, one) in [
        ("planet", format!(r#"{{"data":{identifier}}}"#), None),
        ("queue", "null".to_owned(), None),
        ("queue", r#"{"links":{"self":"/v1/queues"},"data":null}"#.to_owned(), None),
        ("queue", format!(r#"{{"data":{{"type":"planet","id":"{ID}"}}}}"#), None),
        ("queue", r#"{"data":{"type":"queue","id":"not of today"}}"#.to_owned(), None),
        ("queue", format!(r#"{{"data":{identifier},"meta":{{ "weight": 1.50 }}}}"#), Some(id)),
        ("queue", format!(r#"{{"links":{{"self":"/v1/x","related":"/v1/y"}},"data":{identifier}}}"#), Some(id)),
        ("queue", format!(r#"{{"data":{{"type":"user","id":"{ID}","meta":1}}}}"#), Some(id)),
        ("attachments", format!(r#"{{"links":{{"self":"/v1/notes/{ID}/files"}},"data":[]}}"#), None),
        ("attachments", format!(r#"{{"data":[{identifier},{{"type":"planet","id":"{ID}"}}]}}"#), None),
        ("messages", format!(r#"{{"links":{{"self":"/v1/notes/{ID}/letters"}}}}"#), None),
        ("messages", "{}".to_owned(), None),
    ] {
        let tie = [(name.to_owned(), value.clone())];
        let mut doc = Document::<NoteAttributes>::from_text(&stored(Kind::Note, &note, &[], &tie)).unwrap();
        assert_eq!(doc.relationships.one(name), one, "{value}");
        assert_eq!(member(&doc.to_text(), "relationships", name), Some(value.as_str()));
        if let Some(id) = one {
            doc.relationships.set(name, Rel::One(Kind::User, id));
            assert_eq!(member(&doc.to_text(), "relationships", name), Some(value.as_str()), "the same is no change");
        }
        doc.relationships.set(name, other.clone());
        let expected = format!(r#"{{"links":{{"self":"/v1/teams/{ID}"}},"data":{{"type":"team","id":"{ID}"}}}}"#);
        assert_eq!(member(&doc.to_text(), "relationships", name), Some(expected.as_str()), "{value}");
        doc.relationships.remove(name);
        assert_eq!(member(&doc.to_text(), "relationships", name), None, "{value}");
    }
}

#[test]
fn known_relationships_are_rendered_as_they_were() {
    let message = attributes(Kind::Message, "m", &Value::Null);
    let ties = [
        (
            "customer",
            format!(r#"{{"links":{{"self":"/v1/customers/{ID}"}},"data":{{"type":"customer","id":"{ID}"}}}}"#),
        ),
        ("messages", format!(r#"{{"links":{{"self":"/v1/messages/{ID}/messages"}}}}"#)),
        (
            "attachments",
            format!(
                r#"{{"links":{{"self":"/v1/messages/{ID}/attachments"}},"data":[{{"type":"attachment","id":"{ID}"}}]}}"#
            ),
        ),
        ("userMentions", r#"{"data":[]}"#.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let read = Document::<MessageAttributes>::from_text(&stored(Kind::Message, &message, &[], &ties)).unwrap();
    for (name, value) in &ties {
        assert_eq!(member(&read.to_text(), "relationships", name), Some(value.as_str()));
    }
    let mut made = read.clone();
    made.relationships.set("customer", Rel::One(Kind::Customer, ID.parse().unwrap()));
    made.relationships.set("messages", Rel::Collection("messages"));
    let data = vec![(Kind::Attachment, ID.parse().unwrap())];
    made.relationships.set("attachments", Rel::Many { link: Some("attachments"), data });
    made.relationships.set("userMentions", Rel::Many { link: None, data: Vec::new() });
    assert!(made == read, "they are known, not merely kept");
}

#[test]
fn what_a_kind_always_shows_is_shown() {
    let text = |kind: Kind, imported: bool| {
        let mut attributes = attributes(kind, "n", &Value::Null);
        if imported {
            attributes["importedAt"] = json!(STAMP);
        }
        stored(kind, &attributes, &[], &[])
    };
    let note = Document::<NoteAttributes>::from_text(&text(Kind::Note, false)).unwrap();
    assert_eq!(member(&note.to_text(), "relationships", "userMentions"), Some(r#"{"data":[]}"#));
    assert_eq!(member(&note.to_text(), "relationships", "createdBy"), None);
    assert_eq!(member(&note.to_text(), "links", "related"), None);
    let mut note = Document::<NoteAttributes>::from_text(&text(Kind::Note, true)).unwrap();
    for name in ["createdBy", "modifiedBy"] {
        assert_eq!(member(&note.to_text(), "relationships", name), Some("null"));
    }
    note.relationships.set("createdBy", Rel::One(Kind::User, ID.parse().unwrap()));
    let rendered: Value = serde_json::from_str(&note.to_text()).unwrap();
    assert_eq!(rendered["relationships"]["createdBy"]["data"]["id"], ID);
    assert_eq!(Document::<NoteAttributes>::from_text(&note.to_text()).unwrap().to_text(), note.to_text());
    let message = Document::<MessageAttributes>::from_text(&text(Kind::Message, false)).unwrap();
    assert_eq!(member(&message.to_text(), "links", "related"), Some("null"));
}

#[test]
fn an_entry_a_newer_program_added_to_is_still_read() {
    let mut customer = attributes(Kind::Customer, "c", &Value::Null);
    customer["emails"] = json!([{ "email": "a@b.example", "verified": true, "bounced": false }]);
    let read = Document::<CustomerAttributes>::from_text(&stored(Kind::Customer, &customer, &[], &[])).unwrap();
    assert_eq!(
        member(&read.to_text(), "attributes", "emails"),
        Some(r#"[{"email":"a@b.example","verified":true,"id":null}]"#)
    );
}

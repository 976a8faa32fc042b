//! Examples of `openapi.json`.

use serde_json::{Value, json};

use crate::error::{ApiError, Code, Source};

const CUSTOMER: &str = "671a2c40a3f1b20012c4d001";
const CONVERSATION: &str = "671a2c40a3f1b20012c4d002";
const USER: &str = "671a2c40a3f1b20012c4d003";

/// A value of a parameter of this name.
pub(super) fn parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(CUSTOMER),
        "email" => json!("jane@example.com"),
        "phone" => json!("+15550100"),
        "externalId" => json!("4417"),
        "fromDate" => json!("2026-01-01T00:00:00.000Z"),
        _ if name.starts_with("filter[") => json!("2026-01-01T00:00:00.000Z"),
        _ => return None,
    })
}

/// A body of the shape of this name.
pub(super) fn body(name: &str) -> Option<Value> {
    let message = json!({ "channel": "email", "app": "postmark", "direction": "in", "preview": "Where is my parcel?" });
    Some(match name {
        "CustomerCreate" => {
            json!({ "name": "Jane Doe", "emails": [{ "email": "jane@example.com" }], "custom": { "vipBool": true } })
        }
        "CustomerUpdate" => json!({ "name": "Jane Doe" }),
        "ConversationCreate" => json!({ "customer": CUSTOMER, "name": "Late parcel" }),
        "ConversationCreateForCustomer" => json!({ "name": "Late parcel" }),
        "ConversationEdit" => json!({ "status": "done", "priority": 2 }),
        "TagNames" => json!(["vip"]),
        "MessageCreate" => message,
        "MessageCreateInOrg" => {
            let mut message = message;
            message["conversation"] = json!(CONVERSATION);
            message
        }
        "MessageUpdate" | "MessageReplace" => json!({ "subject": "Late parcel" }),
        "NoteCreate" | "NoteReplace" => json!({ "conversation": CONVERSATION, "body": "Called back." }),
        "NoteCreateInConversation" | "NoteUpdate" => json!({ "body": "Called back." }),
        "UserCreate" => json!({ "name": "Ann Lee", "email": "ann@example.com" }),
        "UserUpdate" => json!({ "roles": ["org.user"], "mobile": null }),
        "OwnUserUpdate" => json!({ "displayName": "Ann" }),
        "SignIn" => json!({ "domain": "acme", "email": "ann@example.com", "password": "correct horse battery" }),
        "RoleGroupCreate" => json!({ "name": "Night shift", "roles": ["org.permission.conversation"] }),
        "RoleGroupUpdate" => json!({ "roles": ["org.permission.conversation", "org.permission.customer.read"] }),
        "TeamUpdate" | "TeamReplace" => json!({ "name": "First line" }),
        "TeamMembers" => json!({ "members": [USER] }),
        "TeamCreate" => json!({ "name": "First line", "members": [USER] }),
        "TagCreate" => json!({ "name": "vip", "color": "#26c281" }),
        "TagUpdate" => json!({ "color": "#26c281" }),
        "Search" => json!({
            "queryContext": "conversation",
            "and": { "conversation_status": { "equals": "open" } },
            "sort": [{ "conversation_updated_at": "asc" }],
        }),
        "ArchiveSearch" => {
            json!({ "queryContext": "conversation", "and": { "conversation_updated_at": { "gte": "2026-01-01" } } })
        }
        "SavedSearchCreate" => json!({
            "name": "Open",
            "query": { "queryContext": "conversation", "and": { "conversation_status": { "equals": "open" } } },
        }),
        "SavedSearchUpdate" => json!({ "name": "Still open" }),
        "OperationInput" => json!({ "parameters": { "id": CUSTOMER, "page": 1, "pageSize": 25 } }),
        _ => return None,
    })
}

/// A refusal with this code.
pub(super) fn refusal(code: Code) -> Value {
    let (message, source) = match code {
        Code::BadRequest => ("page must be a whole number from 1", Source::Parameter("page")),
        Code::NotFound => ("Customer 671a2c40a3f1b20012c4d001 not found", Source::Parameter("id")),
        Code::Conflict => ("emails/0/email is taken by another customer", Source::Pointer("/emails/0/email")),
        _ => (code.description(), Source::Nowhere),
    };
    ApiError::new(code, message.trim_end_matches('.'), source).document()
}

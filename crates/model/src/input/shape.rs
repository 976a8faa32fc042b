//! A shape: a body type with its JSON Schema, the rule and the validator made of it.

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use super::bodies::*;
use super::checked::{Checked, Rule};
use super::parts::{MAX_INTEGER, NO_NUL};
use super::settings::*;
use crate::{FieldError, Instant, limits};

/// More errors than these are not told: the first few show a caller what is wrong.
const MOST_ERRORS: usize = 20;

/// A body type with its schema.
pub struct Shape<T> {
    name: &'static str,
    schema: Value,
    rule: Rule,
    validator: Validator,
    body: PhantomData<fn() -> T>,
}

impl<T: JsonSchema + DeserializeOwned> Shape<T> {
    /// The shape of `T`, less the properties in `without`, with `required` ones.
    ///
    /// # Panics
    /// When the schema of `T` is no valid schema: a mistake in this crate, met by the first test that touches it.
    fn new(name: &'static str, without: &[&str], required: &[&str]) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        });
        let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            for name in without {
                properties.shift_remove(*name);
            }
            for property in properties.values_mut().filter_map(Value::as_object_mut) {
                property.shift_remove("default");
            }
        }
        name_choices(&mut schema);
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        Self::of(name, schema)
    }
}

impl<T: DeserializeOwned> Shape<T> {
    fn of(name: &'static str, schema: Value) -> Self {
        let validator = jsonschema::options()
            .with_format("date-time", |text: &str| text.parse::<Instant>().is_ok())
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("schema of {}: {error}", type_name::<T>()));
        Self { name, rule: Rule::of(&schema), schema, validator, body: PhantomData }
    }

    /// The name `openapi.json` gives it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its JSON Schema (draft 2020-12).
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Reads a body, or says what is wrong with it, field by field.
    pub fn read(&self, body: Value) -> Result<T, Vec<FieldError>> {
        T::deserialize(Checked::body(&body, &self.rule)).or_else(|_| self.explain(body))
    }

    /// Reads a body from its text.
    pub fn read_text(&self, text: &str) -> Result<T, Unread> {
        self.read_checked(text)
            .or_else(|_| self.explain(serde_json::from_str(text).map_err(Unread::NoJson)?).map_err(Unread::Refused))
    }

    /// Reads a body that its rule is sure about.
    pub(super) fn read_checked(&self, text: &str) -> Result<T, serde_json::Error> {
        let mut text = serde_json::Deserializer::from_str(text);
        let body = T::deserialize(Checked::body(&mut text, &self.rule))?;
        text.end()?;
        Ok(body)
    }

    /// Says what is wrong with a body, or reads it after all: nearly always the rule has found something.
    pub(super) fn explain(&self, mut body: Value) -> Result<T, Vec<FieldError>> {
        let mut beyond = limits::check(&body);
        if !beyond.is_empty() {
            beyond.truncate(MOST_ERRORS);
            return Err(beyond);
        }
        if !self.validator.is_valid(&body) {
            return Err(self.validator.iter_errors(&body).flat_map(|error| told(&error)).take(MOST_ERRORS).collect());
        }
        settle_integers(&self.schema, &mut body);
        // The schemas are meant to let nothing through that their types cannot hold. Where one does, the field is named.
        // serde's own words are not used: they may repeat what a caller sent.
        serde_path_to_error::deserialize(body)
            .map_err(|error| vec![FieldError::at(pointer(error.path()), "holds a value konverse cannot keep")])
    }
}

/// Why a text was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is not JSON.
    NoJson(serde_json::Error),
    /// What is wrong, field by field.
    Refused(Vec<FieldError>),
}

/// A name as a JSON pointer has it: `~` and `/` have a meaning there.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Turns `3.0` into `3` where the schema says integer: JSON Schema takes the two for the same, the types do not.
fn settle_integers(schema: &Value, value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() && says_integer(schema) => {
            // Whole, or it would not have passed; and no larger than the schema's limits, which `f64` holds exactly.
            if let Some(whole) = number.as_f64().filter(|float| float.abs() <= MAX_INTEGER as f64) {
                *value = (whole as i64).into();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(schema) = schema["properties"].get(name) {
                    settle_integers(schema, member);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| settle_integers(schema, item));
            }
        }
        _ => {}
    }
}

fn says_integer(schema: &Value) -> bool {
    let says = |kinds: &[&str]| match &schema["type"] {
        Value::String(one) => kinds.contains(&one.as_str()),
        Value::Array(several) => several.iter().any(|one| one.as_str().is_some_and(|one| kinds.contains(&one))),
        _ => false,
    };
    says(&["integer"]) && !says(&["number"])
}

/// The JSON pointer of a path.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escaped(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// Turns the alternatives that enums are derived as into an `enum` of the words, so that an error can name them: `oneOf`
/// constants, and `anyOf` such words or null. A narrower `enum` that is already there stays.
fn name_choices(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(name_choices);
            for alternatives in ["oneOf", "anyOf"] {
                if let Some(words) = object.get(alternatives).and_then(words) {
                    object.shift_remove(alternatives);
                    object.entry("enum").or_insert(Value::Array(words));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(name_choices),
        _ => {}
    }
}

/// The words these alternatives amount to, if they are nothing but words.
fn words(alternatives: &Value) -> Option<Vec<Value>> {
    let of_one = |one: &Value| match (one.get("const"), one.get("enum"), one.get("type")) {
        (Some(word), _, _) => Some(vec![word.clone()]),
        (None, Some(Value::Array(words)), _) => Some(words.clone()),
        (None, None, Some(kind)) if kind == "null" => Some(vec![Value::Null]),
        _ => None,
    };
    let words = alternatives.as_array()?.iter().map(of_one).collect::<Option<Vec<_>>>()?;
    Some(words.concat())
}

fn told(error: &ValidationError<'_>) -> Vec<FieldError> {
    let pointer = error.instance_path().as_str().to_owned();
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            return unexpected
                .iter()
                .map(|name| FieldError::at(format!("{pointer}/{}", escaped(name)), "is not an attribute of this body"))
                .collect();
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            return vec![FieldError::at(format!("{pointer}/{name}"), "is required")];
        }
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => format!("must be of type {kind}"),
        ValidationErrorKind::Format { format } if format == "uri" => "must be a URI".to_owned(),
        ValidationErrorKind::Format { .. } => {
            "must be an ISO 8601 date-time such as 2026-10-24T09:04:17.201Z".to_owned()
        }
        ValidationErrorKind::Pattern { pattern } if pattern.contains("{24}") => {
            "must be an id of 24 hex digits".to_owned()
        }
        ValidationErrorKind::Pattern { pattern } if pattern == NO_NUL => "must not hold a NUL".to_owned(),
        ValidationErrorKind::Pattern { pattern } if pattern.contains('@') => "must be an e-mail address".to_owned(),
        ValidationErrorKind::MaxLength { limit } => format!("must not be longer than {limit} characters"),
        ValidationErrorKind::MinLength { limit } => format!("must have at least {limit} characters"),
        ValidationErrorKind::MaxItems { limit } => format!("must not have more than {limit} entries"),
        ValidationErrorKind::MaxProperties { limit } => format!("must not have more than {limit} keys"),
        ValidationErrorKind::UniqueItems => "must not name an entry twice".to_owned(),
        ValidationErrorKind::Enum { options } => format!("must be one of {options}"),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        // Masked: the message must not repeat what a caller sent.
        _ => error.masked().to_string(),
    };
    vec![FieldError::at(pointer, message)]
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident: $body:ty = $title:literal, without $without:expr, required $required:expr;)*) => {$(
        $(#[$doc])*
        pub static $name: LazyLock<Shape<$body>> = LazyLock::new(|| Shape::new($title, &$without, &$required));
    )*};
}

shapes! {
    /// `POST /v1/conversations`.
    CONVERSATION_CREATE: ConversationCreate = "ConversationCreate", without ["campaign"], required ["customer"];
    /// `POST /v1/customers/{id}/conversations`.
    CONVERSATION_CREATE_FOR_CUSTOMER: ConversationCreate = "ConversationCreateForCustomer", without ["customer"], required [];
    /// `PATCH`/`PUT /v1/conversations/{id}`.
    CONVERSATION_UPDATE: ConversationUpdate = "ConversationUpdate", without [], required [];
    /// `PATCH`/`PUT /v1/conversations/{id}` with `customer`.
    CONVERSATION_MOVE: ConversationMove = "ConversationMove", without [], required ["customer"];
    /// `POST /v1/customers`.
    CUSTOMER_CREATE: CustomerBody = "CustomerCreate", without ["id"], required [];
    /// A customer of an import file, with an id to keep.
    CUSTOMER_IMPORT: CustomerBody = "CustomerImport", without [], required [];
    /// `PATCH`/`PUT /v1/customers/{id}`.
    CUSTOMER_UPDATE: CustomerBody = "CustomerUpdate", without ["id"], required [];
    /// `POST /v1/conversations/{id}/messages` and `POST /v1/customers/{id}/messages`.
    MESSAGE_CREATE: MessageCreate = "MessageCreate", without [], required ["channel", "app"];
    /// `POST /v1/messages`.
    MESSAGE_CREATE_IN_ORG: MessageCreate = "MessageCreateInOrg", without [], required ["channel", "app", "direction", "conversation"];
    /// `PATCH /v1/messages/{id}`.
    MESSAGE_UPDATE: MessageUpdate = "MessageUpdate", without ["spam", "reactions"], required [];
    /// `PUT /v1/messages/{id}`.
    MESSAGE_REPLACE: MessageUpdate = "MessageReplace", without [], required [];
    /// `POST /v1/notes`.
    NOTE_CREATE: NoteCreate = "NoteCreate", without [], required ["conversation", "body"];
    /// `POST /v1/conversations/{id}/notes`.
    NOTE_CREATE_IN_CONVERSATION: NoteCreate = "NoteCreateInConversation", without [], required ["body"];
    /// `PATCH /v1/notes/{id}`.
    NOTE_UPDATE: NoteUpdate = "NoteUpdate", without [], required [];
    /// `PUT /v1/notes/{id}`.
    NOTE_REPLACE: NoteUpdate = "NoteReplace", without [], required ["conversation", "body"];
    /// `POST /v1/users`.
    USER_CREATE: UserCreate = "UserCreate", without ["id", "createdAt"], required ["name", "email"];
    /// A user of an import file.
    USER_IMPORT: UserCreate = "UserImport", without [], required ["name", "email"];
    /// `PUT /v1/metadata/{resource}`.
    METADATA_UPDATE: MetadataUpdate = "MetadataUpdate", without [], required ["properties"];
    /// `PUT /v1/users/{id}`.
    USER_UPDATE: UserUpdate = "UserUpdate", without [], required [];
    /// `PUT /v1/users/current`.
    OWN_USER_UPDATE: OwnUserUpdate = "OwnUserUpdate", without [], required [];
    /// `POST /v1/auth/tokens`.
    SIGN_IN: SignInBody = "SignIn", without [], required ["domain", "email", "password"];
    /// `POST /v1/role-groups`.
    ROLE_GROUP_CREATE: RoleGroupBody = "RoleGroupCreate", without [], required ["name"];
    /// `PUT /v1/role-groups/{id}`.
    ROLE_GROUP_UPDATE: RoleGroupBody = "RoleGroupUpdate", without [], required [];
    /// `PATCH /v1/teams/{id}`.
    TEAM_UPDATE: TeamUpdate = "TeamUpdate", without [], required [];
    /// `PUT /v1/teams/{id}`.
    TEAM_REPLACE: TeamUpdate = "TeamReplace", without [], required ["name"];
    /// `POST` and `DELETE /v1/teams/{id}/members`.
    TEAM_MEMBERS: TeamMembers = "TeamMembers", without [], required ["members"];
    /// `POST /v1/teams`.
    TEAM_CREATE: TeamCreate = "TeamCreate", without ["id"], required ["name"];
    /// A team of an import file.
    TEAM_IMPORT: TeamCreate = "TeamImport", without [], required ["name"];
    /// `POST /v1/tags`.
    TAG_CREATE: TagCreate = "TagCreate", without ["id", "createdAt"], required ["name"];
    /// A tag of an import file.
    TAG_IMPORT: TagCreate = "TagImport", without [], required ["name"];
    /// `PATCH`/`PUT /v1/tags/{id}`.
    TAG_UPDATE: TagUpdate = "TagUpdate", without [], required [];
    /// `POST /v1/companies`.
    COMPANY_CREATE: CompanyBody = "CompanyCreate",
        without ["id", "deleted", "modifiedAt", "createdBy", "modifiedBy"], required ["name"];
    /// A company of an import file.
    COMPANY_IMPORT: CompanyBody = "CompanyImport", without ["deleted", "rev"], required ["name"];
    /// `PUT /v1/companies/{id}`.
    COMPANY_UPDATE: CompanyBody = "CompanyUpdate",
        without ["id", "createdAt", "modifiedAt", "createdBy", "modifiedBy", "importedAt"], required [];
    /// `POST /v1/shortcuts`.
    SHORTCUT_CREATE: ShortcutBody = "ShortcutCreate",
        without ["id", "deleted", "createdAt", "modifiedAt", "createdBy", "modifiedBy", "rev"], required ["name"];
    /// A shortcut of an import file.
    SHORTCUT_IMPORT: ShortcutBody = "ShortcutImport", without ["deleted", "rev"], required ["name"];
    /// `PATCH`/`PUT /v1/shortcuts/{id}`.
    SHORTCUT_UPDATE: ShortcutBody = "ShortcutUpdate",
        without ["id", "createdAt", "modifiedAt", "createdBy", "modifiedBy"], required [];
    /// `POST /v1/brands`.
    BRAND_CREATE: BrandBody = "BrandCreate",
        without ["id", "createdAt", "modifiedAt", "createdBy", "modifiedBy"], required ["name"];
    /// A brand of an import file.
    BRAND_IMPORT: BrandBody = "BrandImport", without [], required ["name"];
    /// `PATCH /v1/brands/{id}`.
    BRAND_UPDATE: BrandBody = "BrandUpdate",
        without ["id", "createdAt", "modifiedAt", "createdBy", "modifiedBy"], required [];
    /// `POST /v1/customers/searches`.
    SEARCH_CREATE: SearchBody = "SavedSearchCreate", without ["deleted"], required ["name", "query"];
    /// `PUT /v1/customers/searches/{id}`.
    SEARCH_UPDATE: SearchBody = "SavedSearchUpdate", without [], required [];
    /// An SLA of an import file.
    SLA_IMPORT: SlaRow = "SlaImport", without [], required ["id", "versions"];
    /// A queue of an import file.
    QUEUE_IMPORT: QueueRow = "QueueImport", without [], required ["name"];
    /// `POST /v1/operations/get-conversations-by-customer/run`.
    OPERATION_INPUT: OperationInput = "OperationInput", without [], required ["parameters"];
}

/// `POST` and `DELETE /v1/conversations/{id}/tags`: a JSON array of tag ids or names.
pub static TAG_NAMES: LazyLock<Shape<Vec<String>>> = LazyLock::new(|| {
    Shape::of(
        "TagNames",
        json!({
            "title": "TagNames",
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "uniqueItems": true,
            "items": { "type": "string", "minLength": 1, "maxLength": 64 },
        }),
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    fn errors<T: JsonSchema + DeserializeOwned>(shape: &Shape<T>, body: Value) -> Vec<(String, String)> {
        match shape.read(body) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|error| (error.pointer, error.message)).collect(),
        }
    }

    #[test]
    fn every_invalid_field_is_named() {
        let body = json!({
            "customer": "nope", "priority": 9, "tags": ["a", "a"], "createdAt": "yesterday", "colour": "red",
            "status": "snoozed", "name": null,
        });
        let mut pointers: Vec<_> = errors(&CONVERSATION_CREATE, body).into_iter().map(|(pointer, _)| pointer).collect();
        pointers.sort();
        assert_eq!(pointers, ["/colour", "/createdAt", "/customer", "/name", "/priority", "/status", "/tags"]);
        assert_eq!(errors(&CONVERSATION_CREATE, json!({})), [("/customer".to_owned(), "is required".to_owned())]);
        assert_eq!(errors(&CONVERSATION_CREATE, json!([])).len(), 1);
    }

    #[test]
    fn a_wrong_word_is_told_the_right_ones() {
        let expected = r#"must be one of ["open","snoozed","done"]"#;
        assert_eq!(
            errors(&CONVERSATION_UPDATE, json!({ "status": "closed" })),
            [("/status".to_owned(), expected.to_owned())]
        );
        let expected = r#"must be one of ["m","f",null]"#;
        assert_eq!(errors(&CUSTOMER_UPDATE, json!({ "gender": "x" })), [("/gender".to_owned(), expected.to_owned())]);
    }

    #[test]
    fn null_clears_only_what_may_be_null() {
        assert!(
            errors(&CONVERSATION_UPDATE, json!({ "name": null, "satisfaction": null, "deleted": null })).is_empty()
        );
        assert_eq!(errors(&CONVERSATION_UPDATE, json!({ "priority": null, "tags": null })).len(), 2);
    }

    #[test]
    fn lists_and_texts_have_their_limits() {
        assert_eq!(errors(&NOTE_CREATE_IN_CONVERSATION, json!({ "body": "" })).len(), 1);
        assert!(errors(&NOTE_CREATE_IN_CONVERSATION, json!({ "body": "x".repeat(10_240) })).is_empty());
        assert_eq!(errors(&NOTE_CREATE_IN_CONVERSATION, json!({ "body": "x".repeat(10_241) })).len(), 1);
        let emails: Vec<_> = (0..11).map(|n| json!({ "email": format!("a{n}@b.example") })).collect();
        assert_eq!(errors(&CUSTOMER_CREATE, json!({ "emails": emails })).len(), 1);
        assert_eq!(
            errors(&CUSTOMER_CREATE, json!({ "emails": [{ "email": "no address" }] })),
            [("/emails/0/email".to_owned(), "must be an e-mail address".to_owned())]
        );
        assert_eq!(errors(&CONVERSATION_UPDATE, json!({ "sentiment": { "polarity": 1 } })).len(), 1);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction() {
        let body = json!({ "priority": 3.0, "satisfaction": -1.0, "rev": 7e2, "sentiment": { "polarity": 1.0, "confidence": 1.0 },
            "custom": { "orderNum": 3.0 } });
        let read = CONVERSATION_UPDATE.read(body).map_err(|errors| format!("{errors:?}")).unwrap();
        assert_eq!((read.priority.0, read.satisfaction.given(), read.rev.0), (Some(3), Some(-1), Some(700)));
        assert_eq!(read.sentiment.0.map(|it| it.polarity), Some(1));
        assert_eq!(json!(read.custom.0), json!({ "orderNum": 3.0 }), "what is free keeps its form");
        let body = json!({ "channel": "sms", "app": "x", "size": 12.0, "meta": { "size": 12.0 } });
        let read = MESSAGE_CREATE.read(body).map_err(|errors| format!("{errors:?}")).unwrap();
        assert_eq!((read.size.0, json!(read.meta.0)), (Some(12), json!({ "size": 12.0 })));
        assert_eq!(errors(&CONVERSATION_UPDATE, json!({ "priority": 3.5 })).len(), 1);
    }

    #[test]
    fn a_number_no_record_can_hold_is_named() {
        for (field, value) in [
            ("rev", json!(9_223_372_036_854_775_808_u64)),
            ("rev", json!(1e300)),
            ("rev", json!(9_007_199_254_740_992.0)),
            ("rev", json!(-1e300)),
            ("size", json!(1e300)),
            ("size", json!(u64::MAX)),
            ("size", json!(-1)),
            ("size", json!(-1.0)),
        ] {
            let found = errors(&MESSAGE_UPDATE, json!({ field: value }));
            assert_eq!(found.len(), 1, "{field} {value}");
            assert_eq!(found[0].0, format!("/{field}"), "{value}");
        }
        assert!(errors(&MESSAGE_UPDATE, json!({ "rev": MAX_INTEGER, "size": MAX_INTEGER as f64 })).is_empty());
    }

    /// The schema speaks first and says which limit was passed; this holds wherever a schema forgets one.
    #[test]
    fn what_only_the_type_refuses_is_named_as_well() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[expect(dead_code, reason = "only its reading is of interest")]
            list: Vec<std::collections::HashMap<String, u8>>,
        }
        let shape: Shape<Body> = Shape::of("Lax", json!({ "type": "object" }));
        let found = shape.read(json!({ "list": [{}, { "a/b": 256 }] })).unwrap_err();
        assert_eq!(found[0].pointer, "/list/1/a~1b");
        assert!(!found[0].message.contains("256"), "{}", found[0].message);
    }

    #[test]
    fn ids_and_creation_are_for_imports() {
        let id = "671a2c40a3f1b20012c4d001";
        let (name, email) = ("Ann", "a@b.example");
        let refused = |found: Vec<(String, String)>| found.into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>();
        let body = json!({ "id": id, "name": name, "createdAt": "2026-01-01T00:00:00Z" });
        assert_eq!(refused(errors(&CUSTOMER_CREATE, body.clone())), ["/id"]);
        assert_eq!(refused(errors(&TEAM_CREATE, body.clone())), ["/id"]);
        assert_eq!(refused(errors(&TAG_CREATE, body.clone())), ["/id", "/createdAt"]);
        let user = json!({ "id": id, "name": name, "email": email, "createdAt": "2026-01-01T00:00:00Z" });
        assert_eq!(refused(errors(&USER_CREATE, user.clone())), ["/id", "/createdAt"]);
        assert!(errors(&CUSTOMER_IMPORT, body.clone()).is_empty());
        assert!(errors(&TEAM_IMPORT, body.clone()).is_empty());
        assert!(errors(&TAG_IMPORT, body).is_empty());
        assert!(errors(&USER_IMPORT, user).is_empty());
    }

    #[test]
    fn a_message_needs_channel_and_app() {
        let names: Vec<_> =
            errors(&MESSAGE_CREATE_IN_ORG, json!({ "channel": "fax" })).into_iter().map(|(p, _)| p).collect();
        assert_eq!(names.len(), 4, "{names:?}");
    }
}

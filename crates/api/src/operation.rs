//! One entry of the table of operations.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use konverse_domain::Permission;
use konverse_model::input::Shape;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::App;
use crate::error::Code;
use crate::list::MOST;

/// A parameter of the query or of the path.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Its JSON type.
    pub kind: &'static str,
    /// What else its JSON Schema asks: `minimum`, `enum`, `pattern` and so on.
    pub limits: Map<String, Value>,
}

impl Param {
    /// A parameter with the limits that all of its name have.
    fn new(name: &'static str, kind: &'static str, description: &'static str) -> Self {
        let limits = match name {
            "page" => json!({ "minimum": 1, "default": 1 }),
            "pageSize" => json!({ "minimum": 0, "default": 100 }),
            "sort" => json!({ "enum": ["createdAt", "-createdAt", "updatedAt", "-updatedAt", "asc", "desc"] }),
            "fromDate" => json!({ "format": "date-time" }),
            _ if name.starts_with("filter[") => json!({ "format": "date-time" }),
            _ if kind == "boolean" => json!({ "default": false }),
            _ => Value::Null,
        };
        Self { name, description, kind, limits: limits.as_object().cloned().unwrap_or_default() }
    }
}

/// Makes a JSON Schema. Schemas are large and wanted once, by `openapi.json`; the table is made more often.
pub type MakeSchema = fn() -> Value;

/// What an operation answers when it succeeds.
#[derive(Clone, Debug)]
pub enum Answer {
    /// `{"data": record}`; the schema of the attributes.
    One(MakeSchema),
    /// `{"meta", "data", "links"}`; the schema of the attributes.
    List(MakeSchema),
    /// One record or, when several were asked for, a list of them; the schema of the attributes.
    OneOrSeveral(MakeSchema),
    /// A document of its own schema.
    Document(MakeSchema),
    /// Nothing.
    Nothing,
}

/// An operation: everything there is to say of it, and its handler.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name, unique: `list-customer-conversations`.
    pub key: &'static str,
    /// The method.
    pub method: Method,
    /// The path as the contract writes it: `/v1/customers/email={email}`.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What else there is to know; empty when the summary says it all.
    pub details: &'static str,
    /// Whether a token is needed.
    pub needs_token: bool,
    /// Roles of which any one suffices; empty when any token does.
    pub roles: &'static [&'static str],
    /// Query parameters.
    pub params: Vec<Param>,
    /// Parameters of the path of which more is known than their name says.
    pub path_params: Vec<Param>,
    /// Rows of the largest page, where there are pages.
    pub most: u32,
    /// Refusals beside those that follow from parameters, body and roles.
    pub refusals: Vec<Code>,
    /// The body's name, and the schemas of which it must match one.
    pub body: Option<(&'static str, Vec<&'static Value>)>,
    /// The success status.
    pub status: u16,
    /// The success answer.
    pub answer: Answer,
    /// Whether the answer is made of the timeline of the customer its path names, and of nothing else: it may be given
    /// again for as long as nothing of that was written.
    pub of_timeline: bool,
    pub(crate) handler: MethodRouter<App>,
}

fn page_params() -> [Param; 2] {
    [
        Param::new("page", "integer", "Which page, from 1."),
        Param::new("pageSize", "integer", "Rows a page, from 0; larger requests are cut to the list's maximum."),
    ]
}

fn cursor() -> Param {
    Param::new(
        "cursor",
        "string",
        "Where the page continues from: comes with `links.next` and `links.prev`, belongs to its list, and is refused \
         elsewhere.",
    )
}

fn replace() -> Param {
    Param::new("replace", "boolean", "Whether attributes not named go back to their fresh values.")
}

/// The JSON Schema of a type.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

impl Operation {
    pub(crate) fn new<H, T>(
        method: Method,
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self {
            key,
            method,
            path,
            summary,
            details: "",
            needs_token: true,
            roles: &[],
            params: Vec::new(),
            path_params: Vec::new(),
            most: MOST,
            refusals: Vec::new(),
            body: None,
            status: 200,
            answer: Answer::Nothing,
            of_timeline: false,
            handler: on(filter, handler),
        }
    }

    pub(crate) fn get<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::GET, path, key, summary, handler)
    }

    pub(crate) fn post<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::POST, path, key, summary, handler).status(201)
    }

    pub(crate) fn put<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        let mut this = Self::new(Method::PUT, path, key, summary, handler);
        this.params.push(replace());
        this
    }

    /// A PUT that merges and never replaces.
    pub(crate) fn change<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::PUT, path, key, summary, handler)
    }

    pub(crate) fn patch<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::PATCH, path, key, summary, handler)
    }

    pub(crate) fn delete<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        key: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::DELETE, path, key, summary, handler).status(204)
    }

    /// It only ever changes what its body names.
    pub(crate) fn without_replace(mut self) -> Self {
        self.params.retain(|param| param.name != replace().name);
        self
    }

    /// The roles of a permission.
    pub(crate) fn roles<P: Permission>(mut self) -> Self {
        self.roles = P::ROLES;
        self
    }

    /// The answer is made of the timeline of the customer named after `/v1/customers/`, and of nothing else.
    pub(crate) fn of_timeline(mut self) -> Self {
        self.of_timeline = true;
        self
    }

    /// No token is needed.
    pub(crate) fn public(mut self) -> Self {
        self.needs_token = false;
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn param(mut self, name: &'static str, kind: &'static str, description: &'static str) -> Self {
        self.params.push(Param::new(name, kind, description));
        self
    }

    /// Says of the last parameter what its JSON Schema asks: `.limit("enum", json!(["a", "b"]))`.
    pub(crate) fn limit(mut self, keyword: &str, value: Value) -> Self {
        if let Some(param) = self.params.last_mut() {
            param.limits.insert(keyword.to_owned(), value);
        }
        self
    }

    /// Says what a parameter of the path is, and its pattern. One that is called `id`, or something with `Id` at its end,
    /// is taken for an id without being told.
    pub(crate) fn path_param(mut self, name: &'static str, description: &'static str, pattern: &'static str) -> Self {
        let limits = Map::from_iter([("pattern".to_owned(), json!(pattern))]);
        self.path_params.push(Param { name, description, kind: "string", limits });
        self
    }

    /// What there is to know beside the summary, in whole sentences.
    pub(crate) fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// The rows of its largest page, where they are not a hundred.
    pub(crate) fn most(mut self, most: u32) -> Self {
        self.most = most;
        self
    }

    /// It may be refused with this code, which nothing else in its entry tells.
    pub(crate) fn refuses(mut self, code: Code) -> Self {
        self.refusals.push(code);
        self
    }

    /// A list that can be had in another order.
    pub(crate) fn sorted(self) -> Self {
        let orders = "`createdAt` or `updatedAt`, with `-` before it for newest first; `asc` and `desc` mean `createdAt` and \
             `-createdAt`.";
        let words = json!(["createdAt", "-createdAt", "updatedAt", "-updatedAt", "asc", "desc"]);
        self.param("sort", "string", orders).limit("enum", words)
    }

    pub(crate) fn body<T: JsonSchema + serde::de::DeserializeOwned>(mut self, shape: &'static Shape<T>) -> Self {
        self.body = Some((shape.name(), vec![shape.schema()]));
        self
    }

    /// A body that its handler reads by itself, as it is described.
    pub(crate) fn described_body(mut self, name: &'static str, schema: &'static Value) -> Self {
        self.body = Some((name, vec![schema]));
        self
    }

    /// A body of one of two shapes.
    pub(crate) fn bodies<T, U>(mut self, name: &'static str, one: &'static Shape<T>, other: &'static Shape<U>) -> Self
    where
        T: JsonSchema + serde::de::DeserializeOwned,
        U: JsonSchema + serde::de::DeserializeOwned,
    {
        self.body = Some((name, vec![one.schema(), other.schema()]));
        self
    }

    pub(crate) fn answers_one<A: JsonSchema>(mut self) -> Self {
        self.answer = Answer::One(schema_of::<A>);
        self
    }

    /// A list, with its page parameters in front of its own.
    pub(crate) fn answers_list<A: JsonSchema>(mut self) -> Self {
        self.answer = Answer::List(schema_of::<A>);
        self.params.splice(0..0, page_params());
        self.params.push(cursor());
        self
    }

    /// A list that is known whole: its pages are found by number alone.
    pub(crate) fn answers_whole_list<A: JsonSchema>(mut self) -> Self {
        self.answer = Answer::List(schema_of::<A>);
        self.params.splice(0..0, page_params());
        self
    }

    /// One record, or a list when the path names several, with the parameters of its pages.
    pub(crate) fn answers_one_or_several<A: JsonSchema>(mut self) -> Self {
        self.answer = Answer::OneOrSeveral(schema_of::<A>);
        self.params.extend(page_params());
        self
    }

    pub(crate) fn answers_document(mut self, schema: MakeSchema) -> Self {
        self.answer = Answer::Document(schema);
        self
    }

    /// Every code it can be refused with.
    pub fn codes(&self) -> Vec<Code> {
        let names_something = self.path.contains('{');
        let changes = self.method == Method::PUT || self.method == Method::PATCH;
        let may_clash = self.body.is_some() && (changes || self.status == 201);
        let mut codes = vec![Code::BadRequest, Code::InternalError, Code::Unavailable];
        codes.extend(self.needs_token.then_some([Code::Unauthorized, Code::TooManyRequests]).into_iter().flatten());
        codes.extend((!self.roles.is_empty()).then_some(Code::Forbidden));
        codes.extend(names_something.then_some(Code::NotFound));
        codes.extend(may_clash.then_some(Code::Conflict));
        codes.extend(self.body.is_some().then_some(Code::RequestEntityTooLarge));
        codes.extend(&self.refusals);
        codes.sort_by_key(|code| code.status());
        codes.dedup();
        codes
    }

    /// Whether its answers have a tag by which a caller can ask whether they have changed.
    pub fn is_tagged(&self) -> bool {
        self.method == Method::GET && !matches!(self.answer, Answer::Document(_) | Answer::Nothing)
    }

    /// The path as the router has it: a look-up's value is a segment of its own (see the gate).
    pub(crate) fn route(&self) -> String {
        self.path.replace("={", "=/{")
    }
}

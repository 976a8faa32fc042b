//! From a request's body to a query (contract `search.md` §2 to §5, §7).
//!
//! Everything is checked here and nothing later: what is wrong is told by JSON pointer, all of it at once.

mod date;
mod names;
mod operator;

use jiff::tz::TimeZone;
use konverse_model::FieldError;
use serde_json::{Map, Value as Json};

use crate::catalogue::Class;
use crate::context::Object;
use crate::query::{Node, Query, Sort, Test};

/// Criteria a list may have.
const MOST_ENTRIES: usize = 20;
/// Criteria of a query in all, those in groups included.
const MOST_TESTS: usize = 200;
/// Groups that may lie within each other.
const MOST_DEPTH: usize = 8;
/// Steps of an order.
const MOST_SORTS: usize = 5;
/// Errors that are told at once.
const MOST_ERRORS: usize = 20;

/// Which of the two searches is asked; the archive's knows fewer attributes and keys (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/v1/customers/search`.
    Live,
    /// `/v1/customers/archive/search`.
    Archive,
}

/// Reads the body of a search.
///
/// # Errors
/// Everything that is wrong with it, up to a bound, each with its JSON pointer.
pub fn parse(body: &Json, surface: Surface) -> Result<Query, Vec<FieldError>> {
    let Some(body) = body.as_object() else {
        return Err(vec![FieldError::at("", "must be an object")]);
    };
    let mut reader = Reader { object: Object::Customer, surface, zone: TimeZone::UTC, tests: 0, errors: Vec::new() };
    let query = reader.query(body);
    match reader.errors {
        errors if errors.is_empty() => Ok(query),
        mut errors => {
            errors.truncate(MOST_ERRORS);
            Err(errors)
        }
    }
}

struct Reader {
    object: Object,
    surface: Surface,
    zone: TimeZone,
    tests: usize,
    errors: Vec<FieldError>,
}

impl Reader {
    fn query(&mut self, body: &Map<String, Json>) -> Query {
        // What the others are understood by comes first, wherever it stands.
        if let Some(context) = body.get("queryContext") {
            self.context(context);
        }
        if let Some(zone) = body.get("timeZone") {
            self.time_zone(zone);
        }
        let mut all = Vec::new();
        let mut sort = None;
        let mut include_deleted = false;
        for (key, value) in body {
            let pointer = pointer("", key);
            match key.as_str() {
                "queryContext" | "timeZone" => {}
                "and" | "or" | "not" => all.extend(self.group(key, value, &pointer, 1)),
                "sort" => sort = Some(self.sorts(value, &pointer)),
                "includeDeleted" => match value.as_bool() {
                    Some(value) => include_deleted = value,
                    None => self.wrong(pointer, "must be true or false"),
                },
                "fields" if self.surface == Surface::Live => match value.as_array() {
                    Some(fields) if fields.len() <= MOST_ENTRIES && fields.iter().all(Json::is_object) => {}
                    _ => self.wrong(pointer, &format!("must be a list of at most {MOST_ENTRIES} objects")),
                },
                "aggs" if self.surface == Surface::Live => {
                    if !value.is_object() {
                        self.wrong(pointer, "must be an object");
                    }
                }
                "searchHash" if self.surface == Surface::Live => {
                    if !value.is_string() {
                        self.wrong(pointer, "must be a text");
                    }
                }
                _ => self.wrong(pointer, "is not a key of a search"),
            }
        }
        let sort = sort.filter(|sort| !sort.is_empty()).unwrap_or_else(|| self.usual_order());
        Query { object: self.object, filter: Node::All(all), sort, include_deleted }
    }

    fn context(&mut self, value: &Json) {
        match value.as_str().and_then(names::context) {
            Some(object) => self.object = object,
            None => self.wrong(
                "/queryContext".to_owned(),
                "must be company, customer, conversation, conversation_time, message, note, kobject, kobject_ and a klass, \
                 work_session or work_item",
            ),
        }
    }

    fn time_zone(&mut self, value: &Json) {
        match value.as_str().map(TimeZone::get) {
            Some(Ok(zone)) => self.zone = zone,
            _ => self.wrong("/timeZone".to_owned(), "must be an IANA time zone such as Europe/Amsterdam"),
        }
    }

    /// The newest change first.
    fn usual_order(&self) -> Vec<Sort> {
        let find = |name| crate::attribute(&format!("{}_{name}", self.object.prefix()));
        let attribute = find("updated_at").or_else(|| find("created_at"));
        attribute.map(|attribute| Sort { attribute, descending: true }).into_iter().collect()
    }

    /// A group: a list of criteria, or an object of them. Without any it asks for nothing.
    fn group(&mut self, word: &str, value: &Json, at: &str, depth: usize) -> Option<Node> {
        if depth > MOST_DEPTH {
            self.wrong(at.to_owned(), &format!("lies deeper than {MOST_DEPTH} groups within each other"));
            return None;
        }
        let nodes: Vec<Node> = match value {
            Json::Array(list) if list.len() <= MOST_ENTRIES => {
                let mut nodes = Vec::new();
                for (n, entry) in list.iter().enumerate() {
                    let at = format!("{at}/{n}");
                    match entry.as_object() {
                        Some(entry) if entry.is_empty() => {}
                        Some(entry) => nodes.push(Node::All(self.entries(entry, &at, depth))),
                        None => self.wrong(at, "must be an object with a criterion"),
                    }
                }
                nodes
            }
            Json::Object(entries) if entries.len() <= MOST_ENTRIES => self.entries(entries, at, depth),
            Json::Array(_) | Json::Object(_) => {
                self.wrong(at.to_owned(), &format!("must not have more than {MOST_ENTRIES} criteria"));
                return None;
            }
            _ => {
                self.wrong(at.to_owned(), "must be a list of criteria, or an object of them");
                return None;
            }
        };
        match word {
            _ if nodes.is_empty() => None,
            "or" => Some(Node::Any(nodes)),
            "not" => Some(Node::Not(Box::new(Node::Any(nodes)))),
            _ => Some(Node::All(nodes)),
        }
    }

    fn entries(&mut self, entries: &Map<String, Json>, at: &str, depth: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (key, value) in entries {
            let pointer = pointer(at, key);
            match key.as_str() {
                "and" | "or" | "not" => nodes.extend(self.group(key, value, &pointer, depth + 1)),
                name => nodes.extend(self.criterion(name, value, &pointer)),
            }
        }
        nodes
    }

    /// `{"conversation_status": {"equals": "open"}}`; of several operators all have to hold.
    fn criterion(&mut self, name: &str, value: &Json, at: &str) -> Option<Node> {
        let Some(attribute) = names::attribute(name, self.object, self.surface) else {
            self.wrong(at.to_owned(), "is not an attribute that can be searched");
            return None;
        };
        let Some(operators) = value.as_object().filter(|operators| !operators.is_empty()) else {
            self.wrong(at.to_owned(), "must be an object with an operator, such as {\"equals\": …}");
            return None;
        };
        let mut nodes = Vec::new();
        for (operator, operand) in operators {
            self.tests += 1;
            if self.tests > MOST_TESTS {
                if self.tests == MOST_TESTS + 1 {
                    self.wrong(String::new(), &format!("must not have more than {MOST_TESTS} criteria in all"));
                }
                return None;
            }
            match operator::read(&attribute, operator, operand, &self.zone) {
                Ok((negated, op)) => nodes.push(self.reach(Test { attribute: attribute.clone(), negated, op })),
                Err(message) => self.wrong(pointer(at, operator), &message),
            }
        }
        Some(Node::All(nodes))
    }

    /// A test where it belongs: on the object itself, or on one of another that it is related to.
    fn reach(&self, test: Test) -> Node {
        let to = test.attribute.object;
        let node = on_all_text(test);
        let path = self.object.path(to);
        if to != self.object && path.is_empty() {
            // There are no objects of that kind, or none that leads there.
            return Node::Any(Vec::new());
        }
        path.iter().rev().fold(node, |filter, step| Node::Related {
            by: step.by,
            object: step.to,
            filter: Box::new(filter),
        })
    }

    /// `{"sort": {"a": "asc"}}`, or a list of such.
    fn sorts(&mut self, value: &Json, at: &str) -> Vec<Sort> {
        fn members<'a>(object: &'a Map<String, Json>, at: &str) -> Vec<(String, &'a str, &'a Json)> {
            object.iter().map(|(key, value)| (pointer(at, key), key.as_str(), value)).collect()
        }
        let mut given = Vec::new();
        match value {
            Json::Object(object) => given = members(object, at),
            Json::Array(list) => {
                for (n, entry) in list.iter().enumerate() {
                    let at = format!("{at}/{n}");
                    match entry.as_object() {
                        Some(object) => given.extend(members(object, &at)),
                        None => self.wrong(at, "must be an object such as {\"customer_updated_at\": \"asc\"}"),
                    }
                }
            }
            _ => self.wrong(
                at.to_owned(),
                "must be an object such as {\"customer_updated_at\": \"asc\"}, or a list of them",
            ),
        }
        if given.len().max(value.as_array().map_or(0, Vec::len)) > MOST_SORTS {
            self.wrong(at.to_owned(), &format!("must not have more than {MOST_SORTS} attributes"));
            return Vec::new();
        }
        let mut sorts: Vec<Sort> = Vec::new();
        for (at, name, direction) in given {
            let Some(attribute) = names::attribute(name, self.object, self.surface) else {
                self.wrong(at, "is not an attribute that can be searched");
                continue;
            };
            let descending = match direction.as_str() {
                Some("asc") => false,
                Some("desc") => true,
                _ => {
                    self.wrong(at, "must be asc or desc");
                    continue;
                }
            };
            if attribute.object != self.object {
                self.wrong(
                    at,
                    &format!("is no attribute of a {}, which is what is searched for", self.object.prefix()),
                );
            } else if attribute.many || matches!(attribute.class, Class::Any | Class::Text) {
                self.wrong(at, "cannot be sorted by: only attributes with one short value can");
            } else if !sorts.iter().any(|sort| sort.attribute == attribute) {
                sorts.push(Sort { attribute, descending });
            }
        }
        sorts
    }

    fn wrong(&mut self, pointer: String, message: &str) {
        // What is not told does not have to be held.
        if self.errors.len() <= MOST_ERRORS {
            self.errors.push(FieldError::at(pointer, message));
        }
    }
}

/// All text of an object stands in two attributes, since custom ones may be kept from a reader.
fn on_all_text(test: Test) -> Node {
    let custom = match test.attribute.class {
        Class::Any => names::custom_text(test.attribute.object),
        _ => None,
    };
    let Some(attribute) = custom.filter(|custom| *custom != test.attribute) else { return Node::Test(test) };
    let negated = test.negated;
    let both = vec![Node::Test(Test { attribute, ..test.clone() }), Node::Test(test)];
    if negated { Node::All(both) } else { Node::Any(both) }
}

/// A member's JSON pointer.
fn pointer(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;

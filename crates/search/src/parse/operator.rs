//! Operators and their operands, by class (contract `search.md` §4).

use jiff::tz::TimeZone;
use konverse_model::Instant;
use serde_json::Value as Json;

use super::date::{self, Span};
use crate::catalogue::{Attribute, Class};
use crate::query::{Bound, Op};
use crate::value::{Value, cut, fold, words};

/// Values an `in` may have.
const MOST_VALUES: usize = 1000;

/// An operator with its operand, and whether it asks for the opposite; or what is wrong.
pub(super) fn read(
    attribute: &Attribute,
    operator: &str,
    operand: &Json,
    zone: &TimeZone,
) -> Result<(bool, Op), String> {
    use Class::{Any, Datetime, Keyword, List, Number, String, Text};
    let class = attribute.class;
    let takes = match operator {
        "equals" | "not_equals" | "set" | "is_set" | "exists" | "not_set" => true,
        "in" | "not_in" => matches!(class, List | Keyword | Number),
        "gt" | "gte" | "lt" | "lte" => matches!(class, Number | Datetime),
        "contains" | "not_contains" => matches!(class, String | Text | Any),
        "prefix" => matches!(class, String | Keyword),
        _ => return Err("is not an operator".to_owned()),
    };
    if !takes {
        return Err(format!("is not an operator of this attribute, which is of class {}", name(class)));
    }
    let negated = operator.starts_with("not_");
    let op = match operator {
        "set" | "is_set" | "exists" | "not_set" => Op::Set,
        "equals" | "not_equals" => equals(attribute, operand, zone)?,
        "in" | "not_in" => match operand.as_array() {
            Some(values) if values.len() <= MOST_VALUES => {
                Op::In(values.iter().map(|operand| value(attribute, operand)).collect::<Result<_, _>>()?)
            }
            _ => return Err(format!("must be a list of at most {MOST_VALUES} values")),
        },
        "contains" | "not_contains" => contains(class, operand)?,
        "prefix" => match value(attribute, operand)? {
            Value::Text(text) => Op::Prefix(text),
            _ => return Err("must be a text".to_owned()),
        },
        _ => range(attribute, operator, operand, zone)?,
    };
    Ok((negated, op))
}

fn equals(attribute: &Attribute, operand: &Json, zone: &TimeZone) -> Result<Op, String> {
    match attribute.class {
        // Running text is compared word by word.
        Class::Any | Class::Text => contains(attribute.class, operand),
        Class::Datetime => Ok(match moment(operand, zone)? {
            Span::Moment(at) => Op::In(vec![Value::Instant(at)]),
            Span::Day(from, end) => Op::Within { from: Some(bound(from, true)), to: end.map(|end| bound(end, false)) },
        }),
        _ => Ok(Op::In(vec![value(attribute, operand)?])),
    }
}

/// Words of one operand: each is a list of places that is gone through with the others.
const MOST_WORDS: usize = 64;

fn contains(class: Class, operand: &Json) -> Result<Op, String> {
    let text = text(operand)?;
    Ok(match class {
        Class::String => Op::Contains(fold(&text)),
        _ => {
            let words: Vec<_> = words(&text).take(MOST_WORDS + 1).collect();
            if words.len() > MOST_WORDS {
                return Err(format!("must not have more than {MOST_WORDS} words"));
            }
            Op::Words(words)
        }
    })
}

fn range(attribute: &Attribute, operator: &str, operand: &Json, zone: &TimeZone) -> Result<Op, String> {
    let below = operator.starts_with('l');
    let at = match attribute.class {
        Class::Datetime => match (moment(operand, zone)?, operator) {
            (Span::Moment(at), _) => bound(at, operator.ends_with('e')),
            (Span::Day(first, _), "gte") => bound(first, true),
            (Span::Day(first, _), "lt") => bound(first, false),
            // After the day, and up to its end.
            (Span::Day(_, Some(next)), "gt") => bound(next, true),
            (Span::Day(_, Some(next)), _) => bound(next, false),
            // Nothing is after the last day, and everything up to it.
            (Span::Day(_, None), _) => bound(Instant::from_millis(i64::MAX), below),
        },
        _ => Bound { value: value(attribute, operand)?, inclusive: operator.ends_with('e') },
    };
    Ok(if below { Op::Within { from: None, to: Some(at) } } else { Op::Within { from: Some(at), to: None } })
}

fn bound(at: Instant, inclusive: bool) -> Bound {
    Bound { value: Value::Instant(at), inclusive }
}

fn moment(operand: &Json, zone: &TimeZone) -> Result<Span, String> {
    let span = operand.as_str().and_then(|text| date::read(text, zone));
    span.ok_or_else(|| "must be a date such as 2026-10-24, or an ISO 8601 date-time".to_owned())
}

/// A single value in the form of the attribute.
fn value(attribute: &Attribute, operand: &Json) -> Result<Value, String> {
    match attribute.class {
        Class::String => Ok(Value::Text(fold(&text(operand)?))),
        Class::Keyword | Class::List | Class::Any | Class::Text => {
            let text = text(operand)?;
            if !attribute.one_of.is_empty() && !attribute.one_of.contains(&text.as_str()) {
                return Err(format!("must be one of {}", attribute.one_of.join(", ")));
            }
            Ok(Value::Text(cut(&text).to_owned()))
        }
        Class::Number => {
            let number = operand.as_f64().or_else(|| operand.as_str()?.trim().parse().ok());
            // Adding nothing makes of a negative zero the only one there is.
            let number = number.filter(|number| number.is_finite()).map(|number| Value::Number(number + 0.0));
            number.ok_or_else(|| "must be a number".to_owned())
        }
        Class::Boolean => match operand {
            Json::Bool(value) => Ok(Value::Bool(*value)),
            Json::String(text) if text == "true" => Ok(Value::Bool(true)),
            Json::String(text) if text == "false" => Ok(Value::Bool(false)),
            _ => Err("must be true or false".to_owned()),
        },
        Class::Datetime => match moment(operand, &TimeZone::UTC)? {
            Span::Moment(at) | Span::Day(at, _) => Ok(Value::Instant(at)),
        },
    }
}

/// A text; numbers as well, since keys of other systems often are.
fn text(operand: &Json) -> Result<String, String> {
    match operand {
        Json::String(text) if !text.is_empty() => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        Json::String(_) => Err("must not be empty; what is not set is found with not_set".to_owned()),
        _ => Err("must be a text".to_owned()),
    }
}

/// The contract's word for a class.
fn name(class: Class) -> &'static str {
    match class {
        Class::Any => "any",
        Class::Text => "text",
        Class::String => "string",
        Class::Keyword => "string_notanalyzed",
        Class::List => "list",
        Class::Number => "number",
        Class::Datetime => "datetime",
        Class::Boolean => "boolean",
    }
}

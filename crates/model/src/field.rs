//! The fields of request bodies: what is wrong with one, and the difference between absent, null and given.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// One thing wrong with a request: which field or parameter, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// A JSON pointer into the body (`/emails/0/email`), or empty when the whole body is meant.
    pub pointer: String,
    /// What the field must be, for people.
    pub message: String,
}

impl FieldError {
    /// An error at `pointer`.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// A field that may be left out but not be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<T>(pub Option<T>);

impl<T> Default for Opt<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Opt<T> {
    /// The given value, leaving the field as if it had not been sent.
    pub fn take(&mut self) -> Option<T> {
        self.0.take()
    }

    /// Whether the field was sent.
    pub fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Puts a given value into `target`.
    pub fn put(self, target: &mut T) {
        if let Some(value) = self.0 {
            *target = value;
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Opt<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<T: JsonSchema> JsonSchema for Opt<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A field that may be left out (keep), null (clear) or given (set): README §2 of the contract, "`null` clears".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Not in the body: the stored value stays.
    #[default]
    Keep,
    /// `null`: the stored value goes.
    Clear,
    /// A new value.
    Set(T),
}

impl<T> Patch<T> {
    /// The given value; none for both absent and null.
    pub fn given(self) -> Option<T> {
        match self {
            Patch::Set(value) => Some(value),
            Patch::Keep | Patch::Clear => None,
        }
    }

    /// Applies the patch to a stored optional value.
    pub fn put(self, target: &mut Option<T>) {
        match self {
            Patch::Keep => {}
            Patch::Clear => *target = None,
            Patch::Set(value) => *target = Some(value),
        }
    }

    /// Clears the value unless the field was sent: what `?replace=true` does with what a body does not name.
    pub fn or_clear(&mut self) {
        if !self.is_sent() {
            *self = Patch::Clear;
        }
    }

    /// Whether the field was sent, null included.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Patch::Keep)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(deserializer)? {
            Some(value) => Patch::Set(value),
            None => Patch::Clear,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

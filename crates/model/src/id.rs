//! Identifiers: 24 hex digits outside, 12 bytes inside, one type per resource (contract README §5).

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Instant;

/// An object id of any resource: 4 bytes of seconds, then 8 bytes that make it unique.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 12]);

/// What the text of an id matches.
pub const HEX_DIGITS: &str = "^[0-9a-fA-F]{24}$";

/// The text is not 24 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 24 hex digits")]
pub struct IdError;

impl Id {
    /// An id made now: sorts by creation second, then by chance.
    pub fn new(now: Instant, random: [u8; 8]) -> Self {
        // Seconds outside the 32-bit range wrap; only the sort order of ids made after 2106 would notice.
        let seconds = (now.millis().div_euclid(1000) as u32).to_be_bytes();
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds);
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The 12 bytes, as stored.
    pub const fn bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// The id these 12 bytes stand for.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    fn hex(&self) -> [u8; 24] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 24];
        for (i, byte) in self.0.iter().enumerate() {
            text[2 * i] = DIGITS[usize::from(byte >> 4)];
            text[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

impl FromStr for Id {
    type Err = IdError;

    /// Reads 24 hex digits; upper case is accepted and becomes lower case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits: &[u8; 24] = text.as_bytes().try_into().map_err(|_| IdError)?;
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or(IdError)?;
            let low = (pair[1] as char).to_digit(16).ok_or(IdError)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Id {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": HEX_DIGITS })
    }
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Id);

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

id_types! {
    /// An organisation: the wall between tenants.
    OrgId,
    /// A customer.
    CustomerId,
    /// A conversation.
    ConversationId,
    /// A message.
    MessageId,
    /// A note.
    NoteId,
    /// A user: a person of the team or the machine user behind a token.
    UserId,
    /// A team.
    TeamId,
    /// A tag.
    TagId,
    /// An access token (its public id, not its secret).
    TokenId,
    /// An event of the org's sequence.
    EventId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_bytes_are_the_same_id(bytes: [u8; 12]) {
            let id = Id::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<Id>(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().parse::<Id>(), Ok(id));
        }

        #[test]
        fn any_other_text_is_refused_without_panic(text in ".{0,30}") {
            let hex = text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<Id>().is_ok(), hex);
        }
    }

    #[test]
    fn ids_sort_by_the_second_they_were_made() {
        let early = Id::new(Instant::from_millis(1_700_000_000_000), [0xff; 8]);
        let late = Id::new(Instant::from_millis(1_700_000_001_000), [0; 8]);
        assert!(early < late);
    }
}

//! Instants: integer milliseconds inside, `YYYY-MM-DDTHH:MM:SS.mmmZ` outside (contract README §5).

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z; years 0001 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// The text is not an ISO 8601 date-time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 8601 date-time such as 2026-10-24T09:04:17.201Z")]
pub struct InstantError;

/// Where "now" comes from. Only the server's wiring reads the real clock; tests hand in a frozen one.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Instant;
}

const FIRST: i64 = -62_135_596_800_000; // 0001-01-01T00:00:00.000Z
const LAST: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z

impl Instant {
    /// The moment this many milliseconds after the Unix epoch, held within the years 0001 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(FIRST, LAST))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is in fact later, so that no duration is negative.
    pub fn since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).max(0)
    }

    /// The moment `millis` later.
    pub fn plus(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }
}

impl FromStr for Instant {
    type Err = InstantError;

    /// Reads RFC 3339 and what live clients send besides it: more decimals, a space for the `T`, any offset.
    /// A text without offset is UTC; a bare date is its midnight in UTC. Digits below the millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, InstantError> {
        const PARSER: DateTimeParser = DateTimeParser::new();
        // The shortest accepted form is a date, the longest has nanoseconds and an offset.
        if !(10..=40).contains(&text.len()) {
            return Err(InstantError);
        }
        let timestamp = match PARSER.parse_timestamp(text) {
            Ok(timestamp) => timestamp,
            Err(_) => {
                let civil: civil::DateTime = PARSER.parse_datetime(text).map_err(|_| InstantError)?;
                TimeZone::UTC.to_timestamp(civil).map_err(|_| InstantError)?
            }
        };
        let millis = timestamp.as_nanosecond().div_euclid(1_000_000);
        let millis = i64::try_from(millis).map_err(|_| InstantError)?;
        if (FIRST..=LAST).contains(&millis) { Ok(Self(millis)) } else { Err(InstantError) }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let timestamp = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        PRINTER.print_timestamp(&timestamp, jiff::fmt::StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Instant {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Instant".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_clients_send() {
        let expected = Instant::from_millis(1_546_300_800_000);
        for text in [
            "2019-01-01T00:00:00.000Z",
            "2019-01-01T00:00:00.000000Z",
            "2019-01-01T00:00:00Z",
            "2019-01-01 00:00:00+00:00",
            "2019-01-01T01:00:00+01:00",
            "2019-01-01T00:00:00",
            "2019-01-01",
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "2019-01-01T00:00:00.000Z");
    }

    #[test]
    fn refuses_what_is_no_moment() {
        for text in
            ["", "yesterday", "2019-13-01", "2019-02-30T00:00:00Z", "1546300800000", "20190101", "2019-01-01T25:00:00Z"]
        {
            assert_eq!(text.parse::<Instant>(), Err(InstantError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(millis in FIRST..=LAST) {
            let instant = Instant::from_millis(millis);
            let text = instant.to_string();
            prop_assert_eq!(text.len(), 24);
            prop_assert_eq!(text.parse(), Ok(instant));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,45}") {
            let _ = text.parse::<Instant>();
        }
    }
}

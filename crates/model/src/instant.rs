//! Instants: integer milliseconds inside, `YYYY-MM-DDTHH:MM:SS.mmmZ` outside (contract README §5).

use std::fmt;
use std::str::FromStr;

use jiff::fmt::temporal::DateTimeParser;
use jiff::{SignedDuration, civil};
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

/// What is counted from. Instants are read and printed as civil date-times: a `jiff::Timestamp` ends a day before `LAST`.
const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

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
        let pieces = PARSER.parse_pieces(text).map_err(|_| InstantError)?;
        let civil = pieces.date().to_datetime(pieces.time().unwrap_or(civil::Time::midnight()));
        let offset = pieces.to_numeric_offset().map_or(0, |offset| i64::from(offset.seconds()) * 1000);
        let since = civil.duration_since(EPOCH);
        let millis = since.as_secs() * 1000 + i64::from(since.subsec_nanos().div_euclid(1_000_000)) - offset;
        if (FIRST..=LAST).contains(&millis) { Ok(Self(millis)) } else { Err(InstantError) }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400_000;
        let (days, of_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let date = EPOCH.date().checked_add(SignedDuration::from_hours(24 * days)).map_err(|_| fmt::Error)?;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |digits: std::ops::Range<usize>, mut number: i64| {
            for digit in text[digits].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, date.year().into());
        put(5..7, date.month().into());
        put(8..10, date.day().into());
        put(11..13, of_day / 3_600_000);
        put(14..16, of_day / 60_000 % 60);
        put(17..19, of_day / 1000 % 60);
        put(20..23, of_day % 1000);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
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
        for text in [
            "9999-12-31T23:59:59.999-00:01",
            "0001-01-01T00:00:00+00:01",
            "0000-12-31T23:59:59.999Z",
            "10000-01-01T00:00:00Z",
            "-000001-01-01T00:00:00Z",
            "",
            "yesterday",
            "2019-13-01",
            "2019-02-30T00:00:00Z",
            "1546300800000",
            "20190101",
            "2019-01-01T25:00:00Z",
        ] {
            assert_eq!(text.parse::<Instant>(), Err(InstantError), "{text}");
        }
    }

    #[test]
    fn the_first_and_last_moment_are_read_and_printed() {
        for (text, millis) in [
            ("0001-01-01T00:00:00.000Z", FIRST),
            ("1969-12-31T23:59:59.999Z", -1),
            ("9999-12-30T22:00:01.000Z", LAST - 93_598_999),
            ("9999-12-31T23:59:59.999Z", LAST),
        ] {
            assert_eq!(text.parse(), Ok(Instant(millis)), "{text}");
            assert_eq!(Instant(millis).to_string(), text);
        }
        assert_eq!("9999-12-31T23:59:59.9999999Z".parse(), Ok(Instant(LAST)), "what is below a millisecond is cut off");
        assert_eq!("1969-12-31T23:59:59.9999Z".parse(), Ok(Instant(-1)), "before 1970 as well");
        assert_eq!("0000-12-31T23:00:00-01:00".parse(), Ok(Instant(FIRST)), "only the moment counts");
        assert_eq!(Instant::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Instant::from_millis(i64::MIN).to_string(), "0001-01-01T00:00:00.000Z");
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
        fn an_offset_moves_it(
            millis in prop_oneof![FIRST..=LAST, FIRST..FIRST + 100_000_000, LAST - 100_000_000..=LAST],
            minutes in -1439_i64..=1439,
        ) {
            let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            let text = Instant(millis).to_string().replace('Z', &format!("{sign}{:02}:{:02}", size / 60, size % 60));
            let moved = millis - minutes * 60_000;
            let expected = if (FIRST..=LAST).contains(&moved) { Ok(Instant(moved)) } else { Err(InstantError) };
            prop_assert_eq!(text.parse(), expected, "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,45}") {
            let _ = text.parse::<Instant>();
        }
    }
}

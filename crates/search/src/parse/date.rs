//! Dates in criteria: a whole local day, or a moment (contract `search.md` §4).

use jiff::civil;
use jiff::tz::TimeZone;
use konverse_model::Instant;

/// What a text says of a time: from here, and until before there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// A moment, to the millisecond.
    Moment(Instant),
    /// A day: its first moment, and that of the next day, which the last day of all does not have.
    Day(Instant, Option<Instant>),
}

/// Reads a date, which is a day in the zone, or a date-time, which is UTC unless it has an offset.
pub(super) fn read(text: &str, zone: &TimeZone) -> Option<Span> {
    // Ten characters are a date alone: the shortest time comes after it.
    if text.len() != 10 {
        return text.parse().ok().map(Span::Moment);
    }
    text.parse::<Instant>().ok()?;
    let day: civil::Date = text.parse().ok()?;
    let next = day.tomorrow().ok().and_then(|day| midnight(day, zone));
    Some(Span::Day(midnight(day, zone)?, next))
}

/// The first moment of a day: some days have no midnight.
fn midnight(day: civil::Date, zone: &TimeZone) -> Option<Instant> {
    match day.to_zoned_datetime(zone.clone()) {
        Ok(first) => Some(Instant::from_millis(first.timestamp().as_millisecond())),
        // The last two days there are, where a timestamp of the library ends before ours.
        Err(_) => day.to_string().parse().ok(),
    }
}

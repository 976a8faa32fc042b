//! How far somebody came in an org's sequence.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Heads;

/// The number of the last event seen, in every lane. Its text is opaque: it may be kept and handed back, nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(BTreeMap<u8, i64>);

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a position of this sequence")]
pub struct PositionError;

const VERSION: u8 = 1;

/// A lane and its number.
const ENTRY: usize = 9;

impl Position {
    /// The last number seen in a lane; 0 when none was.
    pub fn of(&self, lane: u8) -> i64 {
        self.0.get(&lane).copied().unwrap_or(0)
    }

    /// Every lane something was seen of.
    pub fn lanes(&self) -> impl Iterator<Item = (u8, i64)> {
        self.0.iter().map(|(lane, seq)| (*lane, *seq))
    }

    /// Whether all that lies before `other` lies before this.
    pub fn covers(&self, other: &Self) -> bool {
        other.lanes().all(|(lane, seq)| self.of(lane) >= seq)
    }

    /// Goes on to where `other` is, in every lane where that is further.
    pub fn advance_to(&mut self, other: &Self) {
        for (lane, seq) in other.lanes() {
            self.set(lane, seq.max(self.of(lane)));
        }
    }

    /// Notes how far a lane was seen.
    pub fn set(&mut self, lane: u8, seq: i64) {
        if seq > 0 {
            self.0.insert(lane, seq);
        }
    }
}

/// After all there is, as the lanes stand.
impl FromIterator<Heads> for Position {
    fn from_iter<I: IntoIterator<Item = Heads>>(heads: I) -> Self {
        heads.into_iter().map(|head| (head.lane, head.newest)).collect()
    }
}

impl FromIterator<(u8, i64)> for Position {
    fn from_iter<I: IntoIterator<Item = (u8, i64)>>(lanes: I) -> Self {
        Self(lanes.into_iter().filter(|(_, seq)| *seq > 0).collect())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        for (lane, seq) in &self.0 {
            bytes.push(*lane);
            bytes.extend(seq.to_be_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| PositionError)?;
        let Some((&VERSION, entries)) = bytes.split_first() else { return Err(PositionError) };
        let entries = entries.chunks(ENTRY).map(|entry| {
            let (lane, seq) = entry.split_first().ok_or(PositionError)?;
            let seq = i64::from_be_bytes(seq.try_into().map_err(|_| PositionError)?);
            if seq > 0 { Ok((*lane, seq)) } else { Err(PositionError) }
        });
        let entries: Vec<(u8, i64)> = entries.collect::<Result<_, _>>()?;
        // One text for one position: lanes rise.
        if entries.is_sorted_by(|a, b| a.0 < b.0) {
            Ok(Self(entries.into_iter().collect()))
        } else {
            Err(PositionError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_survives_its_text(lanes in proptest::collection::btree_map(any::<u8>(), 1..i64::MAX, 0..16)) {
            let position: Position = lanes.into_iter().collect();
            let text = position.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(position));
        }

        #[test]
        fn no_other_text_is_one(text in "[A-Za-z0-9_-]{0,60}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}

//! Positions in a list and the opaque text that carries one in `links.next` and `links.prev`.
//!
//! A list is ordered by keys that never change for a row (creation instant, then id), so a position is such a key:
//! the page after it is the same page whatever was written meanwhile.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Id, Instant};

/// The key of a row in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The row's `createdAt` (or the attribute the list is sorted by).
    pub at: Instant,
    /// The row's id.
    pub id: Id,
}

/// Which neighbours of a position are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The rows that follow it in the list's order.
    After,
    /// The rows that precede it.
    Before,
}

/// What a cursor was made for: a cursor used with another list, filter or order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u32);

impl Fingerprint {
    /// The fingerprint of a query, given the texts that identify it.
    pub fn of(parts: &[&str]) -> Self {
        // FNV-1a: stable across versions and processes, which the standard hasher does not promise. It tells honest
        // mistakes apart; it keeps nobody out, and need not, since a cursor only moves within what its reader may see.
        let mut hash: u32 = 0x811c_9dc5;
        for part in parts {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            }
        }
        Self(hash)
    }
}

/// A position with its direction and the query it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which way the page lies.
    pub direction: Direction,
    /// The row it starts from, itself not part of the page.
    pub position: Position,
    /// The query the cursor was made for.
    pub fingerprint: Fingerprint,
}

/// The text is no cursor of this version of konverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list; start again from the first page")]
pub struct CursorError;

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 1 + 4 + 8 + 12;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[1] = match self.direction {
            Direction::After => b'a',
            Direction::Before => b'b',
        };
        bytes[2..6].copy_from_slice(&self.fingerprint.0.to_be_bytes());
        bytes[6..14].copy_from_slice(&self.position.at.millis().to_be_bytes());
        bytes[14..].copy_from_slice(self.position.id.bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| CursorError)?;
        let (head, rest) = bytes.split_at(2);
        let (fingerprint, rest) = rest.split_at(4);
        let (at, id) = rest.split_at(8);
        let direction = match head {
            [VERSION, b'a'] => Direction::After,
            [VERSION, b'b'] => Direction::Before,
            _ => return Err(CursorError),
        };
        let millis = i64::from_be_bytes(at.try_into().map_err(|_| CursorError)?);
        let at = Instant::from_millis(millis);
        // No row has an instant that cannot be written.
        if at.millis() != millis {
            return Err(CursorError);
        }
        Ok(Self {
            direction,
            position: Position { at, id: Id::from_bytes(id.try_into().map_err(|_| CursorError)?) },
            fingerprint: Fingerprint(u32::from_be_bytes(fingerprint.try_into().map_err(|_| CursorError)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(at in -60_000_000_000_000i64..250_000_000_000_000, id: [u8; 12], after: bool, query in ".{0,20}") {
            let cursor = Cursor {
                direction: if after { Direction::After } else { Direction::Before },
                position: Position { at: Instant::from_millis(at), id: Id::from_bytes(id) },
                fingerprint: Fingerprint::of(&[&query]),
            };
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn an_instant_that_no_row_can_have_is_refused() {
        for at in [i64::MAX, i64::MIN] {
            let mut bytes = [0; LENGTH];
            bytes[..2].copy_from_slice(&[VERSION, b'a']);
            bytes[6..14].copy_from_slice(&at.to_be_bytes());
            assert_eq!(URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>(), Err(CursorError), "{at}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Fingerprint::of(&["ab", "c"]), Fingerprint::of(&["a", "bc"]));
    }
}

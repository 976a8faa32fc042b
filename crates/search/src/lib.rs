//! Searching records: what a query may ask for, and the index that answers it.
//!
//! [`extract`] reads of a stored record what can be searched, by the attributes of the catalogue; a [`Query`] is what a
//! request's body becomes. The plain evaluator says what a query means; the index answers the same from many records.

mod catalogue;
mod context;
mod evaluate;
mod extract;
pub mod index;
mod parse;
mod query;
mod value;

pub use catalogue::{Attribute, Class, attribute};
pub use context::{Key, Object, Step};
pub use evaluate::evaluate;
pub use extract::{ExtractError, extract};
pub use parse::{Surface, parse};
pub use query::{Bound, Node, Op, Query, Sort, Test};
pub use value::{Extracted, LONGEST, LONGEST_WORD, Value, cut, fold, words};

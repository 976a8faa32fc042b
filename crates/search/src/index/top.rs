//! The first rows of an order, of however many, in bounded memory.

use std::cmp::Reverse;

use konverse_model::{Id, Instant};
use tantivy::columnar::{Column, StrColumn};
use tantivy::{DocId, SegmentReader};

use super::schema::{rank_column, text_column, whole};
use crate::{Class, Sort};

/// A row while it is looked for: the greater keys come later, and equal ones follow by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry<const N: usize> {
    keys: [u64; N],
    id: (u64, u64),
}

impl<const N: usize> Entry<N> {
    /// The moment it stands at, in an order whose first step is a time, ascending.
    pub(super) fn time(&self) -> Option<Instant> {
        let key = *self.keys.first()?;
        (key != MISSING).then(|| Instant::from_millis((key ^ (1 << 63)).cast_signed()))
    }
}

/// The key of a moment in such an order.
fn key_of(time: Instant) -> u64 {
    time.millis().cast_unsigned() ^ (1 << 63)
}

/// What a row has in an order. What is missing comes last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Rank(u64),
    Up(Box<str>),
    Down(Reverse<Box<str>>),
    Missing,
}

/// A row in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    keys: Vec<Part>,
    id: (u64, u64),
}

/// A key of what has no value.
const MISSING: u64 = u64::MAX;

enum Values {
    Ranks(Column<i64>),
    Texts(StrColumn),
    None,
}

/// One step of an order in one segment.
pub(super) struct Step {
    values: Values,
    descending: bool,
}

impl Step {
    pub(super) fn open(segment: &SegmentReader, sort: &Sort) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let name = &*sort.attribute.name;
        let values = match sort.attribute.class {
            Class::Number | Class::Datetime | Class::Boolean => {
                columns.column_opt(&rank_column(name))?.map(Values::Ranks)
            }
            _ => columns.str(&text_column(name))?.map(Values::Texts),
        };
        Ok(Self { values: values.unwrap_or(Values::None), descending: sort.descending })
    }

    /// A number that has the order within this segment.
    fn key(&self, document: DocId) -> u64 {
        let value = match &self.values {
            // In the order of what is signed; one is kept for what is missing.
            Values::Ranks(column) => {
                column.first(document).map(|rank| (rank.cast_unsigned() ^ (1 << 63)).min(MISSING - 1))
            }
            Values::Texts(column) => column.ords().first(document),
            Values::None => None,
        };
        match value {
            None => MISSING,
            Some(value) if self.descending => MISSING - 1 - value,
            Some(value) => value,
        }
    }

    /// What a key stands for in every segment.
    fn part(&self, key: u64) -> tantivy::Result<Part> {
        if key == MISSING {
            return Ok(Part::Missing);
        }
        let Values::Texts(column) = &self.values else { return Ok(Part::Rank(key)) };
        let mut text = String::new();
        column.ord_to_str(if self.descending { MISSING - 1 - key } else { key }, &mut text)?;
        let text = text.into_boxed_str();
        Ok(if self.descending { Part::Down(Reverse(text)) } else { Part::Up(text) })
    }
}

/// The first rows of an order. Holds twice as many as are wanted at most.
pub(super) struct Top<const N: usize> {
    most: usize,
    rows: Vec<Entry<N>>,
    /// What is not before this is not among the first.
    bound: Option<Entry<N>>,
    /// What does not come after this key is passed over.
    after: Option<u64>,
    passed: u64,
}

impl<const N: usize> Top<N> {
    /// So many; in the ascending order of one time only those after one.
    pub(super) fn of(most: usize, after: Option<Instant>) -> Self {
        Self { most, rows: Vec::new(), bound: None, after: after.map(key_of), passed: 0 }
    }

    /// How many were passed over.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    pub(super) fn add(&mut self, steps: &[Step; N], ids: &[Column<u64>; 2], document: DocId) {
        let keys: [u64; N] = std::array::from_fn(|n| steps[n].key(document));
        if self.after.is_some_and(|after| keys.first().is_some_and(|key| *key <= after)) {
            self.passed += 1;
            return;
        }
        if self.most == 0 || self.bound.is_some_and(|bound| keys > bound.keys) {
            return;
        }
        let [high, low] = ids;
        let Some(id) = high.first(document).zip(low.first(document)) else { return };
        let row = Entry { keys, id };
        if self.bound.is_some_and(|bound| row >= bound) {
            return;
        }
        self.rows.push(row);
        if self.rows.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.rows.len() > self.most {
            self.rows.select_nth_unstable(self.most - 1);
            self.rows.truncate(self.most);
            self.bound = self.rows.iter().max().copied();
        }
    }

    /// The rows in their order, as far as they are of one segment or none of the keys is a text.
    pub(super) fn sorted(mut self) -> Vec<Entry<N>> {
        self.cut();
        self.rows.sort_unstable();
        self.rows
    }
}

/// Rows of one segment in their order, to be held against those of others.
pub(super) fn rows<const N: usize>(sorted: Vec<Entry<N>>, steps: &[Step; N]) -> tantivy::Result<Vec<Row>> {
    let row = |row: Entry<N>| {
        let keys = steps.iter().zip(row.keys).map(|(step, key)| step.part(key)).collect::<Result<_, _>>()?;
        Ok(Row { keys, id: row.id })
    };
    sorted.into_iter().map(row).collect()
}

/// Two sorted lists as one, up to so many.
pub(super) fn merged(mut rows: Vec<Row>, more: Vec<Row>, most: usize) -> Vec<Row> {
    rows.extend(more);
    // Two runs that are sorted: this only merges them.
    rows.sort();
    rows.truncate(most);
    rows
}

/// What a page is made of.
pub(super) trait Placed {
    /// The record.
    fn id(&self) -> Id;
    /// Whether nothing but the ids tells which of the two comes first.
    fn ties_with(&self, other: &Self) -> bool;
}

impl<const N: usize> Placed for Entry<N> {
    fn id(&self) -> Id {
        whole(self.id.0, self.id.1)
    }

    fn ties_with(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Placed for Row {
    fn id(&self) -> Id {
        whole(self.id.0, self.id.1)
    }

    fn ties_with(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

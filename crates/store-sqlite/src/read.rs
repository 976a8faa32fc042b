//! Reading: a stack of read-only connections, and the two ways rows leave them.

use std::path::PathBuf;
use std::sync::Arc;

use konverse_model::{Instant, Position};
use konverse_store::{Page, StoreError};
use konverse_store_sql::{Query, Value};
use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::{bind, database, open};

/// The read-only connections that are not in use. The one used last is taken first: its statements are warm.
/// There are never more than reads at one moment, which the runtime's threads and the blocking permits bound.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// A connection in use; it goes back when the work is done.
pub(crate) struct Reader {
    connection: Connection,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default() }
    }

    pub(crate) fn take(&self) -> Result<Reader, StoreError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::for_reading(&self.path)?,
        };
        Ok(Reader { connection, idle: Arc::clone(&self.idle) })
    }
}

impl Reader {
    pub(crate) fn run<T>(self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = work(&self.connection);
        self.idle.lock().push(self.connection);
        result
    }
}

pub(crate) fn rows(connection: &Connection, query: &Query) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut statement = connection.prepare_cached(&query.sql).map_err(database)?;
    bind::bind(&mut statement, &query.params).map_err(database)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(database)? {
        found.push((0..columns).map(|column| bind::value(row, column)).collect::<Result<_, _>>()?);
    }
    Ok(found)
}

pub(crate) fn splice(
    connection: &Connection,
    query: &Query,
    limit: u32,
    reversed: bool,
    mut buffer: Vec<u8>,
) -> Result<Page, StoreError> {
    let mut statement = connection.prepare_cached(&query.sql).map_err(database)?;
    bind::bind(&mut statement, &query.params).map_err(database)?;
    let mut rows = statement.raw_query();
    let (mut count, mut first, mut last, mut more) = (0, None, None, false);
    let start = buffer.len();
    while let Some(row) = rows.next().map_err(database)? {
        if count == limit {
            more = true;
            break;
        }
        let at = Instant::from_millis(row.get(0).map_err(database)?);
        let ValueRef::Blob(id) = row.get_ref(1).map_err(database)? else {
            return Err(StoreError::Corrupt("an id is no blob".into()));
        };
        let position = Position { at, id: bind::id(id)? };
        let ValueRef::Text(doc) = row.get_ref(2).map_err(database)? else {
            return Err(StoreError::Corrupt("a record has no text".into()));
        };
        if reversed {
            // Read outwards from a position: each row goes before those already there. Pages are small and this
            // direction is rare, so moving the bytes up is cheaper than keeping them apart.
            let separator: &[u8] = if count == 0 { b"" } else { b"," };
            buffer.splice(start..start, doc.iter().chain(separator).copied());
        } else {
            if count > 0 {
                buffer.push(b',');
            }
            buffer.extend_from_slice(doc);
        }
        first.get_or_insert(position);
        last = Some(position);
        count += 1;
    }
    if reversed {
        (first, last) = (last, first);
    }
    Ok(Page { buffer, count, first, last, more })
}

//! Values in and out of SQLite.

use konverse_model::Id;
use konverse_store::StoreError;
use konverse_store_sql::Value;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement};

use crate::database;

pub(crate) fn bind(statement: &mut Statement<'_>, params: &[Value]) -> rusqlite::Result<()> {
    for (n, value) in params.iter().enumerate() {
        let slot = n + 1;
        // SQLite numbers `$n` by first use: a text that used `$2` before `$1` would bind wrongly and find nothing.
        debug_assert_eq!(statement.parameter_name(slot), Some(format!("${slot}").as_str()));
        match value {
            Value::Null => statement.raw_bind_parameter(slot, rusqlite::types::Null)?,
            Value::Int(value) => statement.raw_bind_parameter(slot, value)?,
            Value::Id(value) => statement.raw_bind_parameter(slot, value.bytes().as_slice())?,
            Value::Hash(value) => statement.raw_bind_parameter(slot, value.as_slice())?,
            Value::Text(value) => statement.raw_bind_parameter(slot, value.as_str())?,
            Value::Broken(_) => statement.raw_bind_parameter(slot, rusqlite::types::Null)?,
        }
    }
    Ok(())
}

pub(crate) fn value(row: &Row<'_>, column: usize) -> Result<Value, StoreError> {
    match row.get_ref(column).map_err(database)? {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(value) => Ok(Value::Int(value)),
        // What reads one row alone fails at it; what reads every row goes on.
        ValueRef::Text(bytes) => Ok(String::from_utf8(bytes.to_vec()).map_or(Value::NOT_UTF8, Value::Text)),
        ValueRef::Blob(bytes) => Ok(id(bytes).map_or(Value::Broken("an id is not 12 bytes"), Value::Id)),
        ValueRef::Real(_) => Ok(Value::Broken("a real number where none is kept")),
    }
}

pub(crate) fn id(bytes: &[u8]) -> Result<Id, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("an id is not 12 bytes".into()))?;
    Ok(Id::from_bytes(bytes))
}

//! Values in and out of PostgreSQL.

use std::error::Error;

use konverse_model::Id;
use konverse_store_sql::Value;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param<'a>(pub(crate) &'a Value);

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null | Value::Broken(_) => Ok(IsNull::Yes),
            Value::Int(value) => value.to_sql(ty, out),
            Value::Id(value) => value.bytes().as_slice().to_sql(ty, out),
            Value::Hash(value) => value.as_slice().to_sql(ty, out),
            Value::Text(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        // The last is what a NULL is of before the server knows more.
        [Type::INT8, Type::BYTEA, Type::TEXT, Type::UNKNOWN].contains(ty)
    }

    to_sql_checked!();
}

/// A column of any of the kept types.
pub(crate) struct Bound(pub(crate) Value);

impl<'a> FromSql<'a> for Bound {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::BYTEA => match raw.try_into() {
                Ok(bytes) => Value::Id(Id::from_bytes(bytes)),
                Err(_) => Value::Broken("an id is not 12 bytes"),
            },
            _ => Value::Text(String::from_sql(ty, raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::BYTEA, Type::TEXT].contains(ty)
    }
}

/// An id.
pub(crate) struct IdColumn(pub(crate) Id);

impl<'a> FromSql<'a> for IdColumn {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Id::from_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }
}

/// A record's text, as bytes on their way out.
pub(crate) struct Doc<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Doc<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }
}

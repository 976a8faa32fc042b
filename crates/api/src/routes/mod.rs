//! The table of operations, resource by resource. Each file holds its handlers and, last, its entries.

mod conversations;
mod customers;
mod directory;
mod messages;
mod notes;
mod published;
mod search;
mod service;
mod tokens;

use serde_json::Value;

use crate::operation::Operation;

/// Every operation.
pub(crate) fn operations() -> Vec<Operation> {
    [
        customers::operations(),
        conversations::operations(),
        messages::operations(),
        notes::operations(),
        directory::operations(),
        tokens::operations(),
        search::operations(),
        published::operations(),
        service::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The operations that can be run as published.
pub(crate) fn published() -> Vec<Value> {
    published::documents()
}

//! The table of operations, resource by resource. Each file holds its handlers and, last, its entries.

mod conversations;
mod customers;
mod directory;
mod klasses;
mod messages;
mod metadata;
mod notes;
mod orgs;
mod published;
mod search;
mod service;
mod settings;
mod tokens;

use serde_json::Value;

use crate::operation::Operation;

/// Every operation.
pub(crate) fn operations() -> Vec<Operation> {
    [
        customers::operations(),
        conversations::operations(),
        messages::operations(),
        metadata::operations(),
        notes::operations(),
        directory::operations(),
        settings::operations(),
        orgs::operations(),
        klasses::operations(),
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

//! Rows of the directory's kinds: read by their shape, and all handled alike.

use std::future::Future;
use std::pin::Pin;

use konverse_model::input::{self, Shape};
use konverse_model::resource::{
    BrandAttributes, CompanyAttributes, Object, QueueAttributes, ShortcutAttributes, SlaAttributes, TagAttributes,
    TeamAttributes, UserAttributes,
};
use konverse_model::{Id, Instant};
use konverse_store::Space;
use serde::de::DeserializeOwned;

use super::{ImportKind, RowError, read};
use crate::DomainError;
use crate::directory::{Desk, Imported};

/// A row of a kind of the directory.
pub(super) trait DirectoryRow: Send + Sync {
    fn id(&self) -> Option<Id>;

    /// The name by which a row without id is recognised when it comes again.
    fn known_by(&self) -> Option<(Space, String)>;

    /// Its custom attributes.
    fn custom(&self) -> Option<&Object>;

    /// Says when the row was brought in, unless it says so itself.
    fn stamp(&mut self, at: Instant);

    /// Adds what makes it a record.
    fn enter<'a>(
        self: Box<Self>,
        desk: &'a mut Desk<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DomainError>> + Send + 'a>>;
}

struct Row<K: Imported>(K::Create);

impl<K: Imported> DirectoryRow for Row<K> {
    fn id(&self) -> Option<Id> {
        K::id(&self.0)
    }

    fn known_by(&self) -> Option<(Space, String)> {
        K::known_by(&self.0)
    }

    fn custom(&self) -> Option<&Object> {
        <K as Imported>::custom(&self.0)
    }

    fn stamp(&mut self, at: Instant) {
        K::stamp(&mut self.0, at);
    }

    fn enter<'a>(
        self: Box<Self>,
        desk: &'a mut Desk<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DomainError>> + Send + 'a>> {
        Box::pin(async move { desk.enter::<K>(self.0).await.map(drop) })
    }
}

/// Reads a line of a kind of the directory; none of another kind.
pub(super) fn read_row(kind: ImportKind, line: &str) -> Option<Result<Box<dyn DirectoryRow>, RowError>> {
    Some(match kind {
        ImportKind::Users => row::<UserAttributes>(&input::USER_IMPORT, line),
        ImportKind::Teams => row::<TeamAttributes>(&input::TEAM_IMPORT, line),
        ImportKind::Tags => row::<TagAttributes>(&input::TAG_IMPORT, line),
        ImportKind::Companies => row::<CompanyAttributes>(&input::COMPANY_IMPORT, line),
        ImportKind::Shortcuts => row::<ShortcutAttributes>(&input::SHORTCUT_IMPORT, line),
        ImportKind::Brands => row::<BrandAttributes>(&input::BRAND_IMPORT, line),
        ImportKind::Slas => row::<SlaAttributes>(&input::SLA_IMPORT, line),
        ImportKind::Queues => row::<QueueAttributes>(&input::QUEUE_IMPORT, line),
        ImportKind::Customers | ImportKind::Conversations | ImportKind::Messages | ImportKind::Notes => return None,
    })
}

fn row<K: Imported>(shape: &Shape<K::Create>, line: &str) -> Result<Box<dyn DirectoryRow>, RowError>
where
    K::Create: DeserializeOwned,
{
    Ok(Box::new(Row::<K>(read(shape, line)?)))
}

//! Running a saved search (contract `endpoints.md`, `POST /v1/customers/searches/{id}/execution`).

use konverse_model::resource::SavedSearchAttributes;
use konverse_model::{Document, Id, Kind};

use super::{SearchPage, SearchRequest, Shown, Surface};
use crate::access::permissions::RunSearches;
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Searches the org for what a saved search asks for, as it is saved now. Pages and what is shown are as in a
    /// [`SearchRequest`].
    pub async fn run_search(
        &self,
        auth: &Authorized<RunSearches>,
        id: Id,
        page: u64,
        page_size: u32,
        shown: Shown,
    ) -> Result<SearchPage, DomainError> {
        let row = self.row(auth.org(), Kind::Search, id).await?;
        let saved: Document<SavedSearchAttributes> = Document::from_text(&row.doc)?;
        let body = saved.attributes.query.into();
        self.answered(auth.actor(), SearchRequest { surface: Surface::Live, body, page, page_size, shown }).await
    }
}

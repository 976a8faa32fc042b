//! Brands (contract `resources.md` §15). Of an org's brands one is the default, from the first one on: being it is a name
//! that one record holds, so that two processes cannot each have their own.

use konverse_model::input::BrandBody;
use konverse_model::resource::{Brand, BrandAttributes};
use konverse_model::{Id, Kind};
use konverse_store::Space;

use super::entry::{Changeable, Creatable, Desk, Entry, Imported, Name, NoFilter, Only};
use crate::access::permissions::{CreateBrands, ReadBrands, UpdateBrands};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError};

/// The one name of its space.
const DEFAULT: &str = "default";

impl Domain {
    /// The org's default brand, as text.
    pub async fn default_brand(&self, auth: &Authorized<ReadBrands>) -> Result<String, DomainError> {
        let named = [(Space::DefaultBrand, DEFAULT.to_owned())];
        match self.store.holders(auth.org(), &named).await?.pop().flatten() {
            Some(id) => Ok(self.row(auth.org(), Kind::Brand, id).await?.doc),
            None => Err(DomainError::NotFound(Kind::Brand, DEFAULT.to_owned())),
        }
    }
}

impl Entry for BrandAttributes {
    type Create = BrandBody;
    type Filter = NoFilter;
    type MayRead = ReadBrands;

    fn names(&self) -> Vec<Name> {
        let default = self.default.then(|| Name::exact(Space::DefaultBrand, DEFAULT, "/default"));
        [Name::folded(Space::BrandName, &self.name, "/name")].into_iter().chain(default).collect()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(body: &BrandBody) -> Option<Id> {
        body.id.0
    }

    async fn fresh(desk: &mut Desk<'_>, body: BrandBody) -> Result<Brand, DomainError> {
        let created_at = desk.created_at(body.created_at.0);
        let attributes = BrandAttributes {
            name: body.name.0.unwrap_or_default(),
            icon_url: body.icon_url.given(),
            default: body.default.0.unwrap_or(false),
            created_at,
            updated_at: desk.now(),
            modified_at: desk.modified_at(body.modified_at.0, created_at),
        };
        let mut brand = desk.document(body.id.0, attributes);
        desk.sign(&mut brand, body.created_by.0, body.modified_by.0).await?;
        Ok(brand)
    }

    /// The first brand becomes the default. One that becomes it takes that from the brand that was.
    async fn settle(desk: &mut Desk<'_>, draft: &mut Draft<Self>) -> Result<(), DomainError> {
        let was_default = draft.before().is_some_and(|before| before.attributes.default);
        let is_default = draft.doc.attributes.default;
        if was_default && !is_default {
            return Err(DomainError::invalid("/default", "must stay true: make another brand the default instead"));
        }
        if was_default || (draft.before().is_some() && !is_default) {
            return Ok(());
        }
        let named = [(Space::DefaultBrand, DEFAULT.to_owned())];
        let holder = desk.domain.store.holders(desk.org, &named).await?.pop().flatten();
        let Some(holder) = holder else {
            draft.doc.attributes.default = true;
            return Ok(());
        };
        if !is_default {
            return Ok(());
        }
        let mut other = Draft::<Self>::read(desk.domain.row(desk.org, Kind::Brand, holder).await?)?;
        other.doc.attributes.default = false;
        other.edited(desk.author(), desk.now());
        desk.changes.release(Space::DefaultBrand, DEFAULT.to_owned(), holder);
        other.finish(desk.author(), desk.changes).map(drop)
    }
}

impl Creatable for BrandAttributes {
    type MayCreate = CreateBrands;
}

impl Changeable for BrandAttributes {
    type MayUpdate = UpdateBrands;
    type Update = BrandBody;

    async fn change(_: &mut Desk<'_>, draft: &mut Draft<Self>, body: BrandBody, _: bool) -> Result<(), DomainError> {
        let attributes = &mut draft.doc.attributes;
        body.name.put(&mut attributes.name);
        body.icon_url.put(&mut attributes.icon_url);
        body.default.put(&mut attributes.default);
        Ok(())
    }
}

impl Imported for BrandAttributes {
    fn known_by(body: &BrandBody) -> Option<(Space, String)> {
        body.name.0.as_ref().map(|name| (Space::BrandName, name.to_lowercase()))
    }
}

//! What a kind of the directory is. One entry each: its attributes, its bodies, the names it holds, who may do what, what
//! its list can be narrowed to, and what is special about it. Everything else is done once, in [`super::manage`].
//!
//! To add a kind:
//! 1. `model`: its [`Kind`](konverse_model::Kind), attributes, bodies and their shapes. `store`: a [`Space`] for each name
//!    that only one record may hold.
//! 2. Here: a line in `tracked!` (`unit/draft.rs`), permissions, and a file with its `impl`s: [`Entry`] always, the other
//!    traits as far as the contract has the operations. Then its line in `of_kind!` and [`super::KINDS`]; rendering anew and
//!    `check` come with that. What has files to import gets [`Imported`] and a line in `intake/rows.rs`.
//! 3. `api`: `Served` (`api/src/entry.rs`) and a line for each operation.
//!
//! What a kind does beside its own row (memberships, the one default brand) it does in [`Entry::settle`].

use std::future::Future;

use konverse_model::resource::Object;
use konverse_model::{Document, FieldError, Id, Instant, Kind, OrgId, Patch, Rel, UserId};
use konverse_store::{Changes, Space};

use super::References;
use crate::unit::{Draft, Tracked};
use crate::{Actor, Domain, DomainError, Permission};

/// A name that only one record of the org may hold while it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Among which names.
    pub(crate) space: Space,
    /// The name, in the form that is compared.
    pub(crate) value: String,
    /// The field it stands in.
    pub(crate) pointer: &'static str,
}

impl Name {
    /// A name that is compared without case.
    pub(crate) fn folded(space: Space, value: &str, pointer: &'static str) -> Self {
        Self::exact(space, value.to_lowercase(), pointer)
    }

    /// A name that is compared as it is.
    pub(crate) fn exact(space: Space, value: impl Into<String>, pointer: &'static str) -> Self {
        Self { space, value: value.into(), pointer }
    }
}

/// Which records of a kind a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// Those that show.
    Shown,
    /// Deleted ones.
    Deleted,
    /// Those that show and have one of these labels.
    Labelled(Vec<String>),
    /// The one that holds this name.
    Named(Space, String),
}

/// A list that cannot be narrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFilter;

/// A kind of the directory, by its attributes.
pub trait Entry: Tracked + Send + Sync + 'static {
    /// The body it is made of.
    type Create: Clone + Send + Sync + 'static;
    /// What its list can be narrowed to.
    type Filter: Default + Send;
    /// Who may read it.
    type MayRead: Permission;

    /// The names it holds while it shows.
    fn names(&self) -> Vec<Name>;

    /// Which records a list has.
    fn only(filter: Self::Filter) -> Only;

    /// Shows when it was deleted, or that it is not.
    fn mark_deleted(&mut self, _at: Option<Instant>) {}

    /// The id a body asks for.
    fn id(body: &Self::Create) -> Option<Id>;

    /// The record a body makes. Names are looked up afterwards.
    fn fresh(
        desk: &mut Desk<'_>,
        body: Self::Create,
    ) -> impl Future<Output = Result<Document<Self>, DomainError>> + Send;

    /// What it gives to whoever is it, or is in it: role names, separated by spaces, and role groups. Most kinds give nothing.
    fn gives(&self) -> (String, Vec<Id>) {
        Default::default()
    }

    /// What else follows from a new, changed, deleted or restored record: called before it is stored, in the same change.
    fn settle(_desk: &mut Desk<'_>, _draft: &mut Draft<Self>) -> impl Future<Output = Result<(), DomainError>> + Send {
        async { Ok(()) }
    }
}

/// A kind that can be created by request.
pub trait Creatable: Entry {
    /// Who may create it.
    type MayCreate: Permission;
}

/// A kind that can be changed.
pub trait Changeable: Entry {
    /// Who may change it.
    type MayUpdate: Permission;
    /// The body that changes it.
    type Update: Clone + Send + Sync + 'static;

    /// The revision the body is based on.
    fn based_on(_body: &Self::Update) -> Option<i64> {
        None
    }

    /// Whether the body deletes (`true`) or restores (`false` or null).
    fn deleted(_body: &Self::Update) -> Patch<bool> {
        Patch::Keep
    }

    /// Puts the body's fields into the record. With `replace`, what the body does not name goes back to its fresh value.
    fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        body: Self::Update,
        replace: bool,
    ) -> impl Future<Output = Result<(), DomainError>> + Send;
}

/// A kind that can be deleted by a request of its own.
pub trait Deletable: Entry {
    /// Who may delete it.
    type MayDelete: Permission;
}

/// A kind that comes in by import files.
pub(crate) trait Imported: Entry {
    /// The name by which a row without id is recognised when it comes again.
    fn known_by(body: &Self::Create) -> Option<(Space, String)>;

    /// Its custom attributes.
    fn custom(_body: &Self::Create) -> Option<&Object> {
        None
    }

    /// Says when the row was brought in, unless it says so itself.
    fn stamp(_body: &mut Self::Create, _at: Instant) {}
}

/// What one change is made with.
pub struct Desk<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) org: OrgId,
    /// Who acts; nobody in an import.
    pub(crate) actor: Option<&'a Actor>,
    pub(crate) references: &'a mut References,
    pub(crate) changes: &'a mut Changes,
    /// Whether names are looked up. An import first tries without, since look-ups only explain what clashes.
    pub(crate) look_up: bool,
}

impl Desk<'_> {
    /// Who will be the author.
    pub(crate) fn author(&self) -> Option<UserId> {
        self.actor.and_then(|actor| actor.user)
    }

    /// The moment of the change.
    pub(crate) fn now(&self) -> Instant {
        self.changes.at
    }

    /// When a record came to be: as told, never after now.
    pub(crate) fn created_at(&self, told: Option<Instant>) -> Instant {
        told.filter(|at| *at <= self.now()).unwrap_or(self.now())
    }

    /// When a record was last edited: as told, not before it came to be and never after now.
    pub(crate) fn modified_at(&self, told: Option<Instant>, created_at: Instant) -> Instant {
        self.created_at(told).max(created_at)
    }

    /// Whether the author may tell when things came to be.
    pub(crate) fn is_admin(&self) -> bool {
        self.actor.is_none_or(|actor| actor.holds("org.admin"))
    }

    /// The ids behind tag ids or names; unknown names become tags.
    pub(crate) async fn tags(
        &mut self,
        names: &[String],
        pointer: &str,
        errors: &mut Vec<FieldError>,
    ) -> Result<Vec<Id>, DomainError> {
        let author = self.author();
        self.references.tags(self.domain, names, pointer, author, self.changes, errors).await
    }

    /// Says who made a record and who last edited it, where an import knows.
    pub(crate) async fn sign<K: Entry>(
        &mut self,
        record: &mut Document<K>,
        created_by: Option<UserId>,
        modified_by: Option<UserId>,
    ) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        for (name, pointer, by) in
            [("createdBy", "/createdBy", created_by), ("modifiedBy", "/modifiedBy", modified_by.or(created_by))]
        {
            let Some(user) = by else { continue };
            self.references.check_one(Kind::User, Some(user), pointer, &mut errors).await?;
            record.relationships.set(name, Rel::One(Kind::User, user.0));
        }
        errors.dedup();
        if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
    }

    /// A new record by the author, with this id or a new one.
    pub(crate) fn document<K: Entry>(&self, id: Option<impl Into<Id>>, attributes: K) -> Document<K> {
        let author = self.author().map(Id::from);
        let mut document = Document::new(id.map_or_else(|| self.domain.new_id(), Into::into), self.org, attributes);
        document.relationships.set_one("createdBy", Kind::User, author);
        document.relationships.set_one("modifiedBy", Kind::User, author);
        document
    }
}

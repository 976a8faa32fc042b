//! Tags (contract `resources.md` §6).

use konverse_model::input::{TagCreate, TagUpdate};
use konverse_model::resource::{Tag, TagAttributes};
use konverse_model::{Document, Id, Instant, Kind, OrgId, Patch, UserId};
use konverse_store::{Changes, Space};

use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Imported, Name, Only};
use crate::DomainError;
use crate::access::permissions::{CreateTags, DeleteTags, ReadTags, UpdateTags};
use crate::unit::{Draft, Stored};

pub(super) const TAG_NAME_RULE: &str =
    "must be a tag: 1 to 64 letters, digits, spaces or any of _ / < > - . and not begin with a space";

/// The tag pattern of contract `endpoints.md`.
pub(crate) fn is_tag_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || ('À'..='ÿ').contains(&c) || "_/<>-.".contains(c);
    let mut characters = name.chars();
    characters.next().is_some_and(word) && name.chars().count() <= 64 && characters.all(|c| word(c) || c == ' ')
}

/// Which tags a list has.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagFilter {
    /// Deleted ones instead of those in use.
    pub deleted: bool,
}

impl Entry for TagAttributes {
    type Create = TagCreate;
    type Filter = TagFilter;
    type MayRead = ReadTags;

    fn names(&self) -> Vec<Name> {
        vec![Name::folded(Space::TagName, &self.name, "/name")]
    }

    fn only(filter: TagFilter) -> Only {
        if filter.deleted { Only::Deleted } else { Only::Shown }
    }

    fn mark_deleted(&mut self, at: Option<Instant>) {
        (self.deleted, self.deleted_at) = (at.is_some(), at);
    }

    fn id(body: &TagCreate) -> Option<Id> {
        body.id.0.map(Id::from)
    }

    async fn fresh(desk: &mut Desk<'_>, body: TagCreate) -> Result<Tag, DomainError> {
        let name = checked(body.name.0.unwrap_or_default())?;
        let id = body.id.0.map_or_else(|| desk.domain.new_id(), Id::from);
        let mut tag = new_tag(id, desk.org, name, body.color.given(), desk.author(), desk.now());
        tag.attributes.created_at = desk.created_at(body.created_at.0);
        Ok(tag)
    }
}

impl Creatable for TagAttributes {
    type MayCreate = CreateTags;
}

impl Changeable for TagAttributes {
    type MayUpdate = UpdateTags;
    type Update = TagUpdate;

    fn deleted(body: &TagUpdate) -> Patch<bool> {
        body.deleted.clone()
    }

    async fn change(
        _: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: TagUpdate,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.color.or_clear();
        }
        let attributes = &mut draft.doc.attributes;
        if let Some(name) = body.name.0 {
            attributes.name = checked(name)?;
        }
        body.color.put(&mut attributes.color);
        Ok(())
    }
}

impl Deletable for TagAttributes {
    type MayDelete = DeleteTags;
}

impl Imported for TagAttributes {
    fn known_by(body: &TagCreate) -> Option<(Space, String)> {
        body.name.0.as_ref().map(|name| (Space::TagName, name.to_lowercase()))
    }
}

fn checked(name: String) -> Result<String, DomainError> {
    if is_tag_name(&name) { Ok(name) } else { Err(DomainError::invalid("/name", TAG_NAME_RULE)) }
}

pub(super) fn new_tag(
    id: Id,
    org: OrgId,
    name: String,
    color: Option<String>,
    author: Option<UserId>,
    created_at: Instant,
) -> Tag {
    let attributes = TagAttributes {
        name,
        color,
        deleted: false,
        deleted_at: None,
        created_at,
        updated_at: created_at,
        modified_at: created_at,
    };
    let mut tag = Document::new(id, org, attributes);
    tag.relationships.set_one("createdBy", Kind::User, author.map(Id::from));
    tag.relationships.set_one("modifiedBy", Kind::User, author.map(Id::from));
    tag
}

/// Stores a new tag under its name.
pub(super) fn insert_tag(
    tag: Tag,
    author: Option<UserId>,
    changes: &mut Changes,
) -> Result<Stored<TagAttributes>, DomainError> {
    changes.claim(Space::TagName, tag.attributes.name.to_lowercase(), tag.id);
    Draft::new(tag).finish(author, changes)
}

#[cfg(test)]
mod tests {
    use super::is_tag_name;

    #[test]
    fn tag_names_follow_the_pattern() {
        for name in ["vip", "Order / late", "<b>", "Émile", "x.y-z_1", &"x".repeat(64)] {
            assert!(is_tag_name(name), "{name}");
        }
        for name in ["", " vip", "a,b", "日本", "a\tb", &"x".repeat(65)] {
            assert!(!is_tag_name(name), "{name}");
        }
    }
}

//! Tags (contract `resources.md` §6).

use konverse_model::input::TagCreate;
use konverse_model::resource::{Tag, TagAttributes};
use konverse_model::{Document, Id, Instant, Kind, OrgId, Patch, TagId, UserId};
use konverse_store::{Changes, Space};

use crate::access::permissions::{CreateTags, ReadTags};
use crate::unit::{Draft, Stored};
use crate::{Authorized, Domain, DomainError};

pub(super) const TAG_NAME_RULE: &str =
    "must be a tag: 1 to 64 letters, digits, spaces or any of _ / < > - . and not begin with a space";

/// The tag pattern of contract `endpoints.md`.
pub(crate) fn is_tag_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || ('À'..='ÿ').contains(&c) || "_/<>-.".contains(c);
    let mut characters = name.chars();
    characters.next().is_some_and(word) && name.chars().count() <= 64 && characters.all(|c| word(c) || c == ' ')
}

impl Domain {
    /// One tag, as text.
    pub async fn tag(&self, auth: &Authorized<ReadTags>, id: TagId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Tag, id.0).await?.doc)
    }

    /// Creates a tag.
    pub async fn create_tag(&self, auth: &Authorized<CreateTags>, body: TagCreate) -> Result<Tag, DomainError> {
        let org = auth.org();
        let (applied, stored) = self
            .commit(|| async {
                let mut changes = Changes::new(org, self.now());
                let tag = self.new_tag_from(org, &mut changes, body.clone(), auth.actor().user, true).await?;
                Ok((changes, tag))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    pub(crate) async fn new_tag_from(
        &self,
        org: OrgId,
        changes: &mut Changes,
        body: TagCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<Stored<TagAttributes>, DomainError> {
        let now = changes.at;
        let name = body.name.0.unwrap_or_default();
        if !is_tag_name(&name) {
            return Err(DomainError::invalid("/name", TAG_NAME_RULE));
        }
        if look_up {
            self.check_free(org, Kind::Tag, body.id.0.map(Id::from), None).await?;
            self.check_name(org, Space::TagName, &name.to_lowercase(), "/name").await?;
        }
        let color = match body.color {
            Patch::Set(color) => Some(color),
            Patch::Keep | Patch::Clear => None,
        };
        let id = body.id.0.map_or_else(|| self.new_id(), Id::from);
        let mut tag = new_tag(id, org, name, color, author, now);
        if let Some(at) = body.created_at.0.filter(|at| *at <= now) {
            tag.attributes.created_at = at;
        }
        insert_tag(tag, author, changes)
    }
}

pub(super) fn new_tag(
    id: Id,
    org: OrgId,
    name: String,
    color: Option<String>,
    author: Option<UserId>,
    created_at: Instant,
) -> Tag {
    let attributes =
        TagAttributes { name, color, deleted: false, created_at, updated_at: created_at, modified_at: created_at };
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

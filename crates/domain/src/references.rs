//! The users, teams and tags that bodies refer to: looked up, and created where the contract says so.

use std::collections::HashMap;
use std::sync::Arc;

use konverse_model::resource::{Tag, TagAttributes};
use konverse_model::{Document, EventId, FieldError, Id, Instant, Kind, OrgId, TeamId, UserId};
use konverse_store::{Changes, Event, Hidden, Row, Space, Store};

use crate::{Domain, DomainError};

/// What one operation (or one import run) has learnt of its org's users, teams and tags.
pub(crate) struct References {
    store: Arc<dyn Store>,
    org: OrgId,
    known: HashMap<(Kind, Id), bool>,
    teams: HashMap<UserId, Vec<TeamId>>,
    tags: HashMap<String, Id>,
}

impl References {
    pub(crate) fn new(store: Arc<dyn Store>, org: OrgId) -> Self {
        Self { store, org, known: HashMap::new(), teams: HashMap::new(), tags: HashMap::new() }
    }

    async fn exists(&mut self, kind: Kind, id: Id) -> Result<bool, DomainError> {
        if let Some(known) = self.known.get(&(kind, id)) {
            return Ok(*known);
        }
        let exists = self.store.get(self.org, kind, id).await?.is_some();
        self.known.insert((kind, id), exists);
        Ok(exists)
    }

    /// Checks that every one of `ids` is a record of the org; names those that are not.
    pub(crate) async fn check<I>(
        &mut self,
        kind: Kind,
        ids: &[I],
        pointer: &str,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), DomainError>
    where
        I: Copy + Into<Id>,
    {
        for (n, id) in ids.iter().enumerate() {
            let id = (*id).into();
            if !self.exists(kind, id).await? {
                errors.push(FieldError::at(
                    format!("{pointer}/{n}"),
                    format!("names no {} of this org: {id}", kind.name()),
                ));
            }
        }
        Ok(())
    }

    /// Checks that `id`, when there is one, is a record of the org.
    pub(crate) async fn check_one<I>(
        &mut self,
        kind: Kind,
        id: Option<I>,
        pointer: &str,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), DomainError>
    where
        I: Into<Id>,
    {
        if let Some(id) = id.map(Into::into)
            && !self.exists(kind, id).await?
        {
            errors.push(FieldError::at(pointer, format!("names no {} of this org: {id}", kind.name())));
        }
        Ok(())
    }

    /// The teams of a user.
    pub(crate) async fn teams_of(&mut self, user: Option<UserId>) -> Result<Vec<TeamId>, DomainError> {
        let Some(user) = user else { return Ok(Vec::new()) };
        if let Some(teams) = self.teams.get(&user) {
            return Ok(teams.clone());
        }
        let teams = self.store.teams_of(self.org, &[user]).await?.pop().unwrap_or_default();
        self.teams.insert(user, teams.clone());
        Ok(teams)
    }

    /// The ids behind tag ids or names; unknown names become tags.
    #[expect(clippy::too_many_arguments, reason = "a new tag needs all of them, and the change it goes into")]
    pub(crate) async fn tags(
        &mut self,
        domain: &Domain,
        names: &[String],
        pointer: &str,
        author: Option<UserId>,
        now: Instant,
        changes: &mut Changes,
        errors: &mut Vec<FieldError>,
    ) -> Result<Vec<Id>, DomainError> {
        let mut ids = Vec::with_capacity(names.len());
        for (n, name) in names.iter().enumerate() {
            let id = match name.parse::<Id>() {
                Ok(id) => {
                    if !self.exists(Kind::Tag, id).await? {
                        errors
                            .push(FieldError::at(format!("{pointer}/{n}"), format!("names no tag of this org: {id}")));
                    }
                    id
                }
                Err(_) => match self.tag_named(domain, name, author, now, changes).await? {
                    Some(id) => id,
                    None => {
                        errors.push(FieldError::at(format!("{pointer}/{n}"), TAG_NAME_RULE));
                        continue;
                    }
                },
            };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    async fn tag_named(
        &mut self,
        domain: &Domain,
        name: &str,
        author: Option<UserId>,
        now: Instant,
        changes: &mut Changes,
    ) -> Result<Option<Id>, DomainError> {
        if !is_tag_name(name) {
            return Ok(None);
        }
        let folded = name.to_lowercase();
        if let Some(id) = self.tags.get(&folded) {
            return Ok(Some(*id));
        }
        let held = self.store.holders(self.org, &[(Space::TagName, folded.clone())]).await?.pop().flatten();
        let id = match held {
            Some(id) => {
                self.tags.insert(folded, id);
                id
            }
            None => {
                // Within one body the name may come twice; within one change the tag is made once.
                if let Some((_, _, id)) =
                    changes.claims.iter().find(|(space, value, _)| *space == Space::TagName && *value == folded)
                {
                    return Ok(Some(*id));
                }
                let tag = new_tag(domain.new_id(), self.org, name.to_owned(), None, author, now);
                let id = tag.id;
                insert_tag(&tag, author, domain.new_event_id(now), changes);
                id
            }
        };
        Ok(Some(id))
    }
}

pub(crate) const TAG_NAME_RULE: &str =
    "must be a tag: 1 to 64 letters, digits, spaces or any of _ / < > - . and not begin with a space";

/// The tag pattern of contract `endpoints.md`.
pub(crate) fn is_tag_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || ('À'..='ÿ').contains(&c) || "_/<>-.".contains(c);
    let mut characters = name.chars();
    characters.next().is_some_and(word) && name.chars().count() <= 64 && characters.all(|c| word(c) || c == ' ')
}

pub(crate) fn new_tag(
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

pub(crate) fn insert_tag(tag: &Tag, author: Option<UserId>, event: EventId, changes: &mut Changes) {
    let attributes = &tag.attributes;
    changes.claim(Space::TagName, attributes.name.to_lowercase(), tag.id);
    changes.insert(Row {
        kind: Kind::Tag,
        id: tag.id,
        customer: None,
        conversation: None,
        hidden: Hidden::No,
        rev: 1,
        created_at: attributes.created_at,
        updated_at: attributes.updated_at,
        wake_at: None,
        external_id: None,
        label: None,
        doc: tag.to_text(),
        state: None,
    });
    changes.events.push(Event {
        id: event,
        at: attributes.updated_at,
        verb: "create",
        kind: Kind::Tag,
        object: tag.id,
        customer: None,
        actor: author,
        rev: 1,
        changes: None,
    });
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

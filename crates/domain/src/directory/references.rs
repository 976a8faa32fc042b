//! The users, teams and tags that bodies refer to: looked up, and created where the contract says so.

use std::collections::HashMap;
use std::sync::Arc;

use konverse_model::{FieldError, Id, Kind, OrgId, TeamId, UserId};
use konverse_store::{Changes, Space, Store};

use super::tags::{TAG_NAME_RULE, insert_tag, is_tag_name, new_tag};
use crate::{Actor, Domain, DomainError};

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

    /// Notes the teams of a user, as they were just read.
    pub(crate) fn know_teams(&mut self, user: UserId, teams: Vec<TeamId>) {
        self.teams.insert(user, teams);
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
    pub(crate) async fn tags(
        &mut self,
        domain: &Domain,
        names: &[String],
        pointer: &str,
        author: Option<UserId>,
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
                Err(_) => match self.tag_named(domain, name, author, changes).await? {
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
                if let Some(id) = changes.claimant(Space::TagName, &folded) {
                    return Ok(Some(id));
                }
                let tag = new_tag(domain.new_id(), self.org, name.to_owned(), None, author, changes.at);
                let id = tag.id;
                insert_tag(tag, author, changes)?;
                id
            }
        };
        Ok(Some(id))
    }
}

impl Domain {
    /// Who acts, for what snapshots repeat of them.
    pub(crate) async fn author(&self, actor: &Actor, references: &mut References) -> Result<Author, DomainError> {
        Ok(Author { user: actor.user, teams: references.teams_of(actor.user).await? })
    }
}

/// Who acts, with what a snapshot repeats of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Author {
    pub(crate) user: Option<UserId>,
    pub(crate) teams: Vec<TeamId>,
}

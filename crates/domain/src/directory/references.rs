//! The users, teams and tags that bodies refer to: looked up, and created where the contract says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use konverse_model::input::{CustomType, check_custom, escaped};
use konverse_model::mask::{Masks, is_masked};
use konverse_model::resource::Object;
use konverse_model::{FieldError, Id, Kind, OrgId, TeamId, UserId};
use konverse_store::{Changes, Space, Store};

use super::tags::{TAG_NAME_RULE, insert_tag, is_tag_name, new_tag};
use crate::metadata::{Names, check_value, is_several, target};
use crate::{Actor, Domain, DomainError};

/// What one operation (or one import run) has learnt of its org's users, teams and tags.
pub(crate) struct References {
    store: Arc<dyn Store>,
    org: OrgId,
    known: HashMap<(Kind, Id), bool>,
    teams: HashMap<UserId, Vec<TeamId>>,
    tags: HashMap<String, Id>,
    /// Whose custom attributes are checked; those of files are taken as they were elsewhere.
    asking: Option<Asking>,
    /// Custom attributes that came as they are shown to who must not see them: they stay as they are stored.
    kept: BTreeSet<String>,
    /// Custom attributes that nobody has defined yet.
    undefined: Names,
}

/// Who sends custom attributes.
struct Asking {
    described: Option<i64>,
    masks: Option<Arc<Masks>>,
}

impl References {
    /// Of an import, or where no custom attributes are sent.
    pub(crate) fn new(store: Arc<dyn Store>, org: OrgId) -> Self {
        Self {
            store,
            org,
            known: HashMap::new(),
            teams: HashMap::new(),
            tags: HashMap::new(),
            asking: None,
            kept: BTreeSet::new(),
            undefined: Names::new(),
        }
    }

    /// Of a body that an actor sends.
    pub(crate) fn of(store: Arc<dyn Store>, actor: &Actor) -> Self {
        let asking = Asking { described: actor.described, masks: actor.masks.clone() };
        Self { asking: Some(asking), ..Self::new(store, actor.org) }
    }

    /// Definitions that are older than this do not count.
    pub(crate) fn at_least(&mut self, described: Option<i64>) {
        if let Some(asking) = &mut self.asking {
            // What has no version is checked against what is defined now.
            asking.described = asking.described.zip(described).map(|(one, other)| one.max(other));
        }
    }

    /// Checks custom attributes against their definitions. `stored` says whether they are merged into those of a record.
    pub(crate) async fn custom(
        &mut self,
        domain: &Domain,
        kind: Kind,
        custom: &mut Object,
        stored: bool,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), DomainError> {
        if custom.is_empty() {
            return Ok(());
        }
        let Some(Asking { described, masks }) = &self.asking else {
            check_custom("/custom", custom, |_| true, errors);
            return Ok(());
        };
        if let Some(masks) = masks.as_ref().filter(|_| stored) {
            custom.retain(|name, value| {
                let is_kept = is_masked(value) && masks.of(kind, name).is_some();
                if is_kept {
                    self.kept.insert(name.clone());
                }
                !is_kept
            });
        }
        let mut known = domain.definitions(self.org, *described).await?;
        let given = |value: &serde_json::Value| !value.is_null();
        if custom.iter().any(|(name, value)| given(value) && known.of(kind, name).is_none()) {
            known = domain.definitions(self.org, None).await?;
        }
        let before = errors.len();
        check_custom("/custom", custom, |name| known.of(kind, name).is_some_and(is_several), errors);
        if errors.len() > before {
            return Ok(());
        }
        for (name, value) in custom.iter().filter(|(_, value)| given(value)) {
            let Some(custom_type) = CustomType::of(name) else { continue };
            let pointer = || format!("/custom/{}", escaped(name));
            let Some(definition) = known.of(kind, name) else {
                if custom_type == CustomType::Id {
                    let message = "must be defined before it is used: its definition says what the ids refer to";
                    errors.push(FieldError::at(pointer(), message));
                } else {
                    self.undefined.entry(kind).or_default().insert(name.clone());
                }
                continue;
            };
            if let Err(message) = check_value(definition, custom_type, value) {
                errors.push(FieldError::at(pointer(), message));
            } else if let Some((target, ids)) = target(definition, value).filter(|_| custom_type == CustomType::Id) {
                for id in ids {
                    self.check_one(target, Some(id), &pointer(), errors).await?;
                }
            }
        }
        Ok(())
    }

    /// Forgets a record's custom attributes, which a body replaces.
    pub(crate) fn clear_custom(&self, custom: &mut Object) {
        custom.retain(|name, _| self.kept.contains(name));
    }

    /// Adds what it takes to define the custom attributes that nobody has defined yet, which most often are none.
    pub(crate) async fn define(
        &mut self,
        domain: &Domain,
        author: Option<UserId>,
        changes: &mut Changes,
    ) -> Result<(), DomainError> {
        if self.undefined.is_empty() {
            return Ok(());
        }
        domain.define(self.org, &std::mem::take(&mut self.undefined), author, changes).await
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

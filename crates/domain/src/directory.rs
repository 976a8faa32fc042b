//! Users, teams and tags: what the other records refer to (contract `resources.md` §6–8).

use konverse_model::input::{TagCreate, TeamCreate, UserCreate};
use konverse_model::resource::{PasswordPolicy, Tag, Team, TeamAttributes, User, UserAttributes};
use konverse_model::{Attributes, Document, Id, Instant, Kind, OrgId, Patch, TagId, TeamId, UserId};
use konverse_store::{Changes, Event, Hidden, Membership, Row, Space};

use crate::access::permissions::{Anyone, CreateTags, CreateTeams, CreateUsers, ReadTags, ReadTeams, ReadUsers};
use crate::references::{References, TAG_NAME_RULE, insert_tag, is_tag_name, new_tag};
use crate::{Authorized, Domain, DomainError};

/// Which users a list is asked for; the contract does not combine them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserFilter {
    /// Active ones.
    #[default]
    Active,
    /// Of one type.
    Type(String),
    /// The one with this address.
    Email(String),
    /// Deactivated ones.
    Deleted,
    /// Invited ones who have not signed in yet. Nobody signs in here, so there are none.
    Pending,
}

/// The row of a record that is created once and read whole.
pub(crate) fn small_row<A: Attributes>(
    doc: &Document<A>,
    created_at: Instant,
    updated_at: Instant,
    label: Option<String>,
) -> Row {
    Row {
        kind: A::KIND,
        id: doc.id,
        customer: None,
        conversation: None,
        hidden: Hidden::No,
        rev: 1,
        created_at,
        updated_at,
        wake_at: None,
        external_id: None,
        label,
        doc: doc.to_text(),
        state: None,
    }
}

impl Domain {
    fn creation<A: Attributes>(&self, doc: &Document<A>, actor: Option<UserId>, now: Instant) -> Event {
        Event {
            id: self.new_event_id(now),
            at: now,
            verb: "create",
            kind: A::KIND,
            object: doc.id,
            customer: None,
            actor,
            rev: 1,
            changes: None,
        }
    }

    async fn check_name(&self, org: OrgId, space: Space, value: &str, pointer: &str) -> Result<(), DomainError> {
        match self.store.holders(org, &[(space, value.to_owned())]).await?.pop().flatten() {
            Some(holder) => Err(DomainError::conflict(pointer, format!("is already used by {holder}"))),
            None => Ok(()),
        }
    }

    /// One user, as text.
    pub async fn user(&self, auth: &Authorized<ReadUsers>, id: UserId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::User, id.0).await?.doc)
    }

    /// Several users, as texts, in the order asked; unknown ids are left out.
    pub async fn users(&self, auth: &Authorized<ReadUsers>, ids: &[UserId]) -> Result<Vec<String>, DomainError> {
        let ids: Vec<Id> = ids.iter().map(|id| id.0).collect();
        let rows = self.store.get_many(auth.org(), Kind::User, &ids).await?;
        Ok(rows.into_iter().filter(Row::shows).map(|row| row.doc).collect())
    }

    /// The caller's own user, as text.
    pub async fn current_user(&self, auth: &Authorized<Anyone>) -> Result<String, DomainError> {
        let user = auth.actor().user.ok_or(DomainError::Unauthorized("No user behind this credential"))?;
        Ok(self.row(auth.org(), Kind::User, user.0).await?.doc)
    }

    /// Creates a user. Nobody is invited: konverse has no sign-in and sends no mail.
    pub async fn create_user(&self, auth: &Authorized<CreateUsers>, body: UserCreate) -> Result<User, DomainError> {
        let org = auth.org();
        let held = |role: &String| auth.actor().holds(role);
        self.commit(|| async {
            let mut body = body.clone();
            // "Requested roles are cut down to the inviter's own" (contract README §4).
            let roles = body.roles.take().unwrap_or_else(|| vec!["org.admin".into(), "org.user".into()]);
            body.roles.0 = Some(roles.into_iter().filter(held).collect());
            let mut changes = Changes::new(org);
            let user = self.new_user(org, &mut changes, body, auth.actor().user, true).await?;
            Ok((changes, user))
        })
        .await
    }

    pub(crate) async fn new_user(
        &self,
        org: OrgId,
        changes: &mut Changes,
        body: UserCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<User, DomainError> {
        let now = self.now();
        let email = body.email.0.unwrap_or_default();
        if look_up {
            self.check_free(org, Kind::User, body.id.0.map(Id::from), None).await?;
            self.check_name(org, Space::UserEmail, &email.to_lowercase(), "/email").await?;
        }
        let created_at = body.created_at.0.filter(|at| *at <= now).unwrap_or(now);
        let user_type = body.user_type.0.unwrap_or_default();
        let attributes = UserAttributes {
            display_name: body.display_name.given(),
            name: body.name.0.unwrap_or_default(),
            email: email.clone(),
            user_type,
            mobile: body.mobile.given(),
            avatar_url: body.avatar_url.given(),
            email_signature: body.email_signature.given(),
            email_verified_at: None,
            is_email_valid: true,
            password: PasswordPolicy::default(),
            roles: body.roles.0.unwrap_or_default(),
            role_groups: body.role_groups.0.unwrap_or_default(),
            created_at,
            updated_at: now,
            modified_at: now,
        };
        let mut user = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        user.relationships.set_one("createdBy", Kind::User, author.map(Id::from));
        user.relationships.set_one("modifiedBy", Kind::User, author.map(Id::from));
        changes.claim(Space::UserEmail, email.to_lowercase(), user.id);
        changes.insert(small_row(&user, created_at, now, Some(user_type.name().to_owned())));
        changes.events.push(self.creation(&user, author, now));
        Ok(user)
    }

    /// One team, as text.
    pub async fn team(&self, auth: &Authorized<ReadTeams>, id: TeamId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Team, id.0).await?.doc)
    }

    /// The teams of a user, as texts.
    pub async fn teams_of_user(&self, auth: &Authorized<ReadTeams>, user: UserId) -> Result<Vec<String>, DomainError> {
        self.row(auth.org(), Kind::User, user.0).await?;
        let teams = self.store.teams_of(auth.org(), &[user]).await?.pop().unwrap_or_default();
        let ids: Vec<Id> = teams.into_iter().map(Id::from).collect();
        let rows = self.store.get_many(auth.org(), Kind::Team, &ids).await?;
        Ok(rows.into_iter().filter(Row::shows).map(|row| row.doc).collect())
    }

    /// Creates a team.
    pub async fn create_team(&self, auth: &Authorized<CreateTeams>, body: TeamCreate) -> Result<Team, DomainError> {
        let org = auth.org();
        self.commit(|| async {
            let mut changes = Changes::new(org);
            let mut references = References::new(self.store.clone(), org);
            let team = self.new_team(org, &mut references, &mut changes, body.clone(), auth.actor().user, true).await?;
            Ok((changes, team))
        })
        .await
    }

    pub(crate) async fn new_team(
        &self,
        org: OrgId,
        references: &mut References,
        changes: &mut Changes,
        body: TeamCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<Team, DomainError> {
        let now = self.now();
        let name = body.name.0.unwrap_or_default();
        if look_up {
            self.check_free(org, Kind::Team, body.id.0.map(Id::from), None).await?;
            self.check_name(org, Space::TeamName, &name.to_lowercase(), "/name").await?;
            if let Some(external_id) = &body.external_id.0 {
                self.check_name(org, Space::TeamExternalId, external_id, "/externalId").await?;
            }
        }
        let members = body.members.0.unwrap_or_default();
        let mut errors = Vec::new();
        references.check(Kind::User, &members, "/members", &mut errors).await?;
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let created_at = body.created_at.0.filter(|at| *at <= now).unwrap_or(now);
        let attributes = TeamAttributes {
            name: name.clone(),
            display_name: body.display_name.given(),
            icon: body.icon.given(),
            members: members.clone(),
            role_groups: Vec::new(),
            external_id: body.external_id.0,
            imported_at: body.imported_at.0,
            created_at,
            updated_at: now,
            modified_at: now,
        };
        let mut team = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        team.relationships.set_one("createdBy", Kind::User, author.map(Id::from));
        team.relationships.set_one("modifiedBy", Kind::User, author.map(Id::from));
        changes.claim(Space::TeamName, name.to_lowercase(), team.id);
        if let Some(external_id) = &team.attributes.external_id {
            changes.claim(Space::TeamExternalId, external_id.clone(), team.id);
        }
        changes.memberships.extend(members.into_iter().map(|user| Membership { user, team: TeamId(team.id) }));
        changes.insert(small_row(&team, created_at, now, None));
        changes.events.push(self.creation(&team, author, now));
        Ok(team)
    }

    /// One tag, as text.
    pub async fn tag(&self, auth: &Authorized<ReadTags>, id: TagId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Tag, id.0).await?.doc)
    }

    /// Creates a tag.
    pub async fn create_tag(&self, auth: &Authorized<CreateTags>, body: TagCreate) -> Result<Tag, DomainError> {
        let org = auth.org();
        self.commit(|| async {
            let mut changes = Changes::new(org);
            let tag = self.new_tag_from(org, &mut changes, body.clone(), auth.actor().user, true).await?;
            Ok((changes, tag))
        })
        .await
    }

    pub(crate) async fn new_tag_from(
        &self,
        org: OrgId,
        changes: &mut Changes,
        body: TagCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<Tag, DomainError> {
        let now = self.now();
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
        insert_tag(&tag, author, self.new_event_id(now), changes);
        Ok(tag)
    }
}

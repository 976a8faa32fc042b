//! Teams (contract `resources.md` §8).

use konverse_model::input::TeamCreate;
use konverse_model::resource::{Team, TeamAttributes};
use konverse_model::{Document, Id, Kind, OrgId, TeamId, UserId};
use konverse_store::{Changes, Membership, Op, Space};

use super::References;
use crate::access::permissions::{CreateTeams, ReadTeams};
use crate::unit::{Draft, Stored};
use crate::{Authorized, Domain, DomainError, ListRequest, WholePage};

impl Domain {
    /// One team, as text.
    pub async fn team(&self, auth: &Authorized<ReadTeams>, id: TeamId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Team, id.0).await?.doc)
    }

    /// The teams of a user.
    pub async fn teams_of_user(
        &self,
        auth: &Authorized<ReadTeams>,
        user: UserId,
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        self.row(auth.org(), Kind::User, user.0).await?;
        let teams = self.store.teams_of(auth.org(), &[user]).await?.pop().unwrap_or_default();
        let ids: Vec<Id> = teams.into_iter().map(Id::from).collect();
        self.page_of(auth.actor(), Kind::Team, &ids, "pageSize", request).await
    }

    /// Creates a team.
    pub async fn create_team(&self, auth: &Authorized<CreateTeams>, body: TeamCreate) -> Result<Team, DomainError> {
        let org = auth.org();
        let (applied, stored) = self
            .commit(|| async {
                let mut changes = Changes::new(org, self.now());
                let mut references = References::new(self.store.clone(), org);
                let (body, author) = (body.clone(), auth.actor().user);
                let team = self.new_team(org, &mut references, &mut changes, body, author, true).await?;
                Ok((changes, team))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    pub(crate) async fn new_team(
        &self,
        org: OrgId,
        references: &mut References,
        changes: &mut Changes,
        body: TeamCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<Stored<TeamAttributes>, DomainError> {
        let now = changes.at;
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
        let places = members.into_iter().map(|user| Membership { user, team: TeamId(team.id) });
        changes.ops.extend(places.map(Op::Join));
        Draft::new(team).finish(author, changes)
    }
}

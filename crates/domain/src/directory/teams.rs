//! Teams (contract `resources.md` §8).

use konverse_model::input::{TeamCreate, TeamUpdate};
use konverse_model::resource::{Team, TeamAttributes};
use konverse_model::{Id, Instant, Kind, TeamId, UserId};
use konverse_store::{Op, Space};

use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Imported, Name, NoFilter, Only};
use crate::access::permissions::{CreateTeams, DeleteTeams, ReadTeams, UpdateTeams};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError, ListRequest, WholePage};

/// Most members of a team.
const MOST_MEMBERS: usize = 1000;

/// What becomes of the users named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// They become members.
    Begins,
    /// They are members no longer.
    Ends,
}

impl Domain {
    /// Takes users into a team or out of it; those who are where they shall be stay there.
    pub async fn change_members(
        &self,
        auth: &Authorized<UpdateTeams>,
        team: TeamId,
        users: Vec<UserId>,
        membership: Membership,
    ) -> Result<Team, DomainError> {
        let (applied, stored) = self
            .commit(|| async {
                let (mut references, mut changes) = self.blank(auth.actor());
                let mut desk = Desk::at(self, auth.actor(), &mut references, &mut changes);
                let mut draft = desk.open::<TeamAttributes>(team.0, false).await?;
                let mut members = draft.doc.attributes.members.clone();
                match membership {
                    Membership::Begins => {
                        for user in &users {
                            if !members.contains(user) {
                                members.push(*user);
                            }
                        }
                    }
                    Membership::Ends => members.retain(|user| !users.contains(user)),
                }
                desk.check_users(&users).await?;
                desk.seat(&mut draft, members).await?;
                let stored = desk.keep(draft).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(stored.settle(&applied))
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
}

impl Entry for TeamAttributes {
    type Create = TeamCreate;
    type Filter = NoFilter;
    type MayRead = ReadTeams;

    fn names(&self) -> Vec<Name> {
        let external_id = self.external_id.as_ref();
        let external_id = external_id.map(|id| Name::exact(Space::TeamExternalId, id, "/externalId"));
        [Name::folded(Space::TeamName, &self.name, "/name")].into_iter().chain(external_id).collect()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(body: &TeamCreate) -> Option<Id> {
        body.id.0.map(Id::from)
    }

    async fn fresh(desk: &mut Desk<'_>, body: TeamCreate) -> Result<Team, DomainError> {
        let members = body.members.0.unwrap_or_default();
        desk.check_users(&members).await?;
        let role_groups = body.role_groups.0.unwrap_or_default();
        desk.check_groups(&role_groups, &[]).await?;
        let attributes = TeamAttributes {
            name: body.name.0.unwrap_or_default(),
            display_name: body.display_name.given(),
            icon: body.icon.given(),
            members,
            role_groups,
            external_id: body.external_id.0,
            imported_at: body.imported_at.0,
            created_at: desk.created_at(body.created_at.0),
            updated_at: desk.now(),
            modified_at: desk.now(),
        };
        Ok(desk.document(body.id.0, attributes))
    }

    fn gives(&self) -> (String, Vec<Id>) {
        (String::new(), self.role_groups.clone())
    }

    /// Members have their places as long as the team shows.
    async fn settle(desk: &mut Desk<'_>, draft: &mut Draft<Self>) -> Result<(), DomainError> {
        let team = TeamId(draft.doc.id);
        let none: &[UserId] = &[];
        let before = draft.before().filter(|_| draft.showed()).map_or(none, |before| &before.attributes.members);
        let after = if draft.shows() { draft.doc.attributes.members.as_slice() } else { none };
        let place = |user: &UserId| konverse_store::Membership { user: *user, team };
        let left = before.iter().filter(|user| !after.contains(user)).map(place).map(Op::Leave);
        let joined = after.iter().filter(|user| !before.contains(user)).map(place).map(Op::Join);
        desk.changes.ops.extend(left.chain(joined));
        Ok(())
    }
}

impl Creatable for TeamAttributes {
    type MayCreate = CreateTeams;
}

impl Desk<'_> {
    async fn check_users(&mut self, users: &[UserId]) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        self.references.check(Kind::User, users, "/members", &mut errors).await?;
        if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
    }

    /// Gives a team these members. Who is new among them gets what the team gives.
    async fn seat(&mut self, draft: &mut Draft<TeamAttributes>, members: Vec<UserId>) -> Result<(), DomainError> {
        let it = &mut draft.doc.attributes;
        if members.len() > MOST_MEMBERS && members.len() > it.members.len() {
            return Err(DomainError::invalid("/members", format!("would be more than {MOST_MEMBERS}")));
        }
        if members.iter().any(|user| !it.members.contains(user)) {
            self.check_joining(&it.role_groups).await?;
        }
        it.members = members;
        Ok(())
    }
}

impl Changeable for TeamAttributes {
    type MayUpdate = UpdateTeams;
    type Update = TeamUpdate;

    async fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: TeamUpdate,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.display_name.or_clear();
            body.icon.or_clear();
            body.external_id.or_clear();
            body.members.0.get_or_insert_default();
            body.role_groups.0.get_or_insert_default();
        }
        let it = &mut draft.doc.attributes;
        body.name.put(&mut it.name);
        body.display_name.put(&mut it.display_name);
        body.icon.put(&mut it.icon);
        body.external_id.put(&mut it.external_id);
        if let Some(groups) = body.role_groups.0 {
            desk.check_groups(&groups, &it.role_groups).await?;
            it.role_groups = groups;
        }
        if let Some(members) = body.members.0 {
            desk.check_users(&members).await?;
            desk.seat(draft, members).await?;
        }
        Ok(())
    }
}

impl Deletable for TeamAttributes {
    type MayDelete = DeleteTeams;
}

impl Imported for TeamAttributes {
    fn known_by(body: &TeamCreate) -> Option<(Space, String)> {
        body.name.0.as_ref().map(|name| (Space::TeamName, name.to_lowercase()))
    }

    fn stamp(body: &mut TeamCreate, at: Instant) {
        body.imported_at.0.get_or_insert(at);
    }
}

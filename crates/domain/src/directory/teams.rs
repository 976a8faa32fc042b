//! Teams (contract `resources.md` §8).

use konverse_model::input::TeamCreate;
use konverse_model::resource::{Team, TeamAttributes};
use konverse_model::{Id, Instant, Kind, TeamId, UserId};
use konverse_store::{Membership, Op, Space};

use super::entry::{Creatable, Desk, Entry, Imported, Name, NoFilter, Only};
use crate::access::permissions::{CreateTeams, ReadTeams};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError, ListRequest, WholePage};

impl Domain {
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
        let mut errors = Vec::new();
        desk.references.check(Kind::User, &members, "/members", &mut errors).await?;
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let attributes = TeamAttributes {
            name: body.name.0.unwrap_or_default(),
            display_name: body.display_name.given(),
            icon: body.icon.given(),
            members,
            role_groups: Vec::new(),
            external_id: body.external_id.0,
            imported_at: body.imported_at.0,
            created_at: desk.created_at(body.created_at.0),
            updated_at: desk.now(),
            modified_at: desk.now(),
        };
        Ok(desk.document(body.id.0, attributes))
    }

    /// Members have their places as long as the team shows.
    async fn settle(desk: &mut Desk<'_>, draft: &mut Draft<Self>) -> Result<(), DomainError> {
        let team = TeamId(draft.doc.id);
        let none: &[UserId] = &[];
        let before = draft.before().filter(|_| draft.showed()).map_or(none, |before| &before.attributes.members);
        let after = if draft.shows() { draft.doc.attributes.members.as_slice() } else { none };
        let place = |user: &UserId| Membership { user: *user, team };
        let left = before.iter().filter(|user| !after.contains(user)).map(place).map(Op::Leave);
        let joined = after.iter().filter(|user| !before.contains(user)).map(place).map(Op::Join);
        desk.changes.ops.extend(left.chain(joined));
        Ok(())
    }
}

impl Creatable for TeamAttributes {
    type MayCreate = CreateTeams;
}

impl Imported for TeamAttributes {
    fn known_by(body: &TeamCreate) -> Option<(Space, String)> {
        body.name.0.as_ref().map(|name| (Space::TeamName, name.to_lowercase()))
    }

    fn stamp(body: &mut TeamCreate, at: Instant) {
        body.imported_at.0.get_or_insert(at);
    }
}

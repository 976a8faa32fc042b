//! Users, teams, role groups and tags.

use axum::extract::State;
use konverse_domain::permissions::{Anyone, CreateRoleGroups, ReadRoleGroups, ReadTeams, UpdateTeams, UpdateUsers};
use konverse_domain::{Listed, Membership, NoFilter, TagFilter, UserFilter};
use konverse_model::input::{
    OWN_USER_UPDATE, ROLE_GROUP_CREATE, ROLE_GROUP_UPDATE, RoleGroupBody, Shape, TAG_CREATE, TAG_UPDATE, TEAM_CREATE,
    TEAM_MEMBERS, TEAM_REPLACE, TEAM_UPDATE, TagCreate, TagUpdate, TeamCreate, TeamUpdate, USER_CREATE, USER_UPDATE,
    UserCreate,
};
use konverse_model::resource::{RoleGroupAttributes, TagAttributes, TeamAttributes, UserAttributes};
use konverse_model::{Id, TeamId, UserId};
use serde_json::json;

use crate::App;
use crate::answer;
use crate::browser::Whence;
use crate::entry::{Answered, Changed, Made, Served, created, deleted, listed, patched, read, read_several, replaced};
use crate::error::{ApiError, Code};
use crate::extract::{Caller, JsonBody, PathId, Query};
use crate::list::{MOST, MOST_OF_DIRECTORY, Paging};
use crate::operation::Operation;

const USER_TYPES: [&str; 4] = ["user", "machine", "limited", "hourly"];

impl Served for UserAttributes {
    const MOST: u32 = MOST_OF_DIRECTORY;

    /// The filters do not combine: the narrowest that is given counts. All of them are read, so that a wrong one is told.
    fn filter(query: &Query, paging: &mut Paging) -> Result<UserFilter, ApiError> {
        let user_type = query.get("userType");
        if user_type.as_ref().is_some_and(|name| !USER_TYPES.contains(&name.as_str())) {
            return Err(ApiError::parameter("userType", "must be user, machine, limited or hourly"));
        }
        let (deleted, pending) = (query.flag("deleted")?, query.flag("pending")?);
        if let Some(email) = query.get("email") {
            paging.repeat("email", &email);
            return Ok(UserFilter::Email(email));
        }
        if let Some(user_type) = user_type {
            paging.repeat("userType", &user_type);
            return Ok(UserFilter::Type(user_type));
        }
        if deleted == Some(true) {
            paging.repeat("deleted", "true");
            return Ok(UserFilter::Deleted);
        }
        if pending == Some(true) {
            paging.repeat("pending", "true");
            return Ok(UserFilter::Pending);
        }
        Ok(UserFilter::Active)
    }
}

impl Made for UserAttributes {
    fn body() -> &'static Shape<UserCreate> {
        &USER_CREATE
    }
}

impl Served for TeamAttributes {
    const MOST: u32 = MOST_OF_DIRECTORY;
}

impl Made for TeamAttributes {
    fn body() -> &'static Shape<TeamCreate> {
        &TEAM_CREATE
    }
}

impl Changed for TeamAttributes {
    fn patch() -> &'static Shape<TeamUpdate> {
        &TEAM_UPDATE
    }

    fn put() -> &'static Shape<TeamUpdate> {
        &TEAM_REPLACE
    }
}

impl Served for RoleGroupAttributes {}

impl Changed for RoleGroupAttributes {
    fn patch() -> &'static Shape<RoleGroupBody> {
        &ROLE_GROUP_UPDATE
    }
}

impl Served for TagAttributes {
    fn filter(query: &Query, paging: &mut Paging) -> Result<TagFilter, ApiError> {
        let deleted = query.flag("deleted")?;
        if let Some(deleted) = deleted {
            paging.repeat("deleted", if deleted { "true" } else { "false" });
        }
        Ok(TagFilter { deleted: deleted.unwrap_or(false) })
    }
}

impl Made for TagAttributes {
    fn body() -> &'static Shape<TagCreate> {
        &TAG_CREATE
    }
}

impl Changed for TagAttributes {
    fn patch() -> &'static Shape<TagUpdate> {
        &TAG_UPDATE
    }
}

async fn current_user(Caller(auth): Caller<Anyone>, State(app): State<App>) -> Answered {
    Ok(answer::one(&app.domain().current_user(&auth).await?))
}

/// 201, as the contract has it.
async fn update_user(
    Caller(auth): Caller<UpdateUsers>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    let body = body.read(&USER_UPDATE)?;
    Ok(answer::created(&app.domain().update_entry::<UserAttributes>(&auth, id, body, replace).await?))
}

async fn update_current_user(
    Caller(auth): Caller<Anyone>,
    State(app): State<App>,
    whence: Whence,
    body: JsonBody,
) -> Answered {
    let body = body.read(&OWN_USER_UPDATE)?;
    Ok(answer::record(&app.domain().update_current_user(&auth, body, whence.address).await?))
}

async fn add_members(
    Caller(auth): Caller<UpdateTeams>,
    State(app): State<App>,
    PathId(id): PathId<TeamId>,
    body: JsonBody,
) -> Answered {
    let users = body.read(&TEAM_MEMBERS)?.members.0.unwrap_or_default();
    Ok(answer::record(&app.domain().change_members(&auth, id, users, Membership::Begins).await?))
}

async fn remove_members(
    Caller(auth): Caller<UpdateTeams>,
    State(app): State<App>,
    PathId(id): PathId<TeamId>,
    body: JsonBody,
) -> Answered {
    let users = body.read(&TEAM_MEMBERS)?.members.0.unwrap_or_default();
    Ok(answer::record(&app.domain().change_members(&auth, id, users, Membership::Ends).await?))
}

/// 200, as the contract has it.
async fn create_role_group(Caller(auth): Caller<CreateRoleGroups>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&ROLE_GROUP_CREATE)?;
    Ok(answer::record(&app.domain().create_entry::<RoleGroupAttributes>(&auth, body).await?))
}

async fn list_role_groups(Caller(auth): Caller<ReadRoleGroups>, State(app): State<App>, query: Query) -> Answered {
    let paging = Paging::of(&query, MOST)?;
    app.domain().found_role_groups(&auth).await?;
    Ok(match app.domain().list_entries::<RoleGroupAttributes>(&auth, NoFilter, paging.request()).await? {
        Listed::Page(page) => paging.answer(page),
        Listed::Whole(page) => paging.answer_whole(page),
    })
}

async fn teams_of_user(
    Caller(auth): Caller<ReadTeams>,
    State(app): State<App>,
    PathId(id): PathId<UserId>,
    query: Query,
) -> Answered {
    let paging = Paging::of_whole(&query, MOST_OF_DIRECTORY)?;
    Ok(paging.answer_whole(app.domain().teams_of_user(&auth, id, paging.request()).await?))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        listed::<UserAttributes>("/v1/users", "list-users", "The org's users; machine users are among them")
            .details("Filters do not combine: of those given, the first in this list counts.")
            .param("email", "string", "Only the user with this address.")
            .param("userType", "string", "Only users of this type.")
            .limit("enum", json!(USER_TYPES))
            .param("deleted", "boolean", "Only deactivated users.")
            .param("pending", "boolean", "Only invited users who have not signed in."),
        created::<UserAttributes>("/v1/users", "create-user", "Creates a user"),
        Operation::get("/v1/users/current", "read-current-user", "The user behind the token", current_user)
            .answers_one::<UserAttributes>(),
        Operation::put(
            "/v1/users/current",
            "update-current-user",
            "Changes the user behind the token; a new password needs the one so far",
            update_current_user,
        )
        .without_replace()
        .body(&OWN_USER_UPDATE)
        .answers_one::<UserAttributes>(),
        Operation::put(
            "/v1/users/{id}",
            "update-user",
            "Changes a user; `deleted` deactivates or restores them",
            update_user,
        )
        .status(201)
        .roles::<UpdateUsers>()
        .body(&USER_UPDATE)
        .answers_one::<UserAttributes>(),
        read_several::<UserAttributes>(
            "/v1/users/{id}",
            "read-user",
            "A user; several, as a list, when ids are joined by commas",
        ),
        Operation::get("/v1/users/{id}/teams", "list-user-teams", "The teams of a user", teams_of_user)
            .most(MOST_OF_DIRECTORY)
            .roles::<ReadTeams>()
            .answers_whole_list::<TeamAttributes>(),
        listed::<TeamAttributes>("/v1/teams", "list-teams", "The org's teams"),
        created::<TeamAttributes>("/v1/teams", "create-team", "Creates a team"),
        read::<TeamAttributes>("/v1/teams/{id}", "read-team", "A team"),
        replaced::<TeamAttributes>("/v1/teams/{id}", "put-team", "Changes a team"),
        patched::<TeamAttributes>("/v1/teams/{id}", "update-team", "Changes a team"),
        deleted::<TeamAttributes>("/v1/teams/{id}", "delete-team", "Deletes a team"),
        Operation::post("/v1/teams/{id}/members", "add-team-members", "Takes users into a team", add_members)
            .status(200)
            .roles::<UpdateTeams>()
            .body(&TEAM_MEMBERS)
            .answers_one::<TeamAttributes>(),
        Operation::delete("/v1/teams/{id}/members", "remove-team-members", "Takes users out of a team", remove_members)
            .status(200)
            .roles::<UpdateTeams>()
            .body(&TEAM_MEMBERS)
            .answers_one::<TeamAttributes>(),
        Operation::get(
            "/v1/role-groups",
            "list-role-groups",
            "The org's role groups, those that come with konverse among them",
            list_role_groups,
        )
        .roles::<ReadRoleGroups>()
        .answers_list::<RoleGroupAttributes>(),
        Operation::post("/v1/role-groups", "create-role-group", "Creates a role group", create_role_group)
            .status(200)
            .roles::<CreateRoleGroups>()
            .refuses(Code::Conflict)
            .body(&ROLE_GROUP_CREATE)
            .answers_one::<RoleGroupAttributes>(),
        read::<RoleGroupAttributes>("/v1/role-groups/{id}", "read-role-group", "A role group"),
        replaced::<RoleGroupAttributes>("/v1/role-groups/{id}", "update-role-group", "Changes a role group"),
        deleted::<RoleGroupAttributes>("/v1/role-groups/{id}", "delete-role-group", "Deletes a role group"),
        listed::<TagAttributes>("/v1/tags", "list-tags", "The org's tags").param(
            "deleted",
            "boolean",
            "Deleted tags instead of those in use.",
        ),
        created::<TagAttributes>("/v1/tags", "create-tag", "Creates a tag"),
        read::<TagAttributes>("/v1/tags/{id}", "read-tag", "A tag"),
        replaced::<TagAttributes>("/v1/tags/{id}", "put-tag", "Changes a tag; `deleted` deletes or restores it"),
        patched::<TagAttributes>("/v1/tags/{id}", "update-tag", "Changes a tag; `deleted` deletes or restores it"),
        deleted::<TagAttributes>("/v1/tags/{id}", "delete-tag", "Deletes a tag; its id stays in what carries it"),
    ]
}

//! Users, teams and tags.

use axum::extract::State;
use konverse_domain::permissions::{Anyone, ReadTeams};
use konverse_domain::{TagFilter, UserFilter};
use konverse_model::UserId;
use konverse_model::input::{
    Shape, TAG_CREATE, TAG_UPDATE, TEAM_CREATE, TagCreate, TagUpdate, TeamCreate, USER_CREATE, UserCreate,
};
use konverse_model::resource::{TagAttributes, TeamAttributes, UserAttributes};
use serde_json::json;

use crate::App;
use crate::answer;
use crate::entry::{Answered, Changed, Made, Served, created, deleted, listed, patched, read, read_several, replaced};
use crate::error::ApiError;
use crate::extract::{Caller, PathId, Query};
use crate::list::{MOST_OF_DIRECTORY, Paging};
use crate::operation::Operation;

impl Served for UserAttributes {
    const MOST: u32 = MOST_OF_DIRECTORY;

    /// The filters do not combine: the narrowest that is given counts.
    fn filter(query: &Query, paging: &mut Paging) -> Result<UserFilter, ApiError> {
        if let Some(email) = query.get("email") {
            paging.repeat("email", &email);
            return Ok(UserFilter::Email(email));
        }
        if let Some(user_type) = query.get("userType") {
            if !["user", "machine", "limited", "hourly"].contains(&user_type.as_str()) {
                return Err(ApiError::parameter("userType", "must be user, machine, limited or hourly"));
            }
            paging.repeat("userType", &user_type);
            return Ok(UserFilter::Type(user_type));
        }
        if query.flag("deleted")? == Some(true) {
            paging.repeat("deleted", "true");
            return Ok(UserFilter::Deleted);
        }
        if query.flag("pending")? == Some(true) {
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
            .limit("enum", json!(["user", "machine", "limited", "hourly"]))
            .param("deleted", "boolean", "Only deactivated users.")
            .param("pending", "boolean", "Only invited users who have not signed in."),
        created::<UserAttributes>("/v1/users", "create-user", "Creates a user"),
        Operation::get("/v1/users/current", "read-current-user", "The user behind the token", current_user)
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
        listed::<TagAttributes>("/v1/tags", "list-tags", "The org's tags").param(
            "deleted",
            "boolean",
            "Deleted tags instead of those in use",
        ),
        created::<TagAttributes>("/v1/tags", "create-tag", "Creates a tag"),
        read::<TagAttributes>("/v1/tags/{id}", "read-tag", "A tag"),
        replaced::<TagAttributes>("/v1/tags/{id}", "put-tag", "Changes a tag; `deleted` deletes or restores it"),
        patched::<TagAttributes>("/v1/tags/{id}", "update-tag", "Changes a tag; `deleted` deletes or restores it"),
        deleted::<TagAttributes>("/v1/tags/{id}", "delete-tag", "Deletes a tag; its id stays in what carries it"),
    ]
}

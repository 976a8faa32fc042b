//! Users, teams and tags.

use axum::extract::State;
use konverse_domain::UserFilter;
use konverse_domain::permissions::{Anyone, CreateTags, CreateTeams, CreateUsers, ReadTags, ReadTeams, ReadUsers};
use konverse_model::input::{TAG_CREATE, TEAM_CREATE, USER_CREATE};
use konverse_model::resource::{TagAttributes, TeamAttributes, UserAttributes};
use konverse_model::{TagId, TeamId, UserId};
use serde_json::json;

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, PathIds, Query};
use crate::list::{MOST, MOST_OF_DIRECTORY, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

/// The filters do not combine: the narrowest that is given counts.
async fn list_users(Caller(auth): Caller<ReadUsers>, State(app): State<App>, query: Query) -> Answered {
    if let Some(email) = query.get("email") {
        let mut paging = Paging::of_whole(&query, MOST_OF_DIRECTORY)?;
        paging.repeat("email", &email);
        return Ok(paging.answer_whole(app.domain().users_by_email(&auth, &email, paging.request()).await?));
    }
    let mut paging = Paging::of(&query, MOST_OF_DIRECTORY)?;
    let filter = user_filter(&query, &mut paging)?;
    let page = app.domain().list_users(&auth, filter, paging.request()).await?;
    Ok(paging.answer(page))
}

fn user_filter(query: &Query, paging: &mut Paging) -> Result<UserFilter, ApiError> {
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

async fn create_user(Caller(auth): Caller<CreateUsers>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&USER_CREATE)?;
    Ok(answer::created(&app.domain().create_user(&auth, body).await?))
}

async fn current_user(Caller(auth): Caller<Anyone>, State(app): State<App>) -> Answered {
    Ok(answer::one(&app.domain().current_user(&auth).await?))
}

async fn read_user(
    Caller(auth): Caller<ReadUsers>,
    State(app): State<App>,
    ids: PathIds<UserId>,
    query: Query,
) -> Answered {
    let paging = Paging::of_whole(&query, MOST_OF_DIRECTORY)?;
    match ids {
        PathIds::One(id) => Ok(answer::one(&app.domain().user(&auth, id).await?)),
        PathIds::Several(ids) => Ok(paging.answer_whole(app.domain().users(&auth, &ids, paging.request()).await?)),
    }
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

async fn list_teams(Caller(auth): Caller<ReadTeams>, State(app): State<App>, query: Query) -> Answered {
    let paging = Paging::of(&query, MOST_OF_DIRECTORY)?;
    let page = app.domain().list_teams(&auth, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create_team(Caller(auth): Caller<CreateTeams>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&TEAM_CREATE)?;
    Ok(answer::created(&app.domain().create_team(&auth, body).await?))
}

async fn read_team(Caller(auth): Caller<ReadTeams>, State(app): State<App>, PathId(id): PathId<TeamId>) -> Answered {
    Ok(answer::one(&app.domain().team(&auth, id).await?))
}

async fn list_tags(Caller(auth): Caller<ReadTags>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let deleted = query.flag("deleted")?;
    if let Some(deleted) = deleted {
        paging.repeat("deleted", if deleted { "true" } else { "false" });
    }
    let page = app.domain().list_tags(&auth, deleted.unwrap_or(false), paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create_tag(Caller(auth): Caller<CreateTags>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&TAG_CREATE)?;
    Ok(answer::created(&app.domain().create_tag(&auth, body).await?))
}

async fn read_tag(Caller(auth): Caller<ReadTags>, State(app): State<App>, PathId(id): PathId<TagId>) -> Answered {
    Ok(answer::one(&app.domain().tag(&auth, id).await?))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/users", "list-users", "The org's users; machine users are among them", list_users)
            .details("Filters do not combine: of those given, the first in this list counts.")
            .param("email", "string", "Only the user with this address.")
            .param("userType", "string", "Only users of this type.")
            .limit("enum", json!(["user", "machine", "limited", "hourly"]))
            .param("deleted", "boolean", "Only deactivated users.")
            .param("pending", "boolean", "Only invited users who have not signed in.")
            .most(MOST_OF_DIRECTORY)
            .roles::<ReadUsers>()
            .answers_list::<UserAttributes>(),
        Operation::post("/v1/users", "create-user", "Creates a user", create_user)
            .roles::<CreateUsers>()
            .body(&USER_CREATE)
            .answers_one::<UserAttributes>(),
        Operation::get("/v1/users/current", "read-current-user", "The user behind the token", current_user)
            .answers_one::<UserAttributes>(),
        Operation::get(
            "/v1/users/{id}",
            "read-user",
            "A user; several, as a list, when ids are joined by commas",
            read_user,
        )
        .most(MOST_OF_DIRECTORY)
        .roles::<ReadUsers>()
        .answers_one_or_several::<UserAttributes>(),
        Operation::get("/v1/users/{id}/teams", "list-user-teams", "The teams of a user", teams_of_user)
            .most(MOST_OF_DIRECTORY)
            .roles::<ReadTeams>()
            .answers_whole_list::<TeamAttributes>(),
        Operation::get("/v1/teams", "list-teams", "The org's teams", list_teams)
            .most(MOST_OF_DIRECTORY)
            .roles::<ReadTeams>()
            .answers_list::<TeamAttributes>(),
        Operation::post("/v1/teams", "create-team", "Creates a team", create_team)
            .roles::<CreateTeams>()
            .body(&TEAM_CREATE)
            .answers_one::<TeamAttributes>(),
        Operation::get("/v1/teams/{id}", "read-team", "A team", read_team)
            .roles::<ReadTeams>()
            .answers_one::<TeamAttributes>(),
        Operation::get("/v1/tags", "list-tags", "The org's tags", list_tags)
            .param("deleted", "boolean", "Deleted tags instead of those in use.")
            .roles::<ReadTags>()
            .answers_list::<TagAttributes>(),
        Operation::post("/v1/tags", "create-tag", "Creates a tag", create_tag)
            .roles::<CreateTags>()
            .body(&TAG_CREATE)
            .answers_one::<TagAttributes>(),
        Operation::get("/v1/tags/{id}", "read-tag", "A tag", read_tag)
            .roles::<ReadTags>()
            .answers_one::<TagAttributes>(),
    ]
}

//! Tokens and roles. Tokens are made on the command line; here they show themselves and are revoked.

use axum::extract::State;
use axum::http::StatusCode;
use konverse_domain::permissions::{Anyone, ManageTokens, ReadTokens};
use konverse_model::TokenId;
use konverse_model::resource::TokenAttributes;
use serde_json::json;

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, PathId, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

async fn list(Caller(auth): Caller<ManageTokens>, State(app): State<App>, query: Query) -> Answered {
    let paging = Paging::of(&query, MOST)?;
    let page = app.domain().list_tokens(&auth, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn read(Caller(auth): Caller<ReadTokens>, State(app): State<App>, PathId(id): PathId<TokenId>) -> Answered {
    Ok(answer::one(&app.domain().token(&auth, id).await?))
}

async fn revoke(
    Caller(auth): Caller<ManageTokens>,
    State(app): State<App>,
    PathId(id): PathId<TokenId>,
) -> Result<StatusCode, ApiError> {
    app.domain().revoke_token_of_org(&auth, id).await?;
    Ok(answer::nothing())
}

async fn current(Caller(auth): Caller<Anyone>, State(app): State<App>) -> Answered {
    Ok(answer::one(&app.domain().current_token(&auth).await?))
}

async fn revoke_current(Caller(auth): Caller<Anyone>, State(app): State<App>) -> Result<StatusCode, ApiError> {
    app.domain().revoke_current_token(&auth).await?;
    Ok(answer::nothing())
}

/// Every role some operation asks for, with the prefixes that grant several.
async fn roles(Caller(_): Caller<Anyone>) -> Json {
    let mut names: Vec<String> = vec!["org".into(), "org.admin".into(), "org.user".into(), "org.permission".into()];
    names.extend(super::operations().iter().flat_map(|operation| operation.roles).map(|role| (*role).to_owned()));
    names.sort();
    names.dedup();
    let data: Vec<_> = names.into_iter().map(|id| json!({ "type": "role", "id": id })).collect();
    Json::of(json!({ "data": data }).to_string().into_bytes())
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = TokenAttributes;
    vec![
        Operation::get("/v1/auth/tokens", "list-tokens", "The org's tokens", list)
            .roles::<ManageTokens>()
            .answers_list::<Shown>(),
        Operation::get("/v1/auth/tokens/current", "read-current-token", "The presented token", current)
            .answers_one::<Shown>(),
        Operation::delete(
            "/v1/auth/tokens/current",
            "revoke-current-token",
            "Revokes the presented token",
            revoke_current,
        ),
        Operation::get("/v1/auth/tokens/{id}", "read-token", "A token", read)
            .roles::<ReadTokens>()
            .answers_one::<Shown>(),
        Operation::delete("/v1/auth/tokens/{id}", "revoke-token", "Revokes a token", revoke).roles::<ManageTokens>(),
        Operation::get("/v1/auth/roles", "list-roles", "The roles a token can be given", roles).answers_document(
            || {
                json!({
                    "type": "object",
                    "properties": { "data": { "type": "array", "items": {
                        "type": "object",
                        "properties": { "type": { "const": "role" }, "id": { "type": "string" } },
                        "required": ["type", "id"],
                    } } },
                    "required": ["data"],
                })
            },
        ),
    ]
}

//! Tokens, sessions and roles. Tokens of machine users are made on the command line; people sign in to a session. Here
//! both show themselves and are revoked.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use konverse_domain::SignIn;
use konverse_domain::permissions::{self, Anyone, ManageTokens, ReadTokens};
use konverse_model::input::SIGN_IN;
use konverse_model::resource::TokenAttributes;
use konverse_model::{FieldError, TokenId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::App;
use crate::answer::{self, Json};
use crate::browser::{Browser, Whence};
use crate::error::{ApiError, Code};
use crate::extract::{Caller, JsonBody, PathId, Query};
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

async fn revoke_current(
    Caller(auth): Caller<Anyone>,
    State(app): State<App>,
    browser: Browser,
) -> Result<(StatusCode, HeaderMap), ApiError> {
    app.domain().revoke_current_token(&auth).await?;
    Ok((answer::nothing(), browser.close()))
}

/// A session as it is answered once, with its secret.
#[derive(JsonSchema, Serialize)]
#[schemars(title = "SessionAttributes")]
struct SessionAttributes {
    #[serde(flatten)]
    shown: TokenAttributes,
    /// What goes after `Bearer `; it is never shown again.
    token: String,
}

/// Ways of the vendor's to sign in that are not konverse's.
const OTHER_WAYS: [&str; 3] = ["singleAccessToken", "googleAuthToken", "samlAuthToken"];

async fn sign_in(
    State(app): State<App>,
    browser: Browser,
    whence: Whence,
    body: JsonBody,
) -> Result<impl IntoResponse, ApiError> {
    if let Some(way) = OTHER_WAYS.into_iter().find(|way| body.0.get(way).is_some()) {
        let message = "is not supported: sign in with domain, email and password";
        return Err(ApiError::fields(&[FieldError::at(format!("/{way}"), message)]));
    }
    let body = body.read(&SIGN_IN)?;
    let asked = SignIn {
        domain: body.domain.0.unwrap_or_default(),
        email: body.email.0.unwrap_or_default(),
        password: body.password.0.unwrap_or_default(),
        remember: body.remember.0.unwrap_or(false),
        address: whence.address,
        user_agent: whence.user_agent,
    };
    let session = app.domain().sign_in(asked).await?;
    let seconds = session.expires_at.since(app.domain().now()).max(0) / 1000;
    let headers = browser.open(&session, seconds);
    let shown = session.token.attributes.clone();
    Ok((headers, answer::created_once(&session.token, &SessionAttributes { shown, token: session.secret.clone() })?))
}

/// Every role some operation asks for, with the prefixes that grant several.
async fn roles(Caller(_): Caller<Anyone>) -> Json {
    let data: Vec<_> = permissions::names().into_iter().map(|id| json!({ "type": "role", "id": id })).collect();
    Json::of(json!({ "data": data }).to_string().into_bytes())
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = TokenAttributes;
    vec![
        Operation::get("/v1/auth/tokens", "list-tokens", "The org's tokens", list)
            .roles::<ManageTokens>()
            .answers_list::<Shown>(),
        Operation::post(
            "/v1/auth/tokens",
            "sign-in",
            "Opens a session of a person; to a page of an allowed origin it is given as a cookie as well",
            sign_in,
        )
        .public()
        .refuses(Code::Unauthorized)
        .refuses(Code::TooManyRequests)
        .body(&SIGN_IN)
        .answers_one::<SessionAttributes>(),
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

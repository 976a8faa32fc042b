//! Messages.

use axum::extract::State;
use konverse_domain::DomainError;
use konverse_domain::permissions::{CreateMessages, ReadMessages, UpdateMessages};
use konverse_model::input::{MESSAGE_CREATE, MESSAGE_CREATE_IN_ORG, MESSAGE_REPLACE, MESSAGE_UPDATE};
use konverse_model::resource::MessageAttributes;
use konverse_model::{ConversationId, CustomerId, FieldError, MessageId};

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, PathText, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

async fn list(Caller(auth): Caller<ReadMessages>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let sort = paging.sort(&query)?;
    let page = app.domain().list_messages(&auth, sort, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn list_of_conversation(
    Caller(auth): Caller<ReadMessages>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    query: Query,
) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let sort = paging.sort(&query)?;
    let page = app.domain().list_conversation_messages(&auth, id, sort, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn list_of_customer(
    Caller(auth): Caller<ReadMessages>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
    query: Query,
) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let sort = paging.sort(&query)?;
    let page = app.domain().list_customer_messages(&auth, id, sort, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create(Caller(auth): Caller<CreateMessages>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&MESSAGE_CREATE_IN_ORG)?;
    let wrong = |what: &str| ApiError::fields(&[FieldError::at("/conversation", what)]);
    let conversation = body.conversation.0.ok_or_else(|| wrong("is required"))?;
    match app.domain().create_message(&auth, conversation, body).await {
        Ok(message) => Ok(answer::created(&message)),
        // Named by the body, so it is the body that is wrong.
        Err(DomainError::NotFound(..)) => Err(wrong(&format!("names no conversation of this org: {conversation}"))),
        Err(error) => Err(error.into()),
    }
}

async fn create_in_conversation(
    Caller(auth): Caller<CreateMessages>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&MESSAGE_CREATE)?;
    Ok(answer::created(&app.domain().create_message(&auth, id, body).await?))
}

async fn create_for_customer(
    Caller(auth): Caller<CreateMessages>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&MESSAGE_CREATE)?;
    Ok(answer::created(&app.domain().create_message_for_customer(&auth, id, body).await?))
}

async fn read(Caller(auth): Caller<ReadMessages>, State(app): State<App>, PathId(id): PathId<MessageId>) -> Answered {
    Ok(answer::one(&app.domain().message(&auth, id).await?))
}

async fn by_external_id(
    Caller(auth): Caller<ReadMessages>,
    State(app): State<App>,
    PathText(id): PathText,
) -> Answered {
    let found = app.domain().message_by_external_id(&auth, &id).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "externalId"))
}

async fn patch(
    Caller(auth): Caller<UpdateMessages>,
    State(app): State<App>,
    PathId(id): PathId<MessageId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&MESSAGE_UPDATE)?;
    Ok(answer::record(&app.domain().update_message(&auth, id, body, false).await?))
}

async fn put(
    Caller(auth): Caller<UpdateMessages>,
    State(app): State<App>,
    PathId(id): PathId<MessageId>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    let body = body.read(&MESSAGE_REPLACE)?;
    Ok(answer::record(&app.domain().update_message(&auth, id, body, replace).await?))
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = MessageAttributes;
    vec![
        Operation::get("/v1/messages", "list-messages", "The org's messages", list)
            .sorted()
            .roles::<ReadMessages>()
            .answers_list::<Shown>(),
        Operation::post("/v1/messages", "create-message", "Records a message in a conversation", create)
            .roles::<CreateMessages>()
            .body(&MESSAGE_CREATE_IN_ORG)
            .answers_one::<Shown>(),
        Operation::get(
            "/v1/conversations/{id}/messages",
            "list-conversation-messages",
            "A conversation's messages, oldest first",
            list_of_conversation,
        )
        .sorted()
        .roles::<ReadMessages>()
        .answers_list::<Shown>(),
        Operation::post(
            "/v1/conversations/{id}/messages",
            "create-conversation-message",
            "Records a message in a conversation",
            create_in_conversation,
        )
        .roles::<CreateMessages>()
        .body(&MESSAGE_CREATE)
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/customers/{id}/messages",
            "list-customer-messages",
            "A customer's messages, oldest first",
            list_of_customer,
        )
        .sorted()
        .of_timeline()
        .roles::<ReadMessages>()
        .answers_list::<Shown>(),
        Operation::post(
            "/v1/customers/{id}/messages",
            "create-customer-message",
            "Records a message of a customer, in a new conversation unless one is named",
            create_for_customer,
        )
        .roles::<CreateMessages>()
        .body(&MESSAGE_CREATE)
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/messages/externalid={externalId}",
            "read-message-by-external-id",
            "The message with an external id",
            by_external_id,
        )
        .roles::<ReadMessages>()
        .answers_one::<Shown>(),
        Operation::get("/v1/messages/{id}", "read-message", "A message", read)
            .roles::<ReadMessages>()
            .answers_one::<Shown>(),
        Operation::patch("/v1/messages/{id}", "update-message", "Changes some attributes", patch)
            .roles::<UpdateMessages>()
            .body(&MESSAGE_UPDATE)
            .answers_one::<Shown>(),
        Operation::put("/v1/messages/{id}", "put-message", "Changes or replaces attributes", put)
            .roles::<UpdateMessages>()
            .body(&MESSAGE_REPLACE)
            .answers_one::<Shown>(),
    ]
}

//! Conversations, and the list of a customer's: the main job.

use axum::extract::State;
use axum::http::StatusCode;
use konverse_domain::permissions::{
    CreateConversations, DeleteConversations, ReadAttachments, ReadConversations, UntagConversations,
    UpdateConversations,
};
use konverse_domain::{ConversationEdit, ConversationQuery};
use konverse_model::input::{
    CONVERSATION_CREATE, CONVERSATION_CREATE_FOR_CUSTOMER, CONVERSATION_MOVE, CONVERSATION_UPDATE, TAG_NAMES,
};
use konverse_model::resource::{AttachmentAttributes, ConversationAttributes};
use konverse_model::{ConversationId, CustomerId, FieldError, Instant};

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, PathIds, PathText, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

async fn list_of_customer(
    Caller(auth): Caller<ReadConversations>,
    State(app): State<App>,
    PathId(customer): PathId<CustomerId>,
    query: Query,
) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let from_date = query.read::<Instant>("fromDate")?.map(|(at, text)| {
        paging.repeat("fromDate", &text);
        at
    });
    let sort = paging.sort(&query)?;
    let asked = ConversationQuery { from_date, sort };
    let page = app.domain().list_customer_conversations(&auth, customer, asked, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create_for_customer(
    Caller(auth): Caller<CreateConversations>,
    State(app): State<App>,
    PathId(customer): PathId<CustomerId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&CONVERSATION_CREATE_FOR_CUSTOMER)?;
    Ok(answer::created(&app.domain().create_conversation(&auth, customer, body).await?))
}

async fn list(Caller(auth): Caller<ReadConversations>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, MOST)?;
    let sort = paging.sort(&query)?;
    let page = app.domain().list_conversations(&auth, sort, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create(Caller(auth): Caller<CreateConversations>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&CONVERSATION_CREATE)?;
    let missing = |what: &str| ApiError::fields(&[FieldError::at("/customer", what)]);
    let customer = body.customer.0.ok_or_else(|| missing("is required"))?;
    match app.domain().create_conversation(&auth, customer, body).await {
        Ok(conversation) => Ok(answer::created(&conversation)),
        // Named by the body, so it is the body that is wrong.
        Err(konverse_domain::DomainError::NotFound(..)) => {
            Err(missing(&format!("names no customer of this org: {customer}")))
        }
        Err(error) => Err(error.into()),
    }
}

async fn read(
    Caller(auth): Caller<ReadConversations>,
    State(app): State<App>,
    ids: PathIds<ConversationId>,
    query: Query,
) -> Answered {
    let paging = Paging::of_whole(&query, MOST)?;
    match ids {
        PathIds::One(id) => Ok(answer::one(&app.domain().conversation(&auth, id).await?)),
        PathIds::Several(ids) => {
            Ok(paging.answer_whole(app.domain().conversations(&auth, &ids, paging.request()).await?))
        }
    }
}

async fn by_external_id(
    Caller(auth): Caller<ReadConversations>,
    State(app): State<App>,
    PathText(external_id): PathText,
) -> Answered {
    let found = app.domain().conversation_by_external_id(&auth, &external_id).await;
    found.map(|text| answer::one(&text)).map_err(|error| ApiError::of_look_up(error, "externalId"))
}

fn edit(body: JsonBody, replace: bool) -> Result<ConversationEdit, ApiError> {
    if body.0.get("customer").is_some() {
        return Ok(ConversationEdit::Move(body.read(&CONVERSATION_MOVE)?.customer));
    }
    Ok(ConversationEdit::Attributes { body: Box::new(body.read(&CONVERSATION_UPDATE)?), replace })
}

async fn patch(
    Caller(auth): Caller<UpdateConversations>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    body: JsonBody,
) -> Answered {
    Ok(answer::record(&app.domain().update_conversation(&auth, id, edit(body, false)?).await?))
}

async fn put(
    Caller(auth): Caller<UpdateConversations>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    Ok(answer::record(&app.domain().update_conversation(&auth, id, edit(body, replace)?).await?))
}

async fn delete(
    Caller(auth): Caller<DeleteConversations>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
) -> Result<StatusCode, ApiError> {
    app.domain().delete_conversation(&auth, id).await?;
    Ok(answer::nothing())
}

async fn attachments(
    Caller(auth): Caller<ReadAttachments>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    query: Query,
) -> Answered {
    let paging = Paging::of_whole(&query, MOST)?;
    Ok(paging.answer_whole(app.domain().conversation_attachments(&auth, id, paging.request()).await?))
}

async fn add_tags(
    Caller(auth): Caller<UpdateConversations>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    body: JsonBody,
) -> Answered {
    let names = body.read(&TAG_NAMES)?;
    Ok(answer::record(&app.domain().add_conversation_tags(&auth, id, names).await?))
}

async fn remove_tags(
    Caller(auth): Caller<UntagConversations>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    body: JsonBody,
) -> Answered {
    let names = body.read(&TAG_NAMES)?;
    Ok(answer::record(&app.domain().remove_conversation_tags(&auth, id, names).await?))
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = ConversationAttributes;
    vec![
        Operation::get(
            "/v1/customers/{id}/conversations",
            "list-customer-conversations",
            "A customer's conversations, newest first",
            list_of_customer,
        )
        .param("fromDate", "string", "Only conversations changed at or after this moment.")
        .sorted()
        .of_timeline()
        .roles::<ReadConversations>()
        .answers_list::<Shown>(),
        Operation::post(
            "/v1/customers/{id}/conversations",
            "create-customer-conversation",
            "Creates an empty conversation of a customer",
            create_for_customer,
        )
        .roles::<CreateConversations>()
        .body(&CONVERSATION_CREATE_FOR_CUSTOMER)
        .answers_one::<Shown>(),
        Operation::get("/v1/conversations", "list-conversations", "The org's conversations", list)
            .sorted()
            .roles::<ReadConversations>()
            .answers_list::<Shown>(),
        Operation::post("/v1/conversations", "create-conversation", "Creates a conversation", create)
            .roles::<CreateConversations>()
            .body(&CONVERSATION_CREATE)
            .answers_one::<Shown>(),
        Operation::get(
            "/v1/conversations/externalId={externalId}",
            "read-conversation-by-external-id",
            "The conversation with an external id",
            by_external_id,
        )
        .roles::<ReadConversations>()
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/conversations/{id}",
            "read-conversation",
            "A conversation; several, as a list, when ids are joined by commas",
            read,
        )
        .roles::<ReadConversations>()
        .answers_one_or_several::<Shown>(),
        Operation::patch(
            "/v1/conversations/{id}",
            "update-conversation",
            "Changes some attributes, or the customer",
            patch,
        )
        .roles::<UpdateConversations>()
        .bodies("ConversationEdit", &CONVERSATION_UPDATE, &CONVERSATION_MOVE)
        .answers_one::<Shown>(),
        Operation::put(
            "/v1/conversations/{id}",
            "put-conversation",
            "Changes or replaces attributes, or the customer",
            put,
        )
        .roles::<UpdateConversations>()
        .bodies("ConversationEdit", &CONVERSATION_UPDATE, &CONVERSATION_MOVE)
        .answers_one::<Shown>(),
        Operation::delete("/v1/conversations/{id}", "delete-conversation", "Deletes a conversation", delete)
            .roles::<DeleteConversations>(),
        Operation::get(
            "/v1/conversations/{id}/attachments",
            "list-conversation-attachments",
            "The attachments of a conversation's messages; none are kept yet",
            attachments,
        )
        .roles::<ReadAttachments>()
        .answers_whole_list::<AttachmentAttributes>(),
        Operation::post("/v1/conversations/{id}/tags", "add-conversation-tags", "Adds tags by id or name", add_tags)
            .roles::<UpdateConversations>()
            .body(&TAG_NAMES)
            .status(200)
            .answers_one::<Shown>(),
        Operation::delete("/v1/conversations/{id}/tags", "remove-conversation-tags", "Takes tags off", remove_tags)
            .roles::<UntagConversations>()
            .body(&TAG_NAMES)
            .status(200)
            .answers_one::<Shown>(),
    ]
}

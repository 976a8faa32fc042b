//! Notes.

use axum::extract::State;
use axum::http::StatusCode;
use konverse_domain::permissions::{CreateConversationNotes, CreateNotes, DeleteNotes, ReadNotes, UpdateNotes};
use konverse_model::input::{NOTE_CREATE, NOTE_CREATE_IN_CONVERSATION, NOTE_REPLACE, NOTE_UPDATE};
use konverse_model::resource::NoteAttributes;
use konverse_model::{ConversationId, CustomerId, NoteId};

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

type Answered = Result<Json, ApiError>;

async fn list(Caller(auth): Caller<ReadNotes>, State(app): State<App>, query: Query) -> Answered {
    let paging = Paging::of(&query, MOST)?;
    let page = app.domain().list_notes(&auth, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn list_of_conversation(
    Caller(auth): Caller<ReadNotes>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    query: Query,
) -> Answered {
    let paging = Paging::of(&query, MOST)?;
    let page = app.domain().list_conversation_notes(&auth, id, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn list_of_customer(
    Caller(auth): Caller<ReadNotes>,
    State(app): State<App>,
    PathId(id): PathId<CustomerId>,
    query: Query,
) -> Answered {
    let paging = Paging::of(&query, MOST)?;
    let page = app.domain().list_customer_notes(&auth, id, paging.request()).await?;
    Ok(paging.answer(page))
}

async fn create(Caller(auth): Caller<CreateNotes>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(&NOTE_CREATE)?;
    Ok(answer::created(&app.domain().create_note(&auth, body).await?))
}

async fn create_in_conversation(
    Caller(auth): Caller<CreateConversationNotes>,
    State(app): State<App>,
    PathId(id): PathId<ConversationId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&NOTE_CREATE_IN_CONVERSATION)?;
    Ok(answer::created(&app.domain().create_conversation_note(&auth, id, body).await?))
}

async fn read(Caller(auth): Caller<ReadNotes>, State(app): State<App>, PathId(id): PathId<NoteId>) -> Answered {
    Ok(answer::one(&app.domain().note(&auth, id).await?))
}

async fn patch(
    Caller(auth): Caller<UpdateNotes>,
    State(app): State<App>,
    PathId(id): PathId<NoteId>,
    body: JsonBody,
) -> Answered {
    let body = body.read(&NOTE_UPDATE)?;
    Ok(answer::record(&app.domain().update_note(&auth, id, body, false).await?))
}

async fn put(
    Caller(auth): Caller<UpdateNotes>,
    State(app): State<App>,
    PathId(id): PathId<NoteId>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    let body = body.read(&NOTE_REPLACE)?;
    Ok(answer::record(&app.domain().update_note(&auth, id, body, replace).await?))
}

async fn delete(
    Caller(auth): Caller<DeleteNotes>,
    State(app): State<App>,
    PathId(id): PathId<NoteId>,
) -> Result<StatusCode, ApiError> {
    app.domain().delete_note(&auth, id).await?;
    Ok(answer::nothing())
}

pub(super) fn operations() -> Vec<Operation> {
    type Shown = NoteAttributes;
    vec![
        Operation::get("/v1/notes", "list-notes", "The org's notes", list).roles::<ReadNotes>().answers_list::<Shown>(),
        Operation::post("/v1/notes", "create-note", "Adds a note to a conversation", create)
            .roles::<CreateNotes>()
            .body(&NOTE_CREATE)
            .answers_one::<Shown>(),
        Operation::get(
            "/v1/conversations/{id}/notes",
            "list-conversation-notes",
            "A conversation's notes, oldest first",
            list_of_conversation,
        )
        .roles::<ReadNotes>()
        .answers_list::<Shown>(),
        Operation::post(
            "/v1/conversations/{id}/notes",
            "create-conversation-note",
            "Adds a note to a conversation",
            create_in_conversation,
        )
        .roles::<CreateConversationNotes>()
        .body(&NOTE_CREATE_IN_CONVERSATION)
        .answers_one::<Shown>(),
        Operation::get(
            "/v1/customers/{id}/notes",
            "list-customer-notes",
            "A customer's notes, oldest first",
            list_of_customer,
        )
        .of_timeline()
        .roles::<ReadNotes>()
        .answers_list::<Shown>(),
        Operation::get("/v1/notes/{id}", "read-note", "A note", read).roles::<ReadNotes>().answers_one::<Shown>(),
        Operation::patch("/v1/notes/{id}", "update-note", "Changes some attributes; deletes or restores", patch)
            .roles::<UpdateNotes>()
            .body(&NOTE_UPDATE)
            .answers_one::<Shown>(),
        Operation::put("/v1/notes/{id}", "put-note", "Changes or replaces attributes", put)
            .roles::<UpdateNotes>()
            .body(&NOTE_REPLACE)
            .answers_one::<Shown>(),
        Operation::delete("/v1/notes/{id}", "delete-note", "Deletes a note", delete).roles::<DeleteNotes>(),
    ]
}

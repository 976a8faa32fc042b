//! The operations of the directory's kinds, the same for each: handlers, and what the table says of them.
//!
//! A kind's file in `routes` says which operations it has, under which paths: `listed`, `read`, `created` and so on, each
//! with its path, key and summary.

use axum::extract::State;
use konverse_domain::{Changeable, Creatable, Deletable, Entry, Listed};
use konverse_model::Id;
use konverse_model::input::Shape;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::App;
use crate::answer::{self, Json};
use crate::error::ApiError;
use crate::extract::{Caller, JsonBody, PathId, PathIds, Query};
use crate::list::{MOST, Paging};
use crate::operation::Operation;

pub(crate) type Answered = Result<Json, ApiError>;

/// A kind of the directory as it is answered.
pub(crate) trait Served: Entry + JsonSchema {
    /// Largest page of its list.
    const MOST: u32 = MOST;

    /// What a query narrows the list to; what takes part is repeated in the links.
    fn filter(_query: &Query, _paging: &mut Paging) -> Result<Self::Filter, ApiError> {
        Ok(Self::Filter::default())
    }
}

/// A kind with a body that creates it.
pub(crate) trait Made: Served + Creatable<Create: JsonSchema + DeserializeOwned> {
    /// The shape of the body.
    fn body() -> &'static Shape<Self::Create>;
}

/// A kind with bodies that change it.
pub(crate) trait Changed: Served + Changeable<Update: JsonSchema + DeserializeOwned> {
    /// The shape of the body of `PATCH`.
    fn patch() -> &'static Shape<Self::Update>;

    /// The shape of the body of `PUT`.
    fn put() -> &'static Shape<Self::Update> {
        Self::patch()
    }
}

pub(crate) fn listed<K: Served>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, key, summary, list::<K>).most(K::MOST).roles::<K::MayRead>().answers_list::<K>()
}

pub(crate) fn read<K: Served>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, key, summary, read_one::<K>).roles::<K::MayRead>().answers_one::<K>()
}

/// The same, for a path that may name several.
pub(crate) fn read_several<K: Served>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, key, summary, read_one_or_several::<K>)
        .most(K::MOST)
        .roles::<K::MayRead>()
        .answers_one_or_several::<K>()
}

pub(crate) fn created<K: Made>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::post(path, key, summary, create::<K>).roles::<K::MayCreate>().body(K::body()).answers_one::<K>()
}

pub(crate) fn patched<K: Changed>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::patch(path, key, summary, patch::<K>).roles::<K::MayUpdate>().body(K::patch()).answers_one::<K>()
}

pub(crate) fn replaced<K: Changed>(path: &'static str, key: &'static str, summary: &'static str) -> Operation {
    Operation::put(path, key, summary, put::<K>).roles::<K::MayUpdate>().body(K::put()).answers_one::<K>()
}

pub(crate) fn deleted<K: Served + Deletable>(
    path: &'static str,
    key: &'static str,
    summary: &'static str,
) -> Operation {
    Operation::delete(path, key, summary, delete::<K>).roles::<K::MayDelete>()
}

async fn list<K: Served>(Caller(auth): Caller<K::MayRead>, State(app): State<App>, query: Query) -> Answered {
    let mut paging = Paging::of(&query, K::MOST)?;
    let filter = K::filter(&query, &mut paging)?;
    Ok(match app.domain().list_entries::<K>(&auth, filter, paging.request()).await? {
        Listed::Page(page) => paging.answer(page),
        Listed::Whole(page) => paging.answer_whole(page),
    })
}

async fn read_one<K: Served>(
    Caller(auth): Caller<K::MayRead>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
) -> Answered {
    Ok(answer::one(&app.domain().entry::<K>(&auth, id).await?))
}

async fn read_one_or_several<K: Served>(
    Caller(auth): Caller<K::MayRead>,
    State(app): State<App>,
    ids: PathIds<Id>,
    query: Query,
) -> Answered {
    let paging = Paging::of_whole(&query, K::MOST)?;
    match ids {
        PathIds::One(id) => Ok(answer::one(&app.domain().entry::<K>(&auth, id).await?)),
        PathIds::Several(ids) => {
            Ok(paging.answer_whole(app.domain().entries::<K>(&auth, &ids, paging.request()).await?))
        }
    }
}

async fn create<K: Made>(Caller(auth): Caller<K::MayCreate>, State(app): State<App>, body: JsonBody) -> Answered {
    let body = body.read(K::body())?;
    Ok(answer::created(&app.domain().create_entry::<K>(&auth, body).await?))
}

async fn patch<K: Changed>(
    Caller(auth): Caller<K::MayUpdate>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
    body: JsonBody,
) -> Answered {
    let body = body.read(K::patch())?;
    Ok(answer::record(&app.domain().update_entry::<K>(&auth, id, body, false).await?))
}

async fn put<K: Changed>(
    Caller(auth): Caller<K::MayUpdate>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
    query: Query,
    body: JsonBody,
) -> Answered {
    let replace = query.flag("replace")?.unwrap_or(false);
    let body = body.read(K::put())?;
    Ok(answer::record(&app.domain().update_entry::<K>(&auth, id, body, replace).await?))
}

async fn delete<K: Served + Deletable>(
    Caller(auth): Caller<K::MayDelete>,
    State(app): State<App>,
    PathId(id): PathId<Id>,
) -> Result<axum::http::StatusCode, ApiError> {
    app.domain().delete_entry::<K>(&auth, id).await?;
    Ok(answer::nothing())
}

//! What the tests of konverse share: a real PostgreSQL, a store of either engine, an app with actors.

mod app;
mod described;
mod interposed;
mod place;
pub mod postgres;
pub mod probe;
mod searching;
mod store;

pub use app::{Actor, Reply, TestApp};
pub use described::Description;
pub use interposed::Interposed;
pub use place::{Place, Record};
pub use searching::Searching;
pub use store::{Backend, TestClock, TestStore, seeded};

/// Makes two tests of one story, one on each engine.
///
/// ```text
/// on_both_engines!(a_customer_without_conversations_has_an_empty_list, |app| async move { … });
/// ```
#[macro_export]
macro_rules! on_both_engines {
    ($(#[$meta:meta])* $name:ident, |$app:ident| $story:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn story($app: $crate::TestApp) {
                $story.await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story($crate::TestApp::new($crate::Backend::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                story($crate::TestApp::new($crate::Backend::Postgres).await).await;
            }
        }
    };
}

/// Makes two tests of each story of the module `stories`, one on each engine. A story is given what `new` of a type makes
/// for an engine.
///
/// ```text
/// stories_on_both_engines!(TestStore: an_empty_store_has_nothing, what_is_put_in_comes_out,);
/// ```
#[macro_export]
macro_rules! stories_on_both_engines {
    ($ground:ty: $($story:ident,)*) => {$(
        mod $story {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                stories::$story(<$ground>::new($crate::Backend::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                stories::$story(<$ground>::new($crate::Backend::Postgres).await).await;
            }
        }
    )*};
}

/// Makes two tests of one story about a database that the release with schema 1 left, one on each engine.
///
/// ```text
/// from_schema_1!(nothing_is_lost, |place| async move { … });
/// ```
#[macro_export]
macro_rules! from_schema_1 {
    ($(#[$meta:meta])* $name:ident, |$place:ident| $story:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn story($place: $crate::Place) {
                $story.await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story($crate::Place::of_schema_1($crate::Backend::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                story($crate::Place::of_schema_1($crate::Backend::Postgres).await).await;
            }
        }
    };
}

//! What the tests of konverse share: a real PostgreSQL, a store of either engine, an app with actors.

mod app;
mod interposed;
mod place;
pub mod postgres;
mod store;

pub use app::{Actor, Reply, TestApp};
pub use interposed::Interposed;
pub use place::{Place, Record};
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

//! Imports beside a database that fails for a while: they go on by themselves, lose no row, take none twice, and count right.

use std::sync::Arc;
use std::time::Duration;

use konverse_domain::{Domain, DomainError, Ids, ImportKind, ImportReport, ImportRow, Importer, RowOutcome, Settings};
use konverse_testkit::{Actor, Interposed, TestApp, on_both_engines, seeded};
use serde_json::json;

/// Messages of a conversation from one number on. The third names a conversation that is not there.
fn rows(conversation: &str, from: u32) -> Vec<ImportRow> {
    let row = |n: u32| {
        let conversation = if n == from + 2 { "671a2d10a3f1b20012c4ffff" } else { conversation };
        let row = json!({
            "externalId": format!("m{n}"), "conversation": conversation, "channel": "chat", "app": "x", "direction": "in",
            "sentAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z", "preview": format!("{n}"),
        });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    };
    (from..from + 10).map(row).collect()
}

#[track_caller]
fn assert_taken(outcomes: &[RowOutcome]) {
    let mut report = ImportReport::default();
    outcomes.iter().for_each(|outcome| report.count(outcome));
    assert_eq!((report.created, report.present, report.rejected), (9, 0, 1), "{outcomes:?}");
    assert!(matches!(outcomes[2], RowOutcome::Rejected(_)), "{outcomes:?}");
}

async fn importing(app: &TestApp) -> (Arc<Interposed>, Importer) {
    let store = Interposed::new(app.store.reopened().await);
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(17)), Settings::default()).shared();
    (store, Importer::new(&domain, app.org.id).await.expect("an import"))
}

async fn count(admin: &Actor, conversation: &str) -> u64 {
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    let listed = admin.get(&format!("/v1/conversations/{conversation}/messages?pageSize=100")).await.ids().len();
    assert_eq!(it["messageCount"], json!(listed));
    listed as u64
}

on_both_engines!(an_import_goes_on_when_the_database_is_back, |app| async move {
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let (store, mut importer) = importing(&app).await;
    let kind = ImportKind::Messages;
    // Away for the look-ups, and for several of the new attempts.
    store.go_away(3);
    assert_taken(&importer.take(kind, rows(&conversation, 0)).await.expect("it goes on"));
    // Away when the rows are written, while the next are begun.
    let away = Arc::clone(&store);
    store.before_apply(async move { away.go_away(3) }).await;
    assert!(importer.begin(kind, rows(&conversation, 100)).await.expect("it goes on").is_empty());
    assert_taken(&importer.begin(kind, rows(&conversation, 200)).await.expect("it goes on"));
    assert_taken(&importer.end().await.expect("it goes on"));
    assert_eq!(count(&admin, &conversation).await, 3 * 9);
    // Written, but nobody was told: what is there then was stored by this import.
    store.lose_answer();
    assert_taken(&importer.take(kind, rows(&conversation, 300)).await.expect("it goes on"));
    store.lose_answer();
    let away = Arc::clone(&store);
    store.before_apply(async move { away.go_away(2) }).await;
    assert!(importer.begin(kind, rows(&conversation, 400)).await.expect("it goes on").is_empty());
    assert_taken(&importer.begin(kind, rows(&conversation, 500)).await.expect("it goes on"));
    assert_taken(&importer.end().await.expect("it goes on"));
    assert_eq!(count(&admin, &conversation).await, 6 * 9, "none is there twice");
    let again = importer.take(kind, rows(&conversation, 300)).await.expect("rows are taken");
    assert_eq!(again.iter().filter(|outcome| **outcome == RowOutcome::Present).count(), 9);
});

on_both_engines!(an_import_that_gives_up_says_what_it_knows, |app| async move {
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let (store, importer) = importing(&app).await;
    let mut importer = importer.with_patience(Duration::from_millis(250));
    let kind = ImportKind::Messages;
    assert!(importer.begin(kind, rows(&conversation, 0)).await.expect("it begins").is_empty());
    let away = Arc::clone(&store);
    // The first batch may be written by now, or be the first to fail.
    store.before_apply(async move { away.go_away(usize::MAX) }).await;
    let error = match importer.begin(kind, rows(&conversation, 100)).await {
        Ok(first) => {
            assert_taken(&first);
            importer.end().await.expect_err("the database stays away")
        }
        Err(error) => error,
    };
    assert!(matches!(error, DomainError::Unavailable(_)), "{error:?}");
    let refused = |outcomes: &[Option<RowOutcome>]| {
        outcomes.iter().flatten().filter(|outcome| matches!(outcome, RowOutcome::Rejected(_))).count()
    };
    let known = importer.known();
    assert!(
        known.iter().any(|outcomes| refused(outcomes) == 1),
        "the row that is refused for itself is named: {known:?}"
    );
    assert!(known.iter().flatten().any(Option::is_none), "and of the others it says nothing: {known:?}");
    // Run again, it takes what is missing.
    let (_, mut importer) = importing(&app).await;
    let mut there = ImportReport::default();
    for from in [0, 100] {
        let outcomes = importer.take(kind, rows(&conversation, from)).await.expect("rows are taken");
        outcomes.iter().for_each(|outcome| there.count(outcome));
    }
    assert_eq!((there.created + there.present, there.rejected), (18, 2));
    assert!(there.created >= 9, "{there:?}");
    assert_eq!(count(&admin, &conversation).await, 18);
});

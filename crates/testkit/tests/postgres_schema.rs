//! Opening a PostgreSQL database that others use as well.

use konverse_store::Store;
use konverse_store_postgres::Postgres;
use konverse_testkit::postgres::fresh_database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_refuses_a_schema_with_tables_named_like_ours() {
    let database = fresh_database().await;
    let (other, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let tables = async || {
        let sql = "SELECT string_agg(relname::text, ' ' ORDER BY relname) FROM pg_class \
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        other.query_one(sql, &[]).await.expect("an answer").get::<_, Option<String>>(0).unwrap_or_default()
    };
    // The last table of the migration, which would be met only when all the others have been made.
    other.batch_execute("CREATE TABLE photo (name text); CREATE TABLE event (name text)").await.expect("tables");
    let error = Postgres::open(&database.url, 2).await.err().expect("it is refused").to_string();
    assert!(error.contains("another program's") && error.contains("event") && !error.contains("photo"), "{error}");
    assert_eq!(tables().await, "event photo");

    // In another schema it disturbs nobody, nor do tables of other names.
    other.batch_execute("CREATE SCHEMA theirs; ALTER TABLE event SET SCHEMA theirs").await.expect("a schema");
    for _ in 0..2 {
        Postgres::open(&database.url, 2).await.expect("it opens").ping().await.expect("a read");
    }
    assert!(tables().await.contains("konverse_schema") && tables().await.contains("photo"));
}

//! TLS to PostgreSQL, as a URL asks for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use konverse_store::{Store, StoreError};
use konverse_store_postgres::{Postgres, PostgresStore};
use konverse_store_sql::{Cost, Driver, Query, Value};
use konverse_testkit::postgres::TlsServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate of this authority, and its key.
fn certificate(authority: &Authority, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, authority).expect("a certificate").pem(), key.serialize_pem())
}

struct Ground {
    server: TlsServer,
    folder: TempDir,
    theirs: Authority,
}

impl Ground {
    fn new() -> Self {
        let theirs = authority("theirs");
        let (certificate, key) = certificate(&theirs, "localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let server = TlsServer::start(&certificate, &key, &theirs.pem());
        let folder = TempDir::new().expect("a folder");
        let this = Self { server, folder, theirs };
        this.file("server.crt", &certificate);
        this.file("theirs.crt", &this.theirs.pem());
        this.file("other.crt", &authority("other").pem());
        this
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn path(&self, name: &str) -> String {
        percent(&self.folder.path().join(name))
    }

    /// Opens it by name or by address, with these parameters.
    async fn open(&self, host: &str, parameters: &str) -> Result<PostgresStore, StoreError> {
        let url = self.server.url.replace("127.0.0.1", host);
        let parameters = parameters.replace("FOLDER/", &self.path(""));
        Postgres::open(&format!("{url}?hostaddr=127.0.0.1&{parameters}"), 2).await
    }
}

fn percent(path: &Path) -> String {
    path.to_str().expect("it is UTF-8").replace('/', "%2F").replace(' ', "%20")
}

async fn number(store: &PostgresStore, sql: &'static str) -> i64 {
    let query = Query { sql: sql.into(), params: Vec::new(), cost: Cost::Bounded, bytes: usize::MAX };
    match store.driver().read(vec![query]).await.expect("a read").remove(0).remove(0).remove(0) {
        Value::Int(number) => number,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_looked_at_as_closely_as_the_url_says() {
    const IS_ENCRYPTED: &str = "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let ground = Ground::new();
    for (host, parameters) in [
        ("127.0.0.1", ""),
        ("127.0.0.1", "sslmode=prefer"),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", "sslmode=require&sslrootcert=FOLDER/theirs.crt"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=FOLDER/theirs.crt"),
        ("localhost", "sslmode=verify-full&sslrootcert=FOLDER/theirs.crt"),
        // The server's own, which nobody has to have signed.
        ("localhost", "sslmode=verify-full&sslrootcert=FOLDER/server.crt"),
    ] {
        let store = ground.open(host, parameters).await.unwrap_or_else(|error| panic!("{host} {parameters}: {error}"));
        assert_eq!(number(&store, IS_ENCRYPTED).await, 1, "{parameters}");
    }
    for (host, parameters, reason) in [
        ("127.0.0.1", "sslmode=disable", "no encryption"),
        ("127.0.0.1", "sslmode=require&sslrootcert=FOLDER/other.crt", "UnknownIssuer"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=FOLDER/other.crt", "UnknownIssuer"),
        ("localhost", "sslmode=verify-full&sslrootcert=FOLDER/other.crt", "UnknownIssuer"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=FOLDER/theirs.crt", "not valid for name"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=FOLDER/server.crt", "not valid for name"),
        ("localhost", "sslmode=verify-full&sslrootcert=FOLDER/missing.crt", "sslrootcert"),
        ("localhost", "sslmode=allow", "sslmode"),
        ("localhost", "sslmode=require&sslcert=FOLDER/server.crt", "sslkey"),
    ] {
        let error = ground.open(host, parameters).await.err().unwrap_or_else(|| panic!("{parameters} opens"));
        assert!(error.to_string().contains(reason), "{host} {parameters}: {error}");
    }
    // Nobody the system trusts signed it, whoever that may be.
    ground.open("localhost", "sslrootcert=system").await.err().expect("it is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_may_have_to_show_a_certificate_and_a_read_is_cancelled_over_tls() {
    let ground = Ground::new();
    let (certificate, key) = certificate(&ground.theirs, "certified", ExtendedKeyUsagePurpose::ClientAuth);
    ground.file("mine.crt", &certificate);
    ground.file("mine.key", &key);
    let admin = ground.open("127.0.0.1", "sslmode=require").await.expect("it opens");
    admin.ping().await.expect("a read");
    let make = "CREATE ROLE certified SUPERUSER LOGIN";
    let query = Query { sql: make.into(), params: Vec::new(), cost: Cost::Bounded, bytes: usize::MAX };
    admin.driver().read(vec![query]).await.expect("a role");

    let as_certified = |parameters: &str| {
        let url = ground.server.url.replace("konverse@", "certified@");
        let parameters = parameters.replace("FOLDER/", &ground.path(""));
        async move { Postgres::open(&format!("{url}?{parameters}"), 2).await }
    };
    as_certified("sslmode=require").await.err().expect("it has to show one");
    let shown = as_certified("sslmode=require&sslcert=FOLDER/mine.crt&sslkey=FOLDER/mine.key").await;
    let store = Arc::new(shown.expect("it has shown one"));

    const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%endless%' \
        AND pid <> pg_backend_pid()";
    let endless = {
        let store = Arc::clone(&store);
        let sql = "SELECT count(*) AS endless FROM generate_series(1, 1000000000000)";
        let query = Query { sql: sql.into(), params: Vec::new(), cost: Cost::Unbounded, bytes: usize::MAX };
        tokio::spawn(async move { store.driver().read(vec![query]).await.map(drop) })
    };
    let becomes = async |running: i64| {
        for _ in 0..3_000 {
            if number(&admin, RUNNING).await == running {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("there are not {running}");
    };
    becomes(1).await;
    endless.abort();
    becomes(0).await;
}

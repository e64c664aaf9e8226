//! The store, on both databases: every case runs on a SQLite file of its own and, where `TILLWARD_TEST_POSTGRES` is set
//! (`.ci/postgres run ...` sets it), in a PostgreSQL database of its own.

mod activations;
mod attestations;
mod audit_log;
mod certificates;
mod corruption;
mod devices;
mod keys;
mod marks;
mod merchants;
mod opening;
mod plans;
mod races;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::LazyLock;
use tillward::audit::{AuditEvent, Occasion, RequestId};
use tillward::authz::{Action, Authz, Caller, Circumstances, Permit, Resource};
use tillward::clock::UnixTime;
use tillward::enrolment::state::{ActivationState, DeviceState};
use tillward::id::{AcquirerId, ActivationId, DeviceId, MerchantId, TerminalId};
use tillward::store::{Activation, Device, Merchant, SealedSecret, Store, StoreError, Terminal, Tx};

/// When every case takes place.
const NOW: UnixTime = UnixTime(1_763_823_600);

/// A database of the case's own, opened.
struct Database {
    store: Store,
    url: String,
}

impl Database {
    /// Runs SQL past the store, as an attacker or an accident would.
    async fn raw(&self, sql: &str) -> sqlx::Result<u64> {
        use sqlx::Connection;
        let mut connection = sqlx::AnyConnection::connect(&self.url).await?;
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
        connection.close().await?;
        done.map(|done| done.rows_affected())
    }

    fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }
}

/// Runs the case on both databases.
fn on_both(case: impl AsyncFn(Database)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("tillward.db").display());
        let store = Store::open(&url, 4).await.expect("SQLite opens");
        case(Database { store, url }).await;

        let Some(server) = postgres() else {
            say_skipped();
            return;
        };
        let (name, url) = fresh_database(&server).await;
        let store = Store::open(&url, 16).await.expect("PostgreSQL opens");
        case(Database { store, url }).await;
        administer(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    });
}

/// Past the test harness, which shows nothing of a test that passes.
pub(crate) fn say_skipped() {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        let _ = std::io::stderr().write_all(b"SKIPPED on PostgreSQL: TILLWARD_TEST_POSTGRES is not set\n");
    });
}

/// Name and URL of a database of the case's own.
pub(crate) async fn fresh_database(server: &str) -> (String, String) {
    let name = format!("t_{}", data_encoding::HEXLOWER.encode(&random::<8>()));
    let url = server.replace("/postgres?", &format!("/{name}?"));
    assert_ne!(url, server, "TILLWARD_TEST_POSTGRES has to name the database postgres and have parameters: {server}");
    administer(server, &format!("CREATE DATABASE {name}")).await;
    (name, url)
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration file; where its server is stands in the environment")]
pub(crate) fn postgres() -> Option<String> {
    std::env::var("TILLWARD_TEST_POSTGRES").ok()
}

pub(crate) async fn administer(server: &str, sql: &str) {
    use sqlx::Connection;
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(server).await.expect("the PostgreSQL server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("the server obeys");
    connection.close().await.expect("closes");
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

fn occasion() -> Occasion {
    Occasion { at: NOW, request: RequestId::from_random([1; 16]) }
}

/// An ordinary request.
fn now() -> Circumstances {
    Circumstances::at(UnixTime(0))
}

fn permit() -> Permit {
    // Reading the policies takes longer than many writes.
    static AUTHZ: LazyLock<Authz> = LazyLock::new(|| Authz::new([]).expect("no principals"));
    AUTHZ.authorize(&Caller::System("test"), Action::Reconcile, &Resource::service(), now()).expect("allowed")
}

fn event() -> AuditEvent {
    AuditEvent::effect(permit(), &occasion())
}

async fn commit(tx: Tx) {
    tx.commit(event()).await.expect("commits");
}

fn acquirer() -> AcquirerId {
    "acme".parse().expect("parses")
}

fn merchant() -> Merchant {
    Merchant { id: "m-1".parse().expect("parses"), acquirer: acquirer(), name: "Bäckerei Größl".to_owned(), created: NOW }
}

fn terminal(id: &str) -> Terminal {
    Terminal {
        id: id.parse().expect("parses"),
        merchant: merchant().id,
        acquirer: acquirer(),
        level: "standard".to_owned(),
        configuration: serde_json::from_str(r#"{"currency": "EUR", "limit": 5000}"#).expect("JSON"),
        created: NOW,
    }
}

fn activation(id: &str, terminal: &str, derivation_id: u32) -> Activation {
    Activation {
        id: id.parse().expect("parses"),
        terminal: terminal.parse().expect("parses"),
        acquirer: acquirer(),
        mac: [3; 32],
        derivation_id,
        ikid: ikid(derivation_id),
        state: ActivationState::Open,
        attempts: 0,
        created: NOW,
        expires: NOW.plus(3600),
        used: None,
    }
}

fn ikid(derivation_id: u32) -> [u8; 8] {
    let mut ikid = [0xA1; 8];
    ikid[4..].copy_from_slice(&derivation_id.to_be_bytes());
    ikid
}

fn device_id(number: u32) -> DeviceId {
    DeviceId::from_random(u128::from(number).to_be_bytes())
}

fn device(number: u32, terminal: &str) -> Device {
    Device {
        id: device_id(number),
        terminal: terminal.parse().expect("parses"),
        merchant: merchant().id,
        acquirer: acquirer(),
        level: "standard".to_owned(),
        state: DeviceState::Active,
        state_reason: None,
        ikid: ikid(number),
        derivation_id: number,
        secret: SealedSecret(vec![7; 80]),
        spki: number.to_be_bytes().to_vec(),
        transcript: [9; 32],
        enrolled: NOW,
        retired: None,
    }
}

/// A transaction with the merchant and these terminals in it.
async fn with_terminals(store: &Store, terminals: &[&str]) -> Tx {
    let mut tx = store.begin().await.expect("begins");
    tx.insert_merchant(&merchant()).await.expect("inserted");
    for id in terminals {
        tx.insert_terminal(&terminal(id)).await.expect("inserted");
    }
    tx
}

fn conflicts<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict(_)))
}

fn ids<T: Ord>(ids: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    ids.into_iter().collect()
}

fn activation_id(text: &str) -> ActivationId {
    text.parse().expect("parses")
}

fn terminal_id(text: &str) -> TerminalId {
    text.parse().expect("parses")
}

fn merchant_id(text: &str) -> MerchantId {
    text.parse().expect("parses")
}

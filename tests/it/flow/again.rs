//! Requests that are asked again (`Idempotency-Key`), and requests that only ask (`dry_run`), over both databases.

use reqwest::{Certificate, Identity, Method};
use serde_json::{Value, json};
use tillward::cli::api::Api;

use crate::scene::reason;
use crate::service::{ACQUIRER, Service};
use crate::store::{fresh_database, postgres};

/// The back end with headers of its own.
#[derive(Clone)]
struct Client {
    client: reqwest::Client,
    url: String,
}

/// Status, whether it was given before, and the document.
type Answer = (u16, bool, Value);

impl Client {
    fn of(service: &Service, role: &str) -> Self {
        let tls = service.workplace.dir.join("tls");
        let read = |name: String| std::fs::read(tls.join(name)).expect("a file");
        let identity = [read(format!("{role}-key.pem")), read(format!("{role}.pem"))].concat();
        let client = reqwest::Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&read("ca.pem".to_owned())).expect("PEM"))
            .identity(Identity::from_pem(&identity).expect("an identity"));
        Self { client: client.build().expect("a client"), url: format!("https://{}", service.address("backend")) }
    }

    async fn ask(&self, key: &str, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.url)).header("Idempotency-Key", key).json(body);
        let response = request.send().await.expect("an answer");
        let replayed = response.headers().contains_key("idempotency-replayed");
        (response.status().as_u16(), replayed, response.json().await.expect("JSON"))
    }
}

async fn prepared(url: Option<&str>) -> (Service, Api) {
    let service = Service::start_with(|config| url.map_or(config.clone(), |url| config.replace("sqlite:tillward.db", url)));
    let api = service.api("backend");
    api.put("/v1/merchants/m1", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("a merchant");
    api.put("/v1/terminals/t1", &json!({"merchant": "m1", "level": "standard"})).await.expect("a terminal");
    (service, api)
}

/// One database after the other; PostgreSQL where there is one.
async fn databases() -> Vec<Option<String>> {
    match postgres() {
        Some(server) => vec![None, Some(fresh_database(&server).await.1)],
        None => vec![None],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_asked_again_has_one_effect_and_one_answer() {
    for url in databases().await {
        let (mut service, _) = prepared(url.as_deref()).await;
        let client = Client::of(&service, "backend");
        let body = json!({"terminal": "t1"});

        // At once: one does the work; the others get its answer, or hear that it is under way.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (client, body) = (client.clone(), body.clone());
            tasks.spawn(async move { client.ask("\"first\"", Method::POST, "/v1/activations", &body).await });
        }
        let answers = tasks.join_all().await;
        let done: Vec<&Answer> = answers.iter().filter(|answer| answer.0 == 201).collect();
        let fresh: Vec<&&Answer> = done.iter().filter(|answer| !answer.1).collect();
        assert_eq!(fresh.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.0 == 201 || answer.2["reason"] == "idempotency-in-progress"), "{answers:?}");
        let id = fresh[0].2["id"].clone();
        assert!(fresh[0].2["code"].is_string() && fresh[0].2["supersedes"].is_null());

        // Later, and after a restart: the same, without what is shown once.
        assert!(service.stop().success());
        service.restart();
        let client = Client::of(&service, "backend");
        let (status, replayed, again) = client.ask("first", Method::POST, "/v1/activations", &body).await;
        assert_eq!((status, replayed, &again["id"]), (201, true, &id));
        assert!(again.get("code").is_none() && again.get("qr").is_none(), "{again}");

        // Another request under the key; the same key of somebody else.
        let other = client.ask("first", Method::POST, "/v1/activations", &json!({"terminal": "t2"})).await;
        assert_eq!((other.0, &other.2["reason"]), (422, &json!("idempotency-key-reused")));
        let operator = Client::of(&service, "operator").ask("first", Method::POST, "/v1/activations", &json!({"terminal": "t1"})).await;
        assert_eq!((operator.0, operator.1), (201, false));
        assert_eq!(operator.2["supersedes"], id);

        // A refusal is not kept: what it waited for may come.
        let body = json!({"merchant": "m2", "level": "standard"});
        let refused = client.ask("second", Method::PUT, "/v1/terminals/t2", &body).await;
        assert_eq!((refused.0, &refused.2["reason"]), (404, &json!("merchant-unknown")));
        service.api("backend").put("/v1/merchants/m2", &json!({"acquirer": ACQUIRER, "name": "Second"})).await.expect("a merchant");
        assert_eq!(client.ask("second", Method::PUT, "/v1/terminals/t2", &body).await.0, 200);
        for bad in ["", "a b", "\"open", &"x".repeat(65)] {
            let answer = client.ask(bad, Method::POST, "/v1/activations", &json!({"terminal": "t1"})).await;
            assert_eq!((answer.0, &answer.2["reason"]), (400, &json!("malformed")), "{bad}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (service, backend) = prepared(None).await;
    let (operator, auditor) = (service.api("operator"), service.api("auditor"));
    let entries = async || auditor.get("/v1/audit?limit=500").await.expect("the log")["entries"].as_array().map(Vec::len);
    let keys = async || operator.get("/v1/keys").await.expect("keys");
    let (before, keys_before) = (entries().await, keys().await);

    let would = backend.put("/v1/merchants/m9?dry_run=true", &json!({"acquirer": ACQUIRER, "name": "Nine"})).await.expect("would be done");
    assert_eq!(
        (&would["permitted"], &would["action"], &would["resource"]),
        (&json!(true), &json!("register_merchant"), &json!("merchant m9"))
    );
    let same = backend.put("/v1/merchants/m1?dry_run=true", &json!({"acquirer": ACQUIRER, "name": "Merchant"})).await.expect("is done");
    assert_eq!(same, json!({"permitted": true}));
    let code = backend.post("/v1/activations?dry_run=true", &json!({"terminal": "t1"})).await.expect("would be made");
    assert!(code["permitted"] == true && code.get("code").is_none(), "{code}");
    let body = json!({"key": "k", "purpose": "sign", "algorithm": "ec-p256", "acquirer": ACQUIRER});
    let key = operator.post("/v1/keys?dry_run=true", &body).await.expect("would be made");
    assert_eq!(key["action"], "create_key");

    assert_eq!(entries().await, before, "a dry run was written down");
    assert_eq!(keys().await, keys_before, "a dry run made a key");
    assert_eq!(reason(backend.get("/v1/merchants/m9").await), "merchant-unknown");

    // The same refusals as in earnest, and they are.
    assert_eq!(reason(backend.put("/v1/merchants/m9?dry_run=true", &json!({"acquirer": "nobody", "name": "Nine"})).await), "not-permitted");
    assert_eq!(
        reason(backend.put("/v1/merchants/m1?dry_run=true", &json!({"acquirer": ACQUIRER, "name": "Other"})).await),
        "already-registered"
    );
    assert_eq!(reason(backend.post("/v1/activations?dry_run=true", &json!({"terminal": "t9"})).await), "terminal-unknown");
    for bad in ["dry_run=maybe", "dry_run", "dry_run=true&dry_run=true", "dry-run=true"] {
        assert_eq!(reason(backend.post(&format!("/v1/activations?{bad}"), &json!({"terminal": "t1"})).await), "malformed", "{bad}");
    }
    assert_eq!(reason(backend.get("/v1/merchants/m1?dry_run=true").await), "malformed");
}

//! The OpenAPI 3.1 document of the back-end listener: what the handlers say of themselves ([`super::v1`]), and what is true of all of them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use super::problem::{DryRunReport, Problem};
use crate::ops::reason::Reason;

/// Where a handler lists the reasons for which it refuses, beyond those of all.
const REASONS: &str = "x-reasons";
/// The parameter that asks for nothing but an answer.
pub(super) const DRY_RUN: &str = "dry_run";
/// The header that names a request (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The members of a path item that are operations.
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

/// The document, and what the request layers read from it.
#[derive(Debug)]
pub(super) struct Document {
    json: Value,
    operations: BTreeMap<(String, String), Operation>,
}

/// What the document says of one operation.
#[derive(Debug, Default)]
pub(super) struct Operation {
    /// Names of its query parameters.
    pub query: BTreeSet<String>,
    /// Whether it takes an Idempotency-Key.
    pub has_effect: bool,
}

impl Document {
    /// Completes what the handlers say.
    pub(super) fn of(api: &utoipa::openapi::OpenApi) -> Self {
        let mut json = serde_json::to_value(api).expect("a document is made of texts");
        json["openapi"] = json!("3.1.0");
        json["info"] = json!({
            "title": "Tillward: the back-end API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What payment back ends and operators ask. docs/api.md is its page.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        });
        json["security"] = json!([{"mutualTLS": []}]);
        json["components"]["securitySchemes"] = json!({
            "mutualTLS": {"type": "mutualTLS", "description": "The certificate's only subjectAltName URI names the principal."},
        });
        json["components"]["schemas"]["Problem"] = serde_json::to_value(Problem::schema()).expect("a schema is made of texts");
        // Parsed member by member, and as strict as the rest.
        for parsed in ["PaymentMessage", "MacRequest"] {
            json["components"]["schemas"][parsed]["additionalProperties"] = json!(false);
        }
        // A parameter alone names it, and parameters bring no schemas.
        json["components"]["schemas"]["PlanId"] = serde_json::to_value(crate::schema::plan_id()).expect("a schema is made of texts");
        json["components"]["schemas"]["DryRun"] = serde_json::to_value(DryRunReport::schema()).expect("a schema is made of texts");
        json["components"]["headers"] = json!({
            "X-Request-Id": {"description": "Leads to the request in log and audit log.", "required": true,
                "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"}},
            "Idempotency-Replayed": {"description": "The answer to an earlier request with the same Idempotency-Key.", "required": false,
                "schema": {"const": "true"}},
            "Retry-After": {"description": "Seconds.", "required": true, "schema": {"type": "integer", "minimum": 1}},
        });
        let mut operations = BTreeMap::new();
        for (path, item) in json["paths"].as_object_mut().into_iter().flatten() {
            for (method, operation) in item.as_object_mut().into_iter().flatten().filter(|(method, _)| METHODS.contains(&method.as_str())) {
                complete(operation);
                operations.insert((method.clone(), path.clone()), Operation::of(operation));
            }
        }
        Self { json, operations }
    }

    /// The document as it is served.
    pub(super) fn json(&self) -> &Value {
        &self.json
    }

    /// What it says of an operation.
    pub(super) fn operation(&self, method: &Method, path: &str) -> Option<&Operation> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.operations.get(&(method.as_str().to_ascii_lowercase(), path.to_owned()))
    }
}

impl Operation {
    fn of(operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let names = parameters.filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str().map(str::to_owned));
        Self { query: names.collect(), has_effect: has_parameter(operation, IDEMPOTENCY_KEY) }
    }
}

fn has_parameter(operation: &Value, name: &str) -> bool {
    operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["name"] == name)
}

/// Adds what every operation has: the refusals of all, and the headers.
fn complete(operation: &mut Value) {
    let named = operation.as_object_mut().and_then(|members| members.remove(REASONS)).unwrap_or_default();
    let named: Vec<&str> = named.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut reasons: Vec<Reason> = Reason::ALL.into_iter().filter(|reason| named.contains(&reason.code())).collect();
    reasons.extend(Reason::OF_ALL);
    if operation["parameters"].as_array().into_iter().flatten().any(|p| p["in"] == "path") {
        reasons.push(Reason::NotFound);
    }
    if operation.get("requestBody").is_some() {
        reasons.push(Reason::UnsupportedMediaType);
    }
    let has_effect = has_parameter(operation, IDEMPOTENCY_KEY);
    if has_effect {
        reasons.extend([Reason::IdempotencyKeyReused, Reason::IdempotencyInProgress]);
    }
    let dry_run = has_parameter(operation, DRY_RUN);
    let mut by_status: BTreeMap<u16, Vec<Reason>> = BTreeMap::new();
    for reason in reasons {
        by_status.entry(reason.status()).or_default().push(reason);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for response in responses.values_mut() {
        response["description"] = json!("Done.");
        header(response, "X-Request-Id");
        if has_effect {
            header(response, "Idempotency-Replayed");
        }
    }
    if dry_run {
        let report = json!({"$ref": "#/components/schemas/DryRun"});
        if let Some(done) = responses.get_mut("200") {
            let schema = &mut done["content"]["application/json"]["schema"];
            *schema = json!({"anyOf": [schema.take(), report]});
            done["description"] = json!("Done; of a dry run, what would be done.");
        } else {
            let mut only = json!({"description": "A dry run: what would be done.", "content": {"application/json": {"schema": report}}});
            header(&mut only, "X-Request-Id");
            responses.insert("200".to_owned(), only);
        }
    }
    for (status, reasons) in by_status {
        responses.insert(status.to_string(), refusal(status, &reasons));
    }
}

fn refusal(status: u16, reasons: &[Reason]) -> Value {
    let codes: BTreeSet<&str> = reasons.iter().map(|reason| reason.code()).collect();
    let titles: Vec<&str> = reasons.iter().map(|reason| reason.title()).collect();
    let narrowed = json!({"properties": {"status": {"const": status}, "reason": {"enum": codes}}});
    let mut response = json!({
        "description": format!("{}.", titles.join(". ")),
        "content": {"application/problem+json": {"schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]}}},
    });
    header(&mut response, "X-Request-Id");
    if status == 503 {
        header(&mut response, "Retry-After");
    }
    response
}

fn header(response: &mut Value, name: &str) {
    let reference = json!({"$ref": format!("#/components/headers/{name}")});
    match response["headers"].as_object_mut() {
        Some(headers) => _ = headers.insert(name.to_owned(), reference),
        None => response["headers"] = Value::Object(Map::from_iter([(name.to_owned(), reference)])),
    }
}

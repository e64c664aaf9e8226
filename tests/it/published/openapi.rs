//! The OpenAPI document in docs/, and what it says of every operation.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&tillward::http::openapi()).expect("JSON")
}

/// Every operation: path, method, what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item)| {
        let item: &serde_json::Map<String, Value> = Value::as_object(item).expect("an item");
        item.iter().map(move |(method, operation)| (String::as_str(path), method.as_str(), operation))
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_document_is_published_as_it_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let expected = tillward::http::openapi();
    if std::env::var_os("TILLWARD_WRITE_EXAMPLES").is_some() {
        std::fs::write(&path, &expected).expect("writes");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/openapi.json is not what is served: TILLWARD_WRITE_EXAMPLES=1 writes it");
}

#[test]
fn every_operation_has_a_name_of_its_own_an_answer_and_its_refusals() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{name} twice");
        assert!(operation["summary"].is_string(), "{method} {path} does not say what it does");
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        for status in ["400", "403", "408", "413", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {path} does not say {status}");
        }
        for (status, response) in responses {
            assert!(response["headers"]["X-Request-Id"].is_object(), "{method} {path} {status}");
            assert_eq!(response["headers"]["Retry-After"].is_object(), status == "503", "{method} {path} {status}");
        }
    }
}

#[test]
fn the_page_of_the_api_has_every_operation_and_no_other() {
    let document = document();
    let page = include_str!("../../../docs/api.md");
    let listed: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(endpoint, _)| endpoint.to_owned()))
        .filter(|endpoint| endpoint.contains(" /v1/"))
        .collect();
    let served: BTreeSet<String> =
        operations(&document).into_iter().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
    assert_eq!(listed, served);
}

#[test]
fn every_reference_leads_somewhere() {
    fn look(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("inside the document");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| look(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| look(value, document)),
            _ => {}
        }
    }
    let document = document();
    look(&document, &document);
}

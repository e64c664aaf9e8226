//! What the documents quote is what the code says. `TILLWARD_WRITE_EXAMPLES=1` writes it anew.

mod openapi;

use std::path::Path;

/// The text of a document between two marks is `expected`.
pub(crate) fn quotes(document: &str, from: &str, to: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(&path).expect("the document");
    let start = text.find(from).expect("the first mark") + from.len();
    let start = start + text[start..].find('\n').expect("a line") + 1;
    let end = start + text[start..].find(to).expect("the second mark");
    if std::env::var_os("TILLWARD_WRITE_EXAMPLES").is_some() {
        std::fs::write(&path, format!("{}{expected}{}", &text[..start], &text[end..])).expect("writes");
        return;
    }
    assert_eq!(&text[start..end], expected, "{document} does not say what the code does: TILLWARD_WRITE_EXAMPLES=1 writes it");
}

#[test]
fn the_failure_rules_are_published_as_they_are() {
    let table = format!("\n{}\n", tillward_hsm::rules::published());
    quotes("docs/operations.md", "<!-- failure rules:", "<!-- end of failure rules -->", &table);
}

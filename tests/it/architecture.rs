//! The direction of the code, as src/lib.rs draws it, and who may name what. The rules are asked of every source file, without its
//! tests; each rule is also shown a file that breaks it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules of the library from the ground up. A module names those of its own row and below.
const ROWS: [&[&str]; 6] = [
    &["id", "clock", "wire", "jose", "schema"],
    &["key", "attestation", "pki", "payment", "enrolment", "ceremony"],
    &["store", "authz", "audit", "config"],
    &["ops", "app", "service", "policies"],
    &["http"],
    &["cli"],
];

/// Time, nonces and serial numbers are arguments here.
const PURE: [&str; 12] = ["id", "clock", "wire", "jose", "schema", "key", "attestation", "pki", "payment", "enrolment", "authz", "audit"];

/// What no pure module names.
const IMPURE: [&str; 18] = [
    "tokio",
    "sqlx",
    "axum",
    "hyper",
    "tower",
    "reqwest",
    "rustls",
    "cryptoki",
    "tillward_hsm",
    "getrandom",
    "SysRng",
    "SystemTime",
    "Instant",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "Timestamp::now",
];

/// A name, and the only places where it may stand: folders end with a slash.
const FENCED: [(&str, &[&str]); 20] = [
    ("cryptoki", &["hsm/src/"]),
    ("cryptoki_sys", &["hsm/src/", "hsm/fault-module/src/"]),
    ("unsafe", &["hsm/src/host/ffi.rs", "hsm/fault-module/src/ffi/"]),
    ("sqlx", &["src/store/"]),
    ("cedar_policy", &["src/authz/"]),
    ("miette", &["src/authz/"]),
    ("axum", &["src/http/"]),
    ("utoipa_axum", &["src/http/"]),
    ("hyper", &["src/http/"]),
    ("hyper_util", &["src/http/"]),
    ("tower", &["src/http/"]),
    ("tower_http", &["src/http/"]),
    ("tokio_rustls", &["src/http/"]),
    ("anyhow", &["src/cli/"]),
    ("clap", &["src/cli/"]),
    ("rcgen", &["src/cli/"]),
    ("plotters", &["src/cli/bench/"]),
    ("reqwest", &["src/cli/", "device/src/"]),
    ("tillward_device", &["src/cli/"]),
    ("tillward", &["src/main.rs"]),
];

/// What is wrong with a file.
fn violations(path: &str, source: &str) -> Vec<String> {
    let code = without_tests(&bare(source));
    let words = words(&code);
    let mut all = Vec::new();
    for (name, places) in FENCED {
        let at_home = places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)));
        if !at_home && words.contains(name) {
            all.push(format!("{path} names {name}"));
        }
    }
    let Some(module) = path.strip_prefix("src/").and_then(|rest| rest.split(['/', '.']).next()) else { return all };
    if PURE.contains(&module) {
        for name in IMPURE {
            // The one place that reads the wall clock; and the words of managed keys, which are pure, and the same in the host: a label and a
            // row have to mean the same key.
            let excepted = match (module, name) {
                ("clock", "Timestamp::now") => true,
                ("key" | "schema" | "audit", "tillward_hsm") => only_below(&code, "tillward_hsm", "::managed::"),
                _ => false,
            };
            if names(&code, &words, name) && !excepted {
                all.push(format!("{path} is pure and names {name}"));
            }
        }
    }
    let Some(row) = row_of(module) else {
        if !["lib", "main"].contains(&module) {
            all.push(format!("{path} belongs to no row of the architecture"));
        }
        return all;
    };
    for named in modules_named(path, &code) {
        if row_of(&named).is_some_and(|other| other > row) {
            all.push(format!("{path} names {named}, which stands above it"));
        }
    }
    all
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// Modules of the library that the file names: by `crate::` or by going up with `super::`.
fn modules_named(path: &str, code: &str) -> BTreeSet<String> {
    let below_root = path.trim_end_matches("/mod.rs").matches('/').count();
    let up = "super::".repeat(below_root);
    let mut all = BTreeSet::new();
    for root in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => all.extend(first_names(group)),
                None => all.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)),
            }
        }
    }
    all
}

/// The first names of a group of imports, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut name, mut names, mut first) = (0, String::new(), Vec::new(), true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => (first, name) = (true, String::new()),
            c if first && (c.is_alphanumeric() || c == '_') => name.push(c),
            c if first && !c.is_whitespace() => first = false,
            _ => continue,
        }
        if !name.is_empty() && names.last() != Some(&name) {
            if names.last().is_some_and(|last: &String| name.starts_with(last.as_str()) && first) {
                names.pop();
            }
            names.push(name.clone());
        }
    }
    names
}

/// Whether a name, or a path of names, stands in the code.
fn names(code: &str, words: &BTreeSet<String>, name: &str) -> bool {
    if name.contains("::") { code.contains(name) } else { words.contains(name) }
}

/// Whether the name stands only before this path.
fn only_below(code: &str, name: &str, path: &str) -> bool {
    code.match_indices(name).all(|(at, _)| code[at + name.len()..].starts_with(path))
}

fn words(code: &str) -> BTreeSet<String> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
}

/// The code without comments, and without what stands in its texts.
fn bare(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") && rest.trim_start_matches(['r', '#']).starts_with('"') => {
                let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
                let close = format!("\"{}", "#".repeat(hashes));
                rest[2 + hashes..].find(&close).map_or(rest.len(), |end| 2 + hashes + end + close.len())
            }
            '\'' if rest.starts_with("'\\") => rest[2..].find('\'').map_or(rest.len(), |end| end + 3),
            '\'' if rest.chars().nth(2) == Some('\'') => rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at),
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        out.push(' ');
        // The escape that is the quote itself: '\''.
        let skip = if rest.starts_with("'\\''") { 4 } else { skip };
        rest = &rest[skip..];
    }
    out
}

/// Length of the text that starts here, both quotes counted.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Without what is compiled for tests only: the item behind `#[cfg(test)]`, to its closing brace or its semicolon.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some((before, behind)) = rest.split_once("#[cfg(test)]") {
        out.push_str(before);
        let mut depth = 0_usize;
        let end = behind.char_indices().find_map(|(at, c)| {
            match c {
                ';' if depth == 0 => return Some(at + 1),
                '{' => depth += 1,
                '}' if depth == 1 => return Some(at + 1),
                '}' => depth -= 1,
                _ => {}
            }
            None
        });
        rest = &behind[end.unwrap_or(behind.len())..];
    }
    out.push_str(rest);
    out
}

/// Every source file below a folder.
fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

#[test]
fn no_file_names_what_stands_above_it_or_behind_a_fence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "hsm/src", "hsm/fault-module/src", "device/src"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 150, "only {} files were found", files.len());
    let mut all = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root).expect("below the root").to_str().expect("UTF-8");
        if !path.ends_with("/tests.rs") && !path.contains("/tests/") {
            all.extend(violations(path, &std::fs::read_to_string(file).expect("a file")));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_rule_can_be_broken() {
    for (path, source) in [
        ("src/wire.rs", "use crate::pki::names;"),
        ("src/pki/tbs.rs", "use crate::store::Store;"),
        ("src/pki/tbs.rs", "use super::super::ops::sign;"),
        ("src/pki/mod.rs", "use super::store::Store;"),
        ("src/store/db.rs", "use crate::{id::DeviceId, ops::enrol};"),
        ("src/store/db.rs", "use crate::{id::{DeviceId, MerchantId}, app};"),
        ("src/ops/enrol.rs", "fn f() { crate::http::problem() }"),
        ("src/http/mod.rs", "use crate::cli;"),
        ("src/surprise.rs", "fn f() {}"),
        ("src/ops/enrol.rs", "use cryptoki::Pkcs11;"),
        ("src/ops/enrol.rs", "fn f() { sqlx::query(\"\") }"),
        ("src/ops/enrol.rs", "use axum::Json;"),
        ("src/ops/enrol.rs", "use cedar_policy::Policy;"),
        ("src/ops/enrol.rs", "fn f() -> anyhow::Result<()> {}"),
        ("src/store/db.rs", "use hyper::body;"),
        ("src/http/mod.rs", "fn f() { unsafe { g() } }"),
        ("hsm/src/host/raw.rs", "unsafe fn f() {}"),
        ("hsm/fault-module/src/rules.rs", "unsafe fn f() {}"),
        ("device/src/phone.rs", "use tillward::wire;"),
        ("device/src/phone.rs", "use cryptoki::Pkcs11;"),
        ("src/pki/tbs.rs", "use tokio::time;"),
        ("src/pki/tbs.rs", "fn f() { std::env::var(\"X\") }"),
        ("src/pki/tbs.rs", "fn f() { std::time::SystemTime::now() }"),
        ("src/attestation/level.rs", "fn f() { jiff::Timestamp::now() }"),
        ("src/enrolment/code.rs", "fn f() { getrandom::fill(&mut x) }"),
        ("src/payment/message.rs", "use tillward_hsm::Hsm;"),
        ("src/payment/message.rs", "use tillward_hsm::managed::KeyName;"),
        ("src/key/mod.rs", "use tillward_hsm::managed::KeyName; use tillward_hsm::Hsm;"),
        ("src/key/mod.rs", "use tillward_hsm::{managed::KeyName, Hsm};"),
        ("src/pki/tbs.rs", "#[cfg(test)]\nmod tests { fn f() { '{'; \"}\" } }\nuse tokio::time;"),
        ("src/pki/tbs.rs", "#[cfg(test)]\nuse super::x;\nuse tokio::time;"),
    ] {
        assert!(!violations(path, source).is_empty(), "{path}: {source}");
    }
}

#[test]
fn what_is_allowed_breaks_no_rule() {
    for (path, source) in [
        ("src/ops/enrol.rs", "use crate::{pki::names, store::Store, app::App}; use super::super::store; use tillward_hsm::Hsm;"),
        ("src/store/db.rs", "use sqlx::Any; use super::super::id::DeviceId;"),
        ("src/pki/tbs.rs", "// use crate::store, tokio\nfn f() { \"crate::ops unsafe\"; r#\"\"axum\" \"#; '\"'; '\\''; env!(\"X\") }"),
        ("src/pki/tbs.rs", "fn f<'a>() {}\n#[cfg(test)]\nmod tests { use tokio::fs; }"),
        ("src/clock.rs", "fn f() { jiff::Timestamp::now() }"),
        ("src/key/mod.rs", "use tillward_hsm::managed::{KeyName, Purpose};"),
        ("hsm/src/host/ffi.rs", "unsafe { f() }"),
        ("src/lib.rs", "#![forbid(unsafe_code)] pub mod http;"),
    ] {
        assert_eq!(violations(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

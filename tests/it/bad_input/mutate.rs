//! From a good body, every bad one: each member wrong in every way that its kind of value can be wrong.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

/// Planted where a value can hold it; it must never come back.
pub(super) const MARKER: &str = "hunter2marker";

/// Members that hold DER.
const DER: [&str; 1] = ["csr"];

/// Members that need not be there: the challenge says whether there is a signature.
const OPTIONAL: [&str; 2] = ["configuration", "signature"];

/// Members that may be empty.
const MAY_BE_EMPTY: [&str; 2] = ["aad", "data"];

/// What a code forgives (docs/protocol.md §3.1).
const FORGIVEN_IN_A_CODE: [&str; 2] = ["a blank before", "the other case"];

/// A bad body.
pub(super) struct Bad {
    pub(super) name: String,
    pub(super) body: Vec<u8>,
}

/// Bodies that are not of the documented form whatever else is true: they must be `malformed`, and touch nothing.
pub(super) fn malformed(good: &Value) -> Vec<Bad> {
    let mut all = Vec::new();
    let text = serde_json::to_vec(good).unwrap();
    let mut add = |name: &str, body: Vec<u8>| all.push(Bad { name: name.to_owned(), body });
    add("empty", Vec::new());
    add("blank", b" \n".to_vec());
    add("not JSON", MARKER.into());
    add("null", b"null".to_vec());
    add("a text", format!("\"{MARKER}\"").into());
    add("a list", format!("[\"{MARKER}\"]").into());
    add("the members' values as a list", serde_json::to_vec(&good.as_object().unwrap().values().collect::<Vec<_>>()).unwrap());
    add("a list of it", [b"[", &text[..], b"]"].concat());
    add("cut off", text[..text.len() - 1].to_vec());
    add("cut in half", text[..text.len() / 2].to_vec());
    add("twice", [&text[..], &text].concat());
    add("something behind it", [&text[..], MARKER.as_bytes()].concat());
    add("a NUL behind it", [&text[..], b"\0"].concat());
    add("a byte order mark", [b"\xEF\xBB\xBF", &text[..]].concat());
    add("UTF-16", String::from_utf8(text.clone()).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect());
    add("not UTF-8", [&text[..text.len() - 1], b",\"\xFF\xFEhunter2marker\":1}"].concat());
    add("an unpaired surrogate", [&text[..text.len() - 1], br#","\ud800hunter2marker":1}"#].concat());
    add("an infinite number", [&text[..text.len() - 1], b",\"hunter2marker\":1e999}"].concat());
    add("deep", [b"[".repeat(30_000), b"]".repeat(30_000)].concat());
    add("deep objects", [b"{\"a\":".repeat(10_000), b"1".to_vec(), b"}".repeat(10_000)].concat());
    add("trailing comma", [&text[..text.len() - 1], b",}"].concat());
    add("a comment", [b"/*hunter2marker*/", &text[..]].concat());
    let mut more = good.clone();
    more[MARKER] = json!(MARKER);
    add("an unknown member", serde_json::to_vec(&more).unwrap());
    for (member, value) in good.as_object().unwrap() {
        let again = format!(",{}:{}}}", json!(member), value);
        add(&format!("{member} twice"), [&text[..text.len() - 1], again.as_bytes()].concat());
        if !OPTIONAL.contains(&member.as_str()) {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(member);
            add(&format!("no {member}"), serde_json::to_vec(&without).unwrap());
        }
        for wrong in wrong_types(value) {
            if wrong == json!("") && MAY_BE_EMPTY.contains(&member.as_str()) {
                continue;
            }
            let mut body = good.clone();
            body[member] = wrong.clone();
            let mut shown = wrong.to_string();
            shown.truncate(60);
            add(&format!("{member} = {shown}"), serde_json::to_vec(&body).unwrap());
        }
    }
    all
}

/// Values of another type.
fn wrong_types(value: &Value) -> Vec<Value> {
    let mut all = vec![
        json!(null),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(true),
        json!([]),
        json!([MARKER]),
        json!([value]),
    ];
    if value.is_object() {
        all.extend([json!(""), json!(MARKER)]);
    } else {
        // The last is how serde writes an enum's unit variant as an object.
        all.extend([json!({}), json!({MARKER: MARKER}), json!({value.as_str().unwrap_or("x"): null}), json!("")]);
    }
    all
}

/// Bodies with a value that is wrong in itself: refused, by whatever part of Tillward looks at that value.
pub(super) fn garbled(good: &Value) -> Vec<Bad> {
    let mut all = Vec::new();
    for path in leaves(good) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let value = good.pointer(&path).unwrap();
        for (what, wrong) in wrong_values(name, value) {
            let mut body = good.clone();
            *body.pointer_mut(&path).unwrap() = wrong;
            all.push(Bad { name: format!("{path}: {what}"), body: serde_json::to_vec(&body).unwrap() });
        }
        // Nested members: gone, and one more.
        if path.matches('/').count() > 1 {
            let (parent, _) = path.rsplit_once('/').unwrap();
            let mut without = good.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            all.push(Bad { name: format!("no {path}"), body: serde_json::to_vec(&without).unwrap() });
            let mut more = good.clone();
            more.pointer_mut(parent).unwrap()[MARKER] = json!(MARKER);
            all.push(Bad { name: format!("more beside {path}"), body: serde_json::to_vec(&more).unwrap() });
            for wrong in wrong_types(value) {
                if &wrong == value {
                    continue;
                }
                let mut body = good.clone();
                *body.pointer_mut(&path).unwrap() = wrong.clone();
                all.push(Bad { name: format!("{path} = {wrong}"), body: serde_json::to_vec(&body).unwrap() });
            }
        }
    }
    all
}

/// JSON pointers to everything that is no object.
fn leaves(value: &Value) -> Vec<String> {
    fn walk(members: &Map<String, Value>, at: &str, all: &mut Vec<String>) {
        for (name, value) in members {
            let path = format!("{at}/{name}");
            match value {
                Value::Object(inner) => walk(inner, &path, all),
                _ => all.push(path),
            }
        }
    }
    let mut all = Vec::new();
    walk(value.as_object().unwrap(), "", &mut all);
    all
}

fn wrong_values(name: &str, value: &Value) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = Vec::new();
    match value {
        Value::String(text) => {
            for (what, wrong) in wrong_texts(text) {
                if name != "code" || !FORGIVEN_IN_A_CODE.contains(&what.as_str()) {
                    all.push((what, json!(wrong)));
                }
            }
            if DER.contains(&name) {
                let der = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
                all.extend(wrong_der(&der).into_iter().map(|(what, der)| (what, json!(BASE64URL_NOPAD.encode(&der)))));
            }
            if name != "code"
                && let Ok(bytes) = BASE64URL_NOPAD.decode(text.as_bytes())
                && bytes.len() >= 12
            {
                for (what, wrong) in wrong_bytes(&bytes) {
                    all.push((what, json!(BASE64URL_NOPAD.encode(&wrong))));
                }
            }
        }
        Value::Number(_) => {
            for wrong in [json!(0), json!(-1), json!(1.0), json!(u64::MAX), json!(1e300), json!("16")] {
                all.push((wrong.to_string(), wrong));
            }
        }
        Value::Bool(truth) => all.push(("the other".to_owned(), json!(!truth))),
        _ => {}
    }
    all.retain(|(_, wrong)| wrong != value);
    all
}

fn wrong_texts(text: &str) -> Vec<(String, String)> {
    let mut last = text.to_owned();
    let next = match last.pop() {
        Some('9') => '8',
        Some('Z') => 'Y',
        Some('z') => 'y',
        Some(c) => char::from(u8::try_from(c).unwrap_or(b'a') + 1),
        None => 'x',
    };
    let middle = text.chars().count() / 2;
    let put = |what: char| text.chars().enumerate().map(|(at, c)| if at == middle { what } else { c }).collect::<String>();
    let swapped = text.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    [
        ("the marker", MARKER.to_owned()),
        ("the marker behind", format!("{text}{MARKER}")),
        ("the marker before", format!("{MARKER}{text}")),
        ("over-long", MARKER.repeat(3_000)),
        ("padding", format!("{text}=")),
        ("more padding", format!("{text}==")),
        ("one more symbol", format!("{text}A")),
        ("a line break behind", format!("{text}\n")),
        ("a blank before", format!(" {text}")),
        ("another last symbol", format!("{last}{next}")),
        ("one symbol less", last),
        ("a plus", put('+')),
        ("a slash", put('/')),
        ("a NUL", put('\0')),
        ("not ASCII", put('é')),
        ("a sign that looks alike", put('а')),
        ("a picture", put('💳')),
        ("the other case", swapped),
        ("a quote", format!("{text}' OR '1'='1")),
        ("a path", "../../../../etc/passwd".to_owned()),
        ("a line of log", format!("x\r\n{{\"level\":\"ERROR\",\"message\":\"{MARKER}\"}}")),
        ("a format", "{}%s%n${jndi:ldap://hunter2marker}".to_owned()),
        ("a JWS without a signature", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        ("empty segments", "..".to_owned()),
        ("a fourth segment", format!("{text}.{MARKER}")),
    ]
    .into_iter()
    .map(|(what, wrong)| (what.to_owned(), wrong))
    .collect()
}

fn wrong_bytes(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("no bytes".to_owned(), Vec::new()),
        ("zeros".to_owned(), vec![0; bytes.len()]),
        ("ones".to_owned(), vec![0xFF; bytes.len()]),
        ("one byte less".to_owned(), bytes[1..].to_vec()),
        ("one byte more".to_owned(), [bytes, &[0]].concat()),
        ("a zero before".to_owned(), [&[0], bytes].concat()),
        ("twice".to_owned(), bytes.repeat(2)),
        ("30 KiB".to_owned(), vec![0x30; 30 * 1024]),
    ];
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x01;
        all.push((format!("byte {at} flipped"), flipped));
    }
    all
}

/// DER that is not, or not this.
fn wrong_der(der: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = (1..der.len()).step_by(13).map(|at| (format!("cut at {at}"), der[..at].to_vec())).collect();
    for at in (0..der.len()).step_by(5) {
        let mut flipped = der.to_vec();
        flipped[at] ^= 0x20;
        all.push((format!("DER byte {at} flipped"), flipped));
    }
    let content = &der[der.len() - usize::from(u8::try_from(der.len() - 2).map_or(der[2], |_| der[1]))..];
    all.push(("indefinite length".to_owned(), [&[0x30, 0x80], content, &[0, 0]].concat()));
    all.push(("a length in four bytes".to_owned(), [&[0x30, 0x84, 0, 0, 0, u8::try_from(content.len()).unwrap_or(0)], content].concat()));
    all.push(("a length of 2^64 - 1".to_owned(), [&[0x30, 0x88][..], &[0xFF; 8], content].concat()));
    all.push(("deep".to_owned(), vec![0x30; 4096]));
    all.push(("deep and indefinite".to_owned(), [0x30, 0x80].repeat(2048)));
    all.push(("a set".to_owned(), [&[0x31], &der[1..]].concat()));
    all.push(("the marker".to_owned(), MARKER.into()));
    all
}

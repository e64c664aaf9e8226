//! The forms of docs/api.md as JSON Schema (OpenAPI 3.1), where a Rust type does not say them: for `#[schema(schema_with = ...)]`.

use tillward_hsm::managed::{KekForm, KeyAlgorithm, Purpose, SignatureScheme};
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

/// Text of a pattern.
pub fn text(pattern: &str) -> RefOr<Schema> {
    pattern_of(pattern).into()
}

fn pattern_of(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

/// Canonical base64url without padding of `MIN` to `MAX` bytes.
pub fn base64url<const MIN: usize, const MAX: usize>() -> Object {
    // n bytes are n * 4 / 3 characters, rounded up.
    let characters = |bytes: usize| (bytes * 4).div_ceil(3);
    let pattern = "^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$";
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .min_length(Some(characters(MIN)))
        .max_length(Some(characters(MAX)))
        .description(Some("base64url without padding (RFC 4648 §5)"))
        .build()
}

/// Upper-case hexadecimal of `BYTES` bytes.
pub fn hex<const BYTES: usize>() -> Object {
    pattern_of(&format!("^[0-9A-F]{{{}}}$", BYTES * 2))
}

/// Lower-case hexadecimal of a SHA-256.
pub fn fingerprint() -> Object {
    pattern_of("^[0-9a-f]{64}$")
}

/// A time, RFC 3339.
pub fn time() -> Object {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).build()
}

/// A name for people: 1 to 100 printable characters, not all of them blank.
pub fn display_name() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(100))
        .pattern(Some("^[^\\x00-\\x1f\\x7f-\\x9f]*[!-~][^\\x00-\\x1f\\x7f-\\x9f]*$"))
        .build()
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

/// What a managed key is for.
pub fn key_purpose() -> Object {
    words(Purpose::ALL.map(Purpose::name))
}

/// What a managed key is.
pub fn key_algorithm() -> Object {
    words(KeyAlgorithm::ALL.map(KeyAlgorithm::name))
}

/// How a signature is made.
pub fn signature_scheme() -> Object {
    words(SignatureScheme::ALL.map(SignatureScheme::name))
}

/// In what form keys travel under a partner's KEK.
pub fn kek_form() -> Object {
    words([KekForm::KeyBlock, KekForm::Kwp].map(KekForm::name))
}

/// What only a quorum may ask for.
pub fn deed() -> Object {
    words(["destroy-key", "report-compromise", "export-key", "import-key", "change-policy", "change-officers", "use-root-ca"])
}

/// Version of a managed key, from 1.
pub fn key_version() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u32::MAX)).build()
}

/// Id of a plan.
pub fn plan_id() -> Object {
    pattern_of("^[0-9a-f]{32}$")
}

/// Name of a managed key.
pub fn key_name() -> Object {
    pattern_of("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
}

/// One of some words.
pub fn one_of<const N: usize>(names: [&'static str; N]) -> Object {
    words(names)
}

/// The same forms where a member may be absent or null.
pub mod optional {
    use serde_json::Value;
    use utoipa::openapi::schema::{Object, SchemaType, Type};

    fn or_null(mut form: Object) -> Object {
        if let SchemaType::Type(kind) = form.schema_type.clone() {
            form.schema_type = SchemaType::from_iter([kind, Type::Null]);
        }
        if let Some(values) = &mut form.enum_values {
            values.push(Value::Null);
        }
        form
    }

    /// [`super::base64url`].
    pub fn base64url<const MIN: usize, const MAX: usize>() -> Object {
        or_null(super::base64url::<MIN, MAX>())
    }

    /// [`super::key_version`].
    pub fn key_version() -> Object {
        or_null(super::key_version())
    }

    /// [`super::signature_scheme`].
    pub fn signature_scheme() -> Object {
        or_null(super::signature_scheme())
    }

    /// [`super::key_name`].
    pub fn key_name() -> Object {
        or_null(super::key_name())
    }

    /// [`super::key_purpose`].
    pub fn key_purpose() -> Object {
        or_null(super::key_purpose())
    }

    /// [`super::key_algorithm`].
    pub fn key_algorithm() -> Object {
        or_null(super::key_algorithm())
    }

    /// [`super::kek_form`].
    pub fn kek_form() -> Object {
        or_null(super::kek_form())
    }

    /// [`super::fingerprint`].
    pub fn fingerprint() -> Object {
        or_null(super::fingerprint())
    }
}

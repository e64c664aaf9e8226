//! The only mapping from an operation's error to HTTP: RFC 9457 problem documents.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;

use crate::audit::WouldBe;
use crate::ops::error::{OpError, Refusal, chain};
use crate::ops::reason::Reason;

/// The body of every answer that is not a success. `request_id` is filled in by the request layer.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
}

impl Problem {
    /// The problem document of a refusal.
    pub fn new(refusal: Refusal) -> Self {
        let reason = refusal.reason;
        Self {
            kind: format!("urn:tillward:problem:{}", reason.code()),
            title: reason.title(),
            status: reason.status(),
            reason: reason.code(),
            detail: refusal.detail,
            challenge: refusal.challenge,
            request_id: String::new(),
        }
    }

    /// The stable code.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The same document for this request.
    #[must_use]
    pub fn for_request(mut self, request_id: &str) -> Self {
        request_id.clone_into(&mut self.request_id);
        self
    }
}

/// The answer to a dry run.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DryRunReport {
    /// Always true: anything else is a refusal.
    permitted: bool,
    /// What would be done; absent where all of it is done already, so that nothing would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    /// To what: kind and id.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    /// What the audit log would say of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    detail: BTreeMap<&'static str, String>,
}

impl DryRunReport {
    fn of(would_be: WouldBe) -> Self {
        Self { permitted: true, action: Some(would_be.action), resource: Some(would_be.resource), detail: would_be.detail }
    }

    /// Nothing would change.
    pub(super) fn nothing() -> Self {
        Self { permitted: true, action: None, resource: None, detail: BTreeMap::new() }
    }
}

/// Beside an answer that is no success and says itself what is wrong, in a form of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnWords;

/// The answer: status, problem document, and for 503 when to ask again. The document also travels as an extension, so that
/// the request layer can add the request id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.clone())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for OpError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => Problem::new(refusal).into_response(),
            Self::Unavailable { reason, source } => {
                tracing::warn!(reason = reason.code(), error = %chain(source.as_ref()), "unavailable");
                Problem::new(reason.into()).into_response()
            }
            Self::DryRun(would_be) => (Extension(OwnWords), Json(DryRunReport::of(*would_be))).into_response(),
            Self::Internal { doing, source } => {
                tracing::error!(doing, error = %chain(source.as_ref()), "internal error");
                Problem::new(Reason::Internal.into()).into_response()
            }
        }
    }
}

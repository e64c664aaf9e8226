//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) on what has an effect. The key is reserved before the work, and its answer kept
//! after it; whoever asks the same again gets the answer again.
//!
//! 1. The key is reserved with the fingerprint of the request. A crash after it leaves a reservation without an answer.
//! 2. The work is done, to its end even if the caller goes away. A crash leaves the same, and the effect.
//! 3. An effect's answer is kept; a refusal had no effect, and its reservation is taken back.
//!
//! A reservation without an answer that is older than any request can be is taken over by the next request with the same key, and the work is
//! done again: what is there already stays as it is or is refused by its state, and a second activation code revokes the first.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest as _, MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tracing::Instrument as _;

use super::openapi::{Document, IDEMPOTENCY_KEY};
use super::problem::Problem;
use super::query::DryRun;
use crate::audit::RequestId;
use crate::authz::Caller;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use crate::ops::sha256;
use crate::service::Service;
use crate::store::{Reservation, Reserved};

/// Beside an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// How long an answer is kept, in seconds.
const KEPT: i64 = 24 * 60 * 60;
/// Longest answer that is kept.
const LONGEST: usize = 64 * 1024;
/// Members that are shown once, and not kept: an activation's code.
const SHOWN_ONCE: [&str; 2] = ["code", "qr"];

/// What the layer needs.
#[derive(Clone)]
pub(super) struct Once {
    /// Store and clock.
    pub service: Arc<Service>,
    /// Which operations have an effect.
    pub document: Arc<Document>,
    /// Longest time for the work on one request.
    pub deadline: Duration,
}

/// Lets a request with an `Idempotency-Key` have its effect once.
pub(super) async fn once(State(layer): State<Once>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let has_effect = layer.document.operation(request.method(), path).is_some_and(|operation| operation.has_effect);
    if !has_effect {
        return next.run(request).await;
    }
    let dry_run = request.extensions().get::<DryRun>().is_some();
    match key(request.headers()) {
        Ok(Some(key)) if !dry_run => layer.answer(key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        Ok(_) => next.run(request).await,
        Err(reason) => Problem::new(reason).into_response(),
    }
}

/// The key of the request: a structured-field string, or the same without its quotes.
fn key(headers: &HeaderMap) -> Result<Option<String>, crate::ops::error::Refusal> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text));
    let fits = |text: &&str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match text.filter(fits).filter(|_| values.next().is_none()) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Reason::Malformed.with("Idempotency-Key: once, 1 to 64 of A-Z a-z 0-9 _ -")),
    }
}

impl Once {
    async fn answer(self, key: String, request: Request, next: Next) -> Result<Response, OpError> {
        let (store, now) = (&self.service.store, self.service.clock.now());
        let principal = request.extensions().get::<Caller>().and_then(Caller::principal).ok_or(Reason::NotPermitted)?.uri().to_string();
        let id = request.extensions().get::<RequestId>().ok_or(Reason::NotPermitted)?.to_string();
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::new(body), &()).await.map_err(|_| Reason::TooLarge)?;
        let target = parts.uri.path_and_query().map_or("", axum::http::uri::PathAndQuery::as_str);
        let reservation = Reservation {
            principal,
            key,
            fingerprint: fingerprint(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]),
            request: id,
            reserved: now,
            expires: now.plus(KEPT),
        };
        // Step 1. Whole seconds, and one more for the clocks of two nodes.
        let longest = i64::try_from(self.deadline.as_secs()).unwrap_or(i64::MAX - 2).saturating_add(2);
        match store.reserve(&reservation, now.plus(-longest)).await? {
            Reserved::Now => {}
            Reserved::ForAnother => return Err(Reason::IdempotencyKeyReused.into()),
            Reserved::InProgress => return Err(Reason::IdempotencyInProgress.into()),
            Reserved::Answered { status, body } => return Ok(replay(status, body)),
        }
        let request = Request::from_parts(parts, Body::from(body));
        let work = async move {
            // Step 2.
            let response = tokio::time::timeout(self.deadline, next.run(request)).await;
            let response = response.unwrap_or_else(|_| Problem::new(Reason::TimedOut.into()).into_response());
            // Step 3.
            self.keep(&reservation, response).await
        };
        let done = tokio::spawn(work.in_current_span()).await;
        Ok(done.unwrap_or_else(|_| Problem::new(Reason::Internal.into()).into_response()))
    }

    async fn keep(&self, reservation: &Reservation, response: Response) -> Response {
        let store = &self.service.store;
        if !response.status().is_success() {
            // Of a 5xx it is not known whether it had an effect: asking again finds out, as it does without a key.
            if let Err(error) = store.release(reservation).await {
                tracing::warn!(%error, "an Idempotency-Key stays reserved until its request is too old");
            }
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, usize::MAX).await else { return Problem::new(Reason::Internal.into()).into_response() };
        let kept = without_secrets(&bytes);
        let outcome = if kept.len() > LONGEST {
            tracing::warn!(length = kept.len(), "an answer is too long to be kept for its Idempotency-Key");
            store.release(reservation).await
        } else {
            store.keep_answer(reservation, parts.status.as_u16(), &kept).await
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the answer for an Idempotency-Key could not be kept");
        }
        Response::from_parts(parts, Body::from(bytes))
    }
}

fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let prefixed = parts.iter().flat_map(|part| [&part.len().to_be_bytes()[..], part].concat());
    sha256(&prefixed.collect::<Vec<_>>())
}

fn without_secrets(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else { return body.to_vec() };
    members.retain(|name, _| !SHOWN_ONCE.contains(&name.as_str()));
    serde_json::to_vec(&members).unwrap_or_default()
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(CONTENT_TYPE, json)], body).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_differ_in_any_part_have_other_fingerprints() {
        let one = fingerprint(&[b"POST", b"/v1/a", b"{}"]);
        for other in [[&b"PUT"[..], b"/v1/a", b"{}"], [b"POST", b"/v1/a{", b"}"], [b"POST", b"/v1/a?dry_run=false", b"{}"]] {
            assert_ne!(fingerprint(&other), one);
        }
    }

    #[test]
    fn a_code_is_not_kept() {
        let kept = without_secrets(br#"{"id":"A","code":"SECRET","qr":"SECRET","terminal":"t"}"#);
        assert_eq!(String::from_utf8_lossy(&kept), r#"{"id":"A","terminal":"t"}"#);
    }

    #[test]
    fn a_key_is_one_short_word_with_or_without_quotes() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static(value));
            }
            key(&headers).ok()
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["\"8e03978e-40d5\""]), Some(Some("8e03978e-40d5".to_owned())));
        assert_eq!(of(&["a_B-9"]), Some(Some("a_B-9".to_owned())));
        for bad in [&["a", "a"][..], &[""], &["\"\""], &["a b"], &["\"a"], &["a;b=1"]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}

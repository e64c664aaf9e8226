//! The layer around every request: its id, its span, its deadline, its problem document, its one log line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::metrics::Metrics;
use super::problem::{OwnWords, Problem};
use crate::audit::RequestId;
use crate::ops::error::Refusal;
use crate::ops::reason::Reason;

/// A fresh id: a name, not a secret. If the system has no randomness left, a constant still leads to the log line.
fn fresh_id() -> RequestId {
    let mut random = [0_u8; 16];
    let _ = getrandom::fill(&mut random);
    RequestId::from_random(random)
}

/// What the layer of one listener needs.
#[derive(Clone)]
pub(super) struct Border {
    /// The listener's name in logs and metrics.
    pub listener: &'static str,
    /// Longest time for a body to arrive.
    pub arrival: Duration,
    /// Largest body.
    pub body_bytes: usize,
    /// Longest time for the work on one request.
    pub deadline: Duration,
    /// Requests at work at once; more are answered 503 at once.
    pub places: Arc<Semaphore>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Runs one request. The log line names the route, never the path as sent: a path can hold anything.
pub(super) async fn around(State(border): State<Border>, mut request: Request, next: Next) -> Response {
    let id = fresh_id();
    request.extensions_mut().insert(id.clone());
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD" | "PATCH" | "OPTIONS") => known.to_owned(),
        _ => "(other)".to_owned(),
    };
    let span = tracing::info_span!("request", listener = border.listener, request_id = %id, %method, %route);
    let started = Instant::now();
    let response = async {
        // Before a place is taken: who sends half a request holds a connection, and keeps nobody else from being served.
        let request = match arrive(request, border.arrival, border.body_bytes).await {
            Ok(request) => request,
            Err(reason) => return Problem::new(reason).into_response(),
        };
        let Ok(_place) = border.places.try_acquire() else { return Problem::new(Reason::Busy.into()).into_response() };
        match tokio::time::timeout(border.deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(Reason::TimedOut.into()).into_response(),
        }
    }
    .instrument(span.clone())
    .await;
    let response = finish(response, &id);
    let status = response.status().as_u16();
    let took = started.elapsed();
    border.metrics.count(border.listener, &route, status, took);
    let reason = response.extensions().get::<Problem>().map_or("", Problem::reason);
    span.in_scope(|| tracing::info!(status, reason, micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "answered"));
    response
}

/// How much more of a body that is too large is read, and for how long, before it is refused: who still writes when the connection is closed does
/// not get to read the answer.
const LINGER: (usize, Duration) = (1 << 20, Duration::from_millis(500));

/// Reads what still comes and throws it away.
async fn linger(body: Body) {
    let mut body = std::pin::pin!(body);
    let rest = async {
        let mut read = 0;
        while let Some(Ok(frame)) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > LINGER.0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER.1, rest).await;
}

/// The whole body; of one that is longer than the limit, `None`, after a while.
async fn read(mut body: Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > limit {
            linger(body).await;
            return Ok(None);
        }
    }
    Ok(Some(whole.into()))
}

/// Waits for the body. Where no route is, none is read.
async fn arrive(request: Request, arrival: Duration, limit: usize) -> Result<Request, Refusal> {
    if request.body().is_end_stream() || request.extensions().get::<MatchedPath>().is_none() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(arrival, read(body, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Ok(None)) => Err(Reason::TooLarge.into()),
        Ok(Err(_)) => Err(Reason::Malformed.with("the body did not arrive whole")),
        Err(_) => Err(Reason::RequestTimeout.into()),
    }
}

/// Adds the request id, and turns the framework's own bare errors into problem documents.
fn finish(response: Response, id: &RequestId) -> Response {
    let problem = response.extensions().get::<Problem>().cloned().or_else(|| match response.status() {
        _ if response.extensions().get::<OwnWords>().is_some() => None,
        StatusCode::NOT_FOUND => Some(Problem::new(Reason::NotFound.into())),
        StatusCode::METHOD_NOT_ALLOWED => Some(Problem::new(Reason::MethodNotAllowed.into())),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Problem::new(Reason::TooLarge.into())),
        status if status.is_server_error() => Some(Problem::new(Reason::Internal.into())),
        status if status.is_client_error() => Some(Problem::new(Reason::Malformed.into())),
        _ => None,
    });
    let mut response = match problem {
        Some(problem) => {
            let allow = response.headers().get(axum::http::header::ALLOW).cloned();
            let mut answer = problem.for_request(id.as_str()).into_response();
            if let Some(allow) = allow {
                answer.headers_mut().insert(axum::http::header::ALLOW, allow);
            }
            answer
        }
        None => response.map(Body::new),
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

//! A parameter of the query that the operation does not have is refused: one that is passed over would be a `dry_run` that is none.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::openapi::Document;
use super::problem::Problem;
use crate::ops::reason::Reason;

/// Lets a request on whose parameters the document knows, each once.
pub(super) async fn known(State(document): State<Arc<Document>>, request: Request, next: Next) -> Response {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return next.run(request).await };
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // No such method, or no such path: the router says so.
    let Some(operation) = document.operation(request.method(), path) else { return next.run(request).await };
    let mut seen = Vec::new();
    for name in query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)) {
        if !operation.query.contains(name) || seen.contains(&name) {
            return Problem::new(Reason::Malformed.with("query: a parameter that is not documented, or one twice")).into_response();
        }
        seen.push(name);
    }
    next.run(request).await
}

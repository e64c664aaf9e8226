//! A parameter of the query that the operation does not have is refused: one that is passed over would be a `dry_run` that is none.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::openapi::{DRY_RUN, Document};
use super::problem::{DryRunReport, OwnWords, Problem};
use crate::ops::reason::Reason;

/// Beside a request that only asks what would be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct DryRun;

/// Lets a request on whose parameters the document knows, each once. What a dry run answers without having come to a change or a use says that
/// nothing would change.
pub(super) async fn known(State(document): State<Arc<Document>>, mut request: Request, next: Next) -> Response {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return next.run(request).await };
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // No such method, or no such path: the router says so.
    let Some(operation) = document.operation(request.method(), path) else { return next.run(request).await };
    let malformed = |detail: &str| Problem::new(Reason::Malformed.with(detail)).into_response();
    let mut seen = Vec::new();
    let mut dry_run = false;
    for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        if !operation.query.contains(name) || seen.contains(&name) {
            return malformed("query: a parameter that is not documented, or one twice");
        }
        seen.push(name);
        match (name, value) {
            (DRY_RUN, "true") => dry_run = true,
            (DRY_RUN, "false") => {}
            (DRY_RUN, _) => return malformed("dry_run: true or false"),
            _ => {}
        }
    }
    if !dry_run {
        return next.run(request).await;
    }
    request.extensions_mut().insert(DryRun);
    let response = next.run(request).await;
    if response.status().is_success() && response.extensions().get::<OwnWords>().is_none() {
        return axum::Json(DryRunReport::nothing()).into_response();
    }
    response
}

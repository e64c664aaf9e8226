//! The local listener: health, readiness, metrics. Loopback only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use super::metrics::Metrics;
use crate::app::App;

pub(super) fn routes(metrics: Arc<Metrics>) -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || axum::Json(json!({"status": "up"}))))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || std::future::ready(metrics.render())))
}

/// Ready is a real signature with a real key, and a database that answers; each part is named.
async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let hsm = app.hsm.canary().await;
    let store = app.store.ping().await;
    let word = |ok: bool| if ok { "up" } else { "down" };
    let status = if hsm.is_ok() && store.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({"hsm": word(hsm.is_ok()), "store": word(store.is_ok())})))
}

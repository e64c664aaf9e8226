//! The local listener: health, readiness, metrics. Loopback only.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::hsm_metrics;
use super::metrics::Metrics;
use super::problem::OwnWords;
use super::ready::Readiness;
use crate::service::Service;

pub(super) fn routes(metrics: Arc<Metrics>) -> Router<Arc<Service>> {
    let readiness = Arc::new(Readiness::default());
    Router::new()
        .route("/healthz", get(async || axum::Json(json!({"status": "up"}))))
        .route("/readyz", get(move |service| ready(readiness, service)))
        .route("/metrics", get(async move |State(service): State<Arc<Service>>| all(&metrics, &service)))
}

/// Ready or not; if not, which part is down.
async fn ready(readiness: Arc<Readiness>, State(service): State<Arc<Service>>) -> Response {
    let report = readiness.report(&service).await;
    if report.part.is_none() {
        return axum::Json(report).into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, axum::Json(report)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(OwnWords);
    response
}

/// Which policies are in force, and whether others wait in the folder.
fn policies(text: &mut String, service: &Service) {
    let standing = service.policies.standing();
    let digest = data_encoding::HEXLOWER.encode(&service.authz.digest());
    let _ = writeln!(text, "# TYPE tillward_policies_info gauge\ntillward_policies_info{{digest=\"{digest}\"}} 1");
    let _ = writeln!(text, "# TYPE tillward_policies_replaced_total counter\ntillward_policies_replaced_total {}", standing.replaced);
    let refused = u8::from(standing.trouble.is_some());
    let _ = writeln!(text, "# TYPE tillward_policies_not_in_force gauge\ntillward_policies_not_in_force {refused}");
}

fn all(metrics: &Metrics, service: &Service) -> String {
    let mut text = metrics.render();
    hsm_metrics::render(&mut text, &service.hsm.view(), &service.hsm.calls());
    policies(&mut text, service);
    text
}

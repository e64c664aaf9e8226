//! The HTTP border: three listeners, each with its own router. What is public stands in [`device`], what back ends and operators
//! see in [`v1`], what only this machine sees in [`local`].

mod device;
mod extract;
mod hsm_metrics;
mod idempotency;
pub mod listener;
mod local;
mod metrics;
mod openapi;
mod patience;
mod problem;
mod query;
mod ready;
mod request;
mod tls;
mod v1;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::Config;
use crate::ops::reason::Reason;
use crate::service::Service;
use listener::Peer;
use metrics::Metrics;
use openapi::Document;
use problem::Problem;
use request::{Border, around};

pub use tls::{TlsError, principal_uri};

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// TLS files missing or not fitting.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be taken.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The three listeners, bound and not yet serving.
pub struct Listeners {
    device: (TcpListener, Arc<rustls::ServerConfig>),
    backend: (TcpListener, Arc<rustls::ServerConfig>),
    local: TcpListener,
}

/// The addresses really listened on.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Addresses {
    /// Phones.
    pub device: SocketAddr,
    /// Back ends and operators.
    pub backend: SocketAddr,
    /// Health and metrics.
    pub local: SocketAddr,
}

impl Listeners {
    /// Reads the TLS files and takes the addresses.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(config: &Config) -> Result<Self, ListenError> {
        let bind = async |address: SocketAddr| TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source });
        let listen = &config.listen;
        Ok(Self {
            device: (bind(listen.device.address).await?, tls::device(&listen.device)?),
            backend: (bind(listen.backend.address).await?, tls::backend(&listen.backend)?),
            local: bind(listen.local.address).await?,
        })
    }

    /// Reads the TLS files as [`Self::bind`] does, and takes no address.
    ///
    /// # Errors
    /// [`ListenError::Tls`].
    pub fn check(config: &Config) -> Result<(), ListenError> {
        tls::device(&config.listen.device)?;
        tls::backend(&config.listen.backend)?;
        Ok(())
    }

    /// The addresses; with port 0 in the configuration, the ports that the system gave.
    ///
    /// # Errors
    /// The system's, if a socket is gone.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses { device: self.device.0.local_addr()?, backend: self.backend.0.local_addr()?, local: self.local.local_addr()? })
    }

    /// Serves until `stop` turns true; returns when every listener has drained.
    pub async fn serve(self, service: Arc<Service>, config: &Config, stop: watch::Receiver<bool>) {
        let metrics = Arc::new(Metrics::default());
        let limits = &config.limits;
        let router = |routes: Router<Arc<Service>>, listener: &'static str| {
            let border = Border {
                listener,
                arrival: Duration::from_millis(limits.handshake_ms),
                body_bytes: limits.body_bytes,
                deadline: Duration::from_millis(limits.request_ms),
                places: Arc::new(Semaphore::new(limits.requests)),
                metrics: metrics.clone(),
            };
            routes
                .layer(CatchPanicLayer::custom(panicked))
                .layer(middleware::from_fn_with_state(border, around))
                .layer(DefaultBodyLimit::max(limits.body_bytes))
                .with_state(service.clone())
        };
        let device = router(device::routes(), "device");
        let backend = router(backend(&service, Duration::from_millis(limits.request_ms)), "backend");
        let local = router(local::routes(metrics.clone()), "local");
        tokio::join!(
            listener::serve("device", self.device.0, Some(self.device.1), device, limits.clone(), stop.clone()),
            listener::serve("backend", self.backend.0, Some(self.backend.1), backend, limits.clone(), stop.clone()),
            listener::serve("local", self.local, None, local, limits.clone(), stop),
        );
    }
}

/// The routes of the back-end listener, from the outside in: who calls, what the document knows of the query, whether it was answered before,
/// the handler.
fn backend(service: &Arc<Service>, deadline: Duration) -> Router<Arc<Service>> {
    let (routes, api) = v1::routes().split_for_parts();
    let document = Arc::new(Document::of(&api));
    let once = idempotency::Once { service: service.clone(), document: document.clone(), deadline };
    routes
        .layer(middleware::from_fn_with_state(once, idempotency::once))
        .layer(middleware::from_fn_with_state(document.clone(), query::known))
        .layer(middleware::from_fn_with_state(service.clone(), identified))
        .layer(Extension(document))
}

/// The OpenAPI document of the back-end listener, for people.
pub fn openapi() -> String {
    let (_, api) = v1::routes().split_for_parts();
    format!("{:#}\n", Document::of(&api).json())
}

/// Puts the principal beside the request; a connection whose certificate names nobody that is configured ends here.
async fn identified(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
    match peer.principal.and_then(|uri| service.authz.identify(&uri)) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => Problem::new(Reason::NotPermitted.with("the client certificate names no principal of this service")).into_response(),
    }
}

/// A panic is a defect: the caller gets a 500 with the request id, the log says where (the panic hook), and the service goes on.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(Reason::Internal.into()).into_response()
}

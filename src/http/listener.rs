//! The accept loop of a listener: TLS handshakes off the loop and under a deadline, a ceiling on connections, a deadline on request
//! heads and on the taking of answers, graceful end.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::patience::Patience;
use super::tls::principal_uri;
use crate::config::Limits;

/// Who is on the other end of a connection: the principal of its client certificate, if it showed one.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// SAN URI of the verified client certificate.
    pub principal: Option<Arc<str>>,
}

/// After an accept that failed for want of something: what is wanted does not come back at once, and every try is a line in the log.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves `router` on `socket` until `stop` turns true, then lets open requests end for `limits.drain_ms`.
pub async fn serve(
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let place = tokio::select! {
            Ok(place) = places.clone().acquire_owned() => place,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => stream,
                // The peer was gone already.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
                Err(error) => {
                    // Out of file descriptors or memory: the listener itself goes on.
                    tracing::warn!(listener = name, %error, "accept failed");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (acceptor, router, watcher, stop) = (acceptor.clone(), router.clone(), graceful.watcher(), stop.clone());
        let handshake = Duration::from_millis(limits.handshake_ms);
        tokio::spawn(async move {
            connection(name, stream, acceptor, router, handshake, watcher, stop).await;
            drop(place);
        });
    }
    drop(socket);
    let Ok(graceful) = Arc::try_unwrap(graceful) else { return };
    if tokio::time::timeout(Duration::from_millis(limits.drain_ms), graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = name, "requests were still open at the end of the drain time");
    }
}

async fn connection(
    name: &'static str,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    handshake: Duration,
    watcher: Watcher,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patience::new(stream, handshake);
    match acceptor {
        None => http(name, stream, Peer::default(), router, handshake, watcher).await,
        Some(acceptor) => {
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(handshake, acceptor.accept(stream)) => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok(Ok(stream)) => {
                    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let peer = Peer { principal: certificate.and_then(principal_uri).map(Arc::from) };
                    http(name, stream, peer, router, handshake, watcher).await;
                }
                Ok(Err(error)) => tracing::debug!(listener = name, %error, "handshake refused"),
                Err(_) => tracing::debug!(listener = name, "handshake too slow"),
            }
        }
    }
}

async fn http<S>(name: &'static str, stream: S, peer: Peer, router: Router, head: Duration, watcher: Watcher)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(axum::body::Body::new)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(listener = name, %error, "connection ended");
    }
}

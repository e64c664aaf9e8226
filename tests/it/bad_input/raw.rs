//! Bytes to a listener and back: what an HTTP library would refuse to send, this sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;

/// A TLS connection.
pub(super) type Connection = StreamOwned<ClientConnection, TcpStream>;

/// One listener, as one caller.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) address: String,
    tls: Arc<ClientConfig>,
}

impl Listener {
    /// The listener at `address`; `identity` is a client certificate and its key, PEM files.
    pub(super) fn new(address: String, ca: &Path, identity: Option<(&Path, &Path)>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let tls = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(certificate).unwrap()],
                    PrivateKeyDer::from_pem_file(key).unwrap(),
                )
                .unwrap(),
        };
        Self { address, tls: Arc::new(tls) }
    }

    /// Connects; the handshake is done.
    pub(super) fn connect(&self) -> Connection {
        self.connect_as("localhost").expect("a handshake")
    }

    /// Connects and asks for the certificate of `name`.
    pub(super) fn connect_as(&self, name: &str) -> std::io::Result<Connection> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut stream = StreamOwned::new(ClientConnection::new(self.tls.clone(), name).unwrap(), self.plain());
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream)
    }

    /// Connects without TLS.
    pub(super) fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends all of `bytes` on a connection of its own and reads to the end.
    pub(super) fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The service may answer, and close, before it has read everything.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        read(&mut stream)
    }

    /// As [`Self::send`], and the answer taken apart.
    pub(super) fn ask(&self, request: &Request) -> Answer {
        let bytes = self.send(&request.bytes());
        Answer::parse(&bytes).unwrap_or_else(|| panic!("no answer to {} {}: {bytes:?}", request.method, request.path))
    }
}

/// Everything until the end of the connection.
pub(super) fn read(stream: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    // An end without close_notify, or a reset after the answer, is an end as well.
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
    }
    bytes
}

/// A request, byte for byte.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    pub(super) fn new(method: &'static str, path: &str, body: Option<Vec<u8>>) -> Self {
        let headers = if body.is_some() { vec![("Content-Type".to_owned(), b"application/json".to_vec())] } else { Vec::new() };
        Self { method, path: path.to_owned(), headers, body }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// All of it as it came.
    pub(super) raw: Vec<u8>,
}

impl Answer {
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&raw[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
        Some(Self { status, headers, body: raw[end + 4..].to_vec(), raw: raw.to_vec() })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The reason of a problem document.
    pub(super) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

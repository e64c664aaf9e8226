//! The command line's way to the service: the back-end listener over mTLS, by a profile.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use reqwest::{Certificate, Identity, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How to reach a service, and as whom. A TOML file; paths start at its folder.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// URL of the back-end listener.
    pub url: String,
    /// Authority of the server's certificate, PEM.
    pub ca: PathBuf,
    /// Client certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// A profile that cannot be read, or is not one.
#[derive(Debug, thiserror::Error)]
#[error("the profile {} is not acceptable", .0.display())]
pub struct BadProfile(PathBuf);

/// A refusal by the service, as the problem document says it.
#[derive(Debug, thiserror::Error)]
#[error("{title} ({reason}{}), request {request_id}", detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub reason: String,
    title: String,
    detail: Option<String>,
    request_id: String,
    /// The whole document.
    pub document: Value,
}

/// A connection to the service.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
}

impl Api {
    /// Reads a profile and what it names.
    ///
    /// # Errors
    /// The profile, or a file that it names, is missing or not acceptable.
    pub fn open(profile: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(profile).with_context(|| BadProfile(profile.to_owned()))?;
        let parsed: Profile = toml::from_str(&text).with_context(|| BadProfile(profile.to_owned()))?;
        let folder = profile.parent().unwrap_or(Path::new("."));
        let read = |path: &Path| std::fs::read(folder.join(path)).with_context(|| format!("cannot read {}", folder.join(path).display()));
        let mut identity = read(&parsed.key)?;
        identity.extend(read(&parsed.certificate)?);
        let client = reqwest::Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&read(&parsed.ca)?)?)
            .identity(Identity::from_pem(&identity)?)
            .timeout(std::time::Duration::from_secs(30))
            .build()?;
        Ok(Self { client, url: parsed.url.trim_end_matches('/').to_owned() })
    }

    /// One call: method, path, JSON body. Answers the JSON of a 2xx, or [`Refused`].
    ///
    /// # Errors
    /// [`Refused`] inside, or what went wrong with the connection.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("no answer from {}: is `tillward serve` running?", self.url))?;
        let status = response.status();
        let bytes = response.bytes().await?;
        if status.is_success() {
            return if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) };
        }
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|_| anyhow!("the service answered {status} without a problem document"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        Err(Refused {
            status: status.as_u16(),
            reason: text("reason").unwrap_or_default(),
            title: text("title").unwrap_or_else(|| status.to_string()),
            detail: text("detail"),
            request_id: text("request_id").unwrap_or_default(),
            document,
        }
        .into())
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// POST.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }
}

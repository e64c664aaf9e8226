//! The command line's way to the service: the back-end listener over mTLS, by a profile.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::{Certificate, Identity, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Advice, advise};
use super::progress;

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

impl Profile {
    /// Reads a profile; with it, the folder that its paths start at: that of the file itself, if a link led to it.
    ///
    /// # Errors
    /// There is no file, or it is not a profile.
    pub fn read(path: &Path) -> anyhow::Result<(Self, PathBuf)> {
        let path = path.canonicalize().with_context(|| BadProfile(path.to_owned()))?;
        let text = std::fs::read_to_string(&path).with_context(|| BadProfile(path.clone()))?;
        let profile = toml::from_str(&text).with_context(|| BadProfile(path.clone()))?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok((profile, folder))
    }
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
    watched: bool,
}

impl Api {
    /// Reads a profile and what it names.
    ///
    /// # Errors
    /// The profile, or a file that it names, is missing or not acceptable.
    pub fn open(profile: &Path) -> anyhow::Result<Self> {
        let (parsed, folder) = Profile::read(profile)?;
        let read = |path: &Path| {
            let path = folder.join(path);
            std::fs::read(&path).with_context(|| {
                Advice::new(format!("cannot read {}", path.display()), "correct the path in the profile, or the file's owner and mode.")
            })
        };
        let mut identity = read(&parsed.key)?;
        identity.extend(read(&parsed.certificate)?);
        let pem = |member| move || Advice::new(format!("`{member}` of the profile is not in PEM"), "name PEM files in the profile.");
        let client = reqwest::Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&read(&parsed.ca)?).with_context(pem("ca"))?)
            .identity(Identity::from_pem(&identity).with_context(pem("certificate and key"))?)
            .timeout(std::time::Duration::from_secs(30))
            .build()
            .with_context(|| {
                Advice::new("the files of the profile do not fit each other", "`key` has to be the private key of `certificate`.")
            })?;
        Ok(Self { client, url: parsed.url.trim_end_matches('/').to_owned(), watched: false })
    }

    /// The same for a person who waits: what takes long says so on the terminal.
    #[must_use]
    pub fn watched(self) -> Self {
        Self { watched: true, ..self }
    }

    /// The service that is asked.
    pub fn url(&self) -> &str {
        &self.url
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
        let what = format!("waiting for {}", self.url);
        let (status, bytes) = progress::during(!self.watched, &what, async {
            let response = request.send().await?;
            anyhow::Ok((response.status(), response.bytes().await?))
        })
        .await
        .with_context(|| format!("no answer from {}", self.url))?;
        if status.is_success() && bytes.is_empty() {
            return Ok(Value::Null);
        }
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| {
            advise(
                format!("{} answered {status} and no JSON", self.url),
                "look whether `url` in the profile is the back-end listener of a Tillward, without a proxy between.",
            )
        })?;
        if status.is_success() {
            return Ok(document);
        }
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

    /// All of a list that comes in pages.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn pages(&self, path: &str, query: &[String], name: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut parts = query.to_vec();
            parts.extend(after.map(|after| format!("after={after}")));
            let mut page = self.get(&format!("{path}?{}", parts.join("&"))).await?;
            if let Some(Value::Array(part)) = page.get_mut(name).map(Value::take) {
                all.extend(part);
            }
            after = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                return Ok(all);
            }
        }
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

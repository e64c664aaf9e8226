//! The transport: messages of the core over HTTPS (docs/protocol.md §3, §4, §9).

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::enrolment::PendingEnrolment;
use crate::id::DeviceId;
use crate::json::{self, BODY_LIMIT, JsonError, TRUST_LIMIT};
use crate::message::{
    AttestationRequest, CertificateAnswer, ChallengeAnswer, DeviceChallengeRequest, EnrolmentChallengeRequest, EnrolmentRequest,
    PackageAnswer, ParametersAnswer, Purpose, RenewalRequest, ResultAnswer,
};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The base URL is none.
    #[error("not an http or https URL")]
    Url,
    /// No connection, no TLS, or no whole answer: whether the service acted is not known.
    #[error("no answer from the service")]
    Transport(#[from] reqwest::Error),
    /// The service refused, and says why.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// An answer that is not of this protocol.
    #[error("the service answered {status} with something else than a problem document")]
    Unrecognised {
        /// Status of the answer.
        status: u16,
    },
    /// A 200 whose body is not the expected message.
    #[error("the answer of the service")]
    Answer(#[from] JsonError),
}

impl HttpError {
    /// The refusal, if this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// A problem document (RFC 9457) of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The stable reason of §9.
    pub reason: String,
    /// What a person may read.
    pub detail: Option<String>,
    /// To find it in the service's logs.
    pub request_id: Option<String>,
    /// Seconds to wait before asking again.
    pub retry_after: Option<u64>,
    /// The challenge that a stale attestation comes with.
    pub challenge: Option<String>,
}

/// The members that are read. RFC 9457 §3.2: a client ignores those that it does not know.
#[derive(Deserialize)]
struct Problem {
    status: u16,
    reason: String,
    detail: Option<String>,
    request_id: Option<String>,
    challenge: Option<String>,
}

/// The service's device listener.
#[derive(Debug, Clone)]
pub struct Transport {
    client: Client,
    base: Url,
}

impl Transport {
    /// `client` brings the TLS configuration and the time-outs.
    ///
    /// # Errors
    /// [`HttpError::Url`] if `base` is not an http or https URL.
    pub fn new(client: Client, base: &str) -> Result<Self, HttpError> {
        let base = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host()).ok_or(HttpError::Url)?;
        Ok(Self { client, base })
    }

    /// The trust bundle, as bytes for [`Trust::verify`](crate::trust::Trust::verify) and for keeping.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn trust(&self) -> Result<Vec<u8>, HttpError> {
        self.call(Method::GET, "trust", None, TRUST_LIMIT).await
    }

    /// Enrolment parameters.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn parameters(&self) -> Result<ParametersAnswer, HttpError> {
        let answer = self.call_at("device/v2", Method::GET, "enrolment/parameters", None, BODY_LIMIT).await?;
        Ok(json::parse(&answer, BODY_LIMIT)?)
    }

    /// An enrolment challenge.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn enrolment_challenge(&self, request: &EnrolmentChallengeRequest) -> Result<ChallengeAnswer, HttpError> {
        self.post("enrolment/challenge", request).await
    }

    /// Sends the enrolment, or sends it again: the bytes are the same.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn enrol(&self, pending: &PendingEnrolment) -> Result<PackageAnswer, HttpError> {
        self.enrol_with(pending.request()).await
    }

    /// Sends any enrolment request, honest or not.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn enrol_with(&self, request: &EnrolmentRequest) -> Result<PackageAnswer, HttpError> {
        self.post("enrolment", request).await
    }

    /// A challenge for an enrolled phone.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn device_challenge(&self, device: &DeviceId, purpose: Purpose) -> Result<ChallengeAnswer, HttpError> {
        self.post(&format!("devices/{device}/challenge"), &DeviceChallengeRequest { purpose }).await
    }

    /// Sends an attestation.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn attest(&self, device: &DeviceId, request: &AttestationRequest) -> Result<ResultAnswer, HttpError> {
        self.post(&format!("devices/{device}/attestation"), request).await
    }

    /// Asks for a renewed certificate.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn renew(&self, device: &DeviceId, request: &RenewalRequest) -> Result<CertificateAnswer, HttpError> {
        self.post(&format!("devices/{device}/certificate"), request).await
    }

    /// Posts any body to a path under `/device/v1/`: what a hostile phone would send.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn post_raw(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, HttpError> {
        self.call(Method::POST, path, Some(body), BODY_LIMIT).await
    }

    async fn post<Q: Serialize, A: DeserializeOwned>(&self, path: &str, request: &Q) -> Result<A, HttpError> {
        let body = serde_json::to_vec(request).expect("plain members are JSON");
        let answer = self.call(Method::POST, path, Some(body), BODY_LIMIT).await?;
        Ok(json::parse(&answer, BODY_LIMIT)?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>, limit: usize) -> Result<Vec<u8>, HttpError> {
        self.call_at("device/v1", method, path, body, limit).await
    }

    async fn call_at(&self, version: &str, method: Method, path: &str, body: Option<Vec<u8>>, limit: usize) -> Result<Vec<u8>, HttpError> {
        let url = self.base.join(&format!("/{version}/{path}")).map_err(|_| HttpError::Url)?;
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::OK { read(response, limit).await } else { Err(refusal(response).await) }
    }
}

/// The body, never more of it than `limit` bytes.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(JsonError::TooLong { limit }.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn refusal(response: Response) -> HttpError {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_problem = header(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    let body = match read(response, BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match json::parse::<Problem>(&body, BODY_LIMIT) {
        Ok(Problem { status: stated, reason, detail, request_id, challenge }) if is_problem && stated == status => {
            Box::new(Refusal { status, reason, detail, request_id, retry_after, challenge }).into()
        }
        _ => HttpError::Unrecognised { status },
    }
}

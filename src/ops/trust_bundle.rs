//! The trust bundle: from the root pin, everything a phone or a consumer's device verifies with.

use serde::Serialize;

use super::crl::current_crl;
use super::error::OpError;
use crate::app::App;
use crate::wire::b64url;

/// The trust bundle of docs/protocol.md §2.
#[derive(Debug, Serialize)]
pub struct TrustBundle {
    issuer: String,
    root: String,
    issuing: Vec<String>,
    signing: Vec<String>,
    crl: String,
}

/// The trust bundle with the current revocation list.
#[tracing::instrument(skip_all)]
pub async fn trust_bundle(app: &App) -> Result<TrustBundle, OpError> {
    let authorities = &app.settings.authorities;
    let crl = current_crl(app).await?;
    Ok(TrustBundle {
        issuer: app.settings.issuer.clone(),
        root: b64url::encode(authorities.root_der()),
        issuing: vec![b64url::encode(authorities.issuing_der())],
        signing: authorities.signing_der().map(b64url::encode).to_vec(),
        crl: b64url::encode(&crl),
    })
}

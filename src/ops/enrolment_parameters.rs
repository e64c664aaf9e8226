//! What a phone has to know before it enrols: transport key, claims demanded by level, server time. Signed.

use tillward_hsm::{Hsm, HsmError, OaepHash, PublicKeyOf, Refusal, SigningKey, TransportKind};

use super::challenge::sign;
use super::error::OpError;
use crate::app::App;
use crate::enrolment::package::{Parameters, ParametersForm};
use crate::enrolment::transport::{TransportAlgorithm, TransportKey, TransportKeys};

/// Validity of the parameters, seconds.
const VALIDITY: u32 = 3600;

/// The enrolment parameters, signed.
#[tracing::instrument(skip_all)]
pub async fn enrolment_parameters(app: &App, form: ParametersForm) -> Result<String, OpError> {
    let settings = &app.settings;
    let parameters = Parameters::new(&settings.issuer, app.clock.now(), VALIDITY, form, &settings.transport, &settings.policy);
    let unsigned =
        parameters.unsigned(settings.authorities.attestation_kid()).map_err(|error| OpError::internal("making the parameters", error))?;
    sign(app, SigningKey::Attestation, unsigned).await
}

/// What the HSM calls it.
pub(crate) fn transport_kind(algorithm: TransportAlgorithm) -> TransportKind {
    match algorithm {
        TransportAlgorithm::RsaOaep | TransportAlgorithm::RsaOaep256 => TransportKind::Rsa,
        TransportAlgorithm::Ecdh => TransportKind::Ecdh,
    }
}

/// The transport keys that the HSM has and can use. Without the one of the key agreement nothing stands still: a module may not have it, and
/// a token made before does not.
pub(crate) async fn transport_keys(hsm: &Hsm) -> Result<TransportKeys, HsmError> {
    let key = |alg, spki: Vec<u8>| TransportKey { kid: super::sha256(&spki), alg, spki };
    let rsa = hsm.public_key(PublicKeyOf::Transport(TransportKind::Rsa)).await?;
    let oaep = hsm.status().await?.profile.and_then(|profile| profile.oaep);
    let alg = match oaep {
        Some(OaepHash::Sha256) => TransportAlgorithm::RsaOaep256,
        Some(OaepHash::Sha1) | None => TransportAlgorithm::RsaOaep,
    };
    let ecdh = match hsm.public_key(PublicKeyOf::Transport(TransportKind::Ecdh)).await {
        Ok(spki) => Some(key(TransportAlgorithm::Ecdh, spki)),
        Err(HsmError::Refused(Refusal::UnknownKey { .. })) => None,
        Err(error) => return Err(error),
    };
    Ok(TransportKeys::new(key(alg, rsa), ecdh))
}

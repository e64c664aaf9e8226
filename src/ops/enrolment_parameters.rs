//! What a phone has to know before it enrols: transport key, claims demanded by level, server time. Signed.

use tillward_hsm::SigningKey;

use super::challenge::sign;
use super::error::OpError;
use crate::app::App;
use crate::enrolment::package::Parameters;

/// Validity of the parameters, seconds.
const VALIDITY: u32 = 3600;

/// The enrolment parameters, signed.
#[tracing::instrument(skip_all)]
pub async fn enrolment_parameters(app: &App) -> Result<String, OpError> {
    let settings = &app.settings;
    let parameters = Parameters::new(&settings.issuer, app.clock.now(), VALIDITY, &settings.transport, &settings.policy);
    let unsigned =
        parameters.unsigned(settings.authorities.attestation_kid()).map_err(|error| OpError::internal("making the parameters", error))?;
    sign(app, SigningKey::Attestation, unsigned).await
}

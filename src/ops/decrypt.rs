//! Verifies and decrypts a phone's payment message, on the token. PIN blocks do not come here: their base derivation key is in the
//! acquirer's payment HSM, and the HSM host refuses its KSN.

use serde::Serialize;
use tillward_hsm::{HsmError, Refusal as HsmRefusal};
use zeroize::Zeroizing;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use super::refuse;
use super::verify_mac::load_by_ksn;
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::id::DeviceId;
use crate::payment::message::PaymentMessage;
use crate::wire::b64url;

/// A decrypted message.
#[derive(Serialize)]
pub struct Decrypted {
    /// What the phone encrypted, base64url.
    plaintext: Zeroizing<String>,
    /// The device whose key encrypted it.
    device: DeviceId,
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decrypted").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Verifies the MAC, then decrypts; nothing is decrypted whose MAC does not verify. The plaintext is given out only after the audit
/// entry is durable.
#[tracing::instrument(skip_all)]
pub async fn decrypt(app: &App, context: &Context, body: &[u8]) -> Result<Decrypted, OpError> {
    let message = PaymentMessage::parse(body)?;
    let (device, permit) = load_by_ksn(app, context, message.ksn, Action::Decrypt).await?;
    let decrypted = app.hsm.dukpt_decrypt(message.ksn, message.iv, message.aad, message.ciphertext, message.mac).await;
    let plaintext = match decrypted {
        Ok(plaintext) => plaintext,
        Err(HsmError::Refused(HsmRefusal::MacMismatch)) => return Err(refuse(app, context, permit, Reason::MacMismatch).await),
        Err(HsmError::Refused(HsmRefusal::DecryptionFailed)) => return Err(refuse(app, context, permit, Reason::DecryptionFailed).await),
        Err(error) => return Err(error.into()),
    };
    app.store.record(AuditEvent::effect(permit, &context.occasion(app)).with("ksn", Fact::hex(&message.ksn.to_bytes()))).await?;
    Ok(Decrypted { plaintext: Zeroizing::new(b64url::encode(&plaintext)), device: device.id })
}

//! Verifies and decrypts a phone's payment message, on the token. PIN blocks do not come here: their base derivation key is in the
//! acquirer's payment HSM, and the HSM host refuses its KSN.

use serde::{Serialize, Serializer};
use tillward_hsm::{HsmError, Refusal as HsmRefusal};
use zeroize::Zeroizing;

use super::context::Context;
use super::design_keys::{DesignKey, demand};
use super::error::OpError;
use super::key_sets::demand_of_set;
use super::reason::Reason;
use super::refuse;
use super::verify_mac::{load_by_ksn, parse_ksn};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::Action;
use crate::id::{AcquirerId, DeviceId};
use crate::payment::message::PaymentMessage;
use crate::schema;
use crate::wire::b64url;

/// A decrypted message.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Decrypted {
    /// What the phone encrypted, base64url.
    #[serde(serialize_with = "plain")]
    #[schema(schema_with = schema::base64url::<0, 8192>)]
    plaintext: Zeroizing<String>,
    /// The device whose key encrypted it.
    device: DeviceId,
}

/// The way out: into the answer and nowhere else.
fn plain<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
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
    decrypt_of(app, context, PaymentMessage::parse(body)?, None).await
}

/// The same for a message that is parsed, held to a key set where one is named.
pub(super) async fn decrypt_of(
    app: &App,
    context: &Context,
    message: PaymentMessage,
    set: Option<&AcquirerId>,
) -> Result<Decrypted, OpError> {
    let ksn = parse_ksn(message.ksn)?;
    if let Some(set) = set {
        demand_of_set(app, context, set, ksn, Action::Decrypt).await?;
    }
    let (device, permit) = load_by_ksn(app, context, ksn, Action::Decrypt).await?;
    let permit = demand(app, context, permit, &[DesignKey::BdkData(&device.acquirer)]).await?;
    let decrypted = app.hsm.dukpt_decrypt(ksn, message.iv, message.aad, message.ciphertext, message.mac).await;
    let plaintext = match decrypted {
        Ok(plaintext) => plaintext,
        Err(HsmError::Refused(HsmRefusal::MacMismatch)) => return Err(refuse(app, context, permit, Reason::MacMismatch).await),
        Err(HsmError::Refused(HsmRefusal::InvalidInput { .. })) => return Err(refuse(app, context, permit, Reason::DecryptionFailed).await),
        Err(error) => return Err(error.into()),
    };
    app.store.record(AuditEvent::effect(permit, &context.occasion(app)).with("ksn", Fact::hex(&ksn.to_bytes()))).await?;
    Ok(Decrypted { plaintext: Zeroizing::new(b64url::encode(&plaintext)), device: device.id })
}

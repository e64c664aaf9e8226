//! Random bytes of the token's generator.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::Context;
use super::error::OpError;
use super::kms::SecretText;
use super::reason::Reason;
use super::{authorize, for_real, refuse};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Resource};
use crate::schema;

/// How many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomBody {
    /// 1 to 1024.
    #[schema(minimum = 1, maximum = 1024)]
    pub bytes: u32,
}

/// Random bytes.
#[derive(Serialize, ToSchema)]
pub struct Random {
    /// The bytes.
    #[schema(schema_with = schema::base64url::<1, 1024>)]
    random: SecretText,
}

/// Draws random bytes.
#[tracing::instrument(skip_all)]
pub async fn random(app: &App, context: &Context, body: &RandomBody) -> Result<Random, OpError> {
    let permit = authorize(app, context, context.caller()?, Action::Random, &Resource::hsm()).await?;
    let length = usize::try_from(body.bytes).ok().filter(|length| (1..=1024).contains(length));
    let Some(length) = length else { return Err(refuse(app, context, permit, Reason::Malformed.with("bytes: 1 to 1024")).await) };
    let permit = for_real(permit)?;
    let random = zeroize::Zeroizing::new(app.hsm.random(length).await?);
    app.store.record(AuditEvent::effect(permit, &context.occasion(app)).with("items", u64::from(body.bytes))).await?;
    Ok(Random { random: SecretText::of(&random) })
}

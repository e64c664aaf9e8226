//! The revocation list of the issuing CA. It is signed when it is asked for and the last one is out of date: one signature for
//! many revocations, and none while nothing changes. One request signs, the others wait for it.

use tillward_hsm::SigningKey;
use tokio::sync::Mutex;

use super::authorize;
use super::context::Context;
use super::error::OpError;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller, Resource};
use crate::clock::UnixTime;
use crate::pki::crl::{Issue, Reason as CrlReason, Revoked, TbsCrl};
use crate::pki::serial::Serial;
use crate::store::{self, StoreError};

/// Seconds for which a revoked certificate stays on the list after its end.
const KEPT: i64 = 7 * 86_400;

/// The list last served by this process.
#[derive(Debug, Default)]
pub struct CrlCache(Mutex<Option<store::Crl>>);

/// The current revocation list, DER: it covers every revocation that was committed before the call.
#[tracing::instrument(skip_all)]
pub async fn current_crl(app: &App) -> Result<Vec<u8>, OpError> {
    let mut cached = app.crl.0.lock().await;
    let now = app.clock.now();
    let revocations = app.store.read().await?.count_revocations().await?;
    let serves = |crl: &store::Crl| crl.covers == revocations && now < half_way(crl);
    if let Some(crl) = cached.as_ref().filter(|crl| serves(crl)) {
        return Ok(crl.der.clone());
    }
    // Another node may have signed it already.
    let latest = app.store.read().await?.find_latest_crl().await?;
    if let Some(crl) = latest.as_ref().filter(|crl| serves(crl)) {
        return Ok(cached.insert(crl.clone()).der.clone());
    }
    let fresh = sign_next(app, latest.map_or(0, |crl| crl.number), now).await?;
    Ok(cached.insert(fresh).der.clone())
}

/// A list is renewed at half of its validity, so that nobody is left with one that ends at once.
fn half_way(crl: &store::Crl) -> UnixTime {
    crl.this_update.plus(crl.next_update.since(crl.this_update) / 2)
}

async fn sign_next(app: &App, last: u64, now: UnixTime) -> Result<store::Crl, OpError> {
    let context = Context::of_the_service()?;
    let permit = authorize(app, &context, &Caller::System("crl"), Action::PublishCrl, &Resource::crl()).await?;
    // A certificate stays on the list for a while after its own end, for clocks that lag (RFC 5280 §3.3 asks for one list more).
    let store::Revocations { count: covers, lines } = app.store.read().await?.revocations(now.plus(-KEPT)).await?;
    let revoked = lines.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let next_update = now.plus(i64::from(app.settings.pki.crl_hours) * 3600);
    // From the time, so that a list signed after a restore still has a higher number than those before it (RFC 5280 §5.2.3).
    let number = (last + 1).max(u64::try_from(now.0).unwrap_or(0));
    let issue = Issue { number, this_update: now, next_update };
    let failed = |error| OpError::internal("making a revocation list", error);
    let tbs = TbsCrl::new(app.settings.authorities.issuer(), issue, revoked).map_err(failed)?;
    let signature = app.hsm.sign(SigningKey::IssuingCa, tbs.digest().as_ref()).await?;
    let der = tbs.attach(&signature).map_err(failed)?.der().to_vec();
    let fresh = store::Crl { number, der, this_update: now, next_update, covers };
    let mut tx = app.store.begin().await?;
    match tx.insert_crl(&fresh).await {
        Ok(()) => {}
        // Another node was first with this number; its list is as good.
        Err(StoreError::Conflict(_)) => {
            drop(tx);
            let latest = app.store.read().await?.find_latest_crl().await?;
            return latest.ok_or_else(|| OpError::internal("looking for the list of another node", "there is none"));
        }
        Err(error) => return Err(error.into()),
    }
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("number", fresh.number).with("covers", covers)).await?;
    Ok(fresh)
}

fn entry(line: &store::Revocation) -> Result<Revoked, OpError> {
    let serial = Serial::try_from(line.serial.as_slice()).map_err(|error| OpError::internal("reading a serial number", error))?;
    let reason = match line.reason {
        store::RevocationReason::Unspecified => CrlReason::Unspecified,
        store::RevocationReason::KeyCompromise => CrlReason::KeyCompromise,
        store::RevocationReason::Superseded => CrlReason::Superseded,
        store::RevocationReason::CessationOfOperation => CrlReason::CessationOfOperation,
    };
    Ok(Revoked { serial, at: line.at, reason })
}

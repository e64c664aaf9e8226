//! Start-up work: is the database the one that belongs to this token, are the keys there that the configuration names. It reports
//! and refuses; it never deletes a key.

use super::authorize;
use super::context::Context;
use super::error::OpError;
use crate::app::{App, StartError};
use crate::audit::AuditEvent;
use crate::authz::{Action, Caller, Resource};
use crate::store::Store;
use tillward_hsm::Hsm;

use crate::config::Acquirer;

/// Compares database and token; removes uses of challenges that have expired.
///
/// # Errors
/// [`StartError`]: what does not fit, and what to do.
pub(crate) async fn reconcile(app: &App) -> Result<(), StartError> {
    if let Some(behind) = restored(&app.store, &app.hsm, &app.settings.acquirers).await? {
        return Err(behind);
    }
    if let Some(missing) = without_keys(&app.hsm, &app.settings.acquirers).await? {
        return Err(missing);
    }
    purge(app).await?;
    Ok(())
}

/// The first acquirer whose base derivation keys the token does not have.
pub(crate) async fn without_keys(hsm: &Hsm, acquirers: &[Acquirer]) -> Result<Option<StartError>, StartError> {
    let known = hsm.acquirers().await?;
    let lacks = acquirers.iter().find(|acquirer| {
        !known
            .iter()
            .any(|keys| keys.name == acquirer.name.as_str() && keys.bdk_pin == acquirer.bdk_pin && keys.bdk_data == acquirer.bdk_data)
    });
    Ok(lacks.map(|acquirer| StartError::AcquirerKeys(acquirer.name.to_string())))
}

/// The first acquirer whose mark on the token is ahead of the database: the database is an older one. The token is asked first, because
/// a node at work moves the database first.
pub(crate) async fn restored(store: &Store, hsm: &Hsm, acquirers: &[Acquirer]) -> Result<Option<StartError>, StartError> {
    for acquirer in acquirers {
        let token = hsm.derivation_mark(acquirer.name.as_str()).await?.unwrap_or(0);
        let database = store.read().await?.find_derivation_mark(&acquirer.name).await?.unwrap_or(0);
        if u64::from(token) > database {
            return Ok(Some(StartError::RestoredDatabase { acquirer: acquirer.name.to_string(), token, database }));
        }
    }
    Ok(None)
}

/// Removes uses of challenges and kept answers that have expired.
pub(crate) async fn purge(app: &App) -> Result<(), OpError> {
    let context = Context::of_the_service()?;
    let permit = authorize(app, &context, &Caller::System("reconcile"), Action::PurgeExpired, &Resource::service()).await?;
    let mut tx = app.store.begin().await?;
    let purged = tx.purge_challenges(app.clock.now()).await?;
    let answers = tx.purge_idempotency(app.clock.now()).await?;
    tx.commit(AuditEvent::effect(permit, &context.occasion(app)).with("purged", purged).with("answers", answers)).await?;
    Ok(())
}

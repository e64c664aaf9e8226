//! Taking a restored database into use. What happened after the backup is not in it: a code that is open here may have been
//! used, a device that is active here may have been retired, a key that is active here may have been reported, or used up. All of it is stopped; a person resumes what is sound.

use super::StoreError;
use super::db::Tx;
use crate::clock::UnixTime;

impl Tx {
    /// Revokes every activation that could still be used; how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn revoke_all_open_activations(&mut self) -> Result<u64, StoreError> {
        self.run("activation", sqlx::query("UPDATE activation SET state = 'revoked' WHERE state IN ('open', 'locked')")).await
    }

    /// Suspends every active device; how many. Resuming one makes it attest afresh.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suspend_all_devices(&mut self, reason: &'static str) -> Result<u64, StoreError> {
        let statement = sqlx::query("UPDATE device SET state = 'suspended', state_reason = $1 WHERE state = 'active'").bind(reason);
        self.run("device", statement).await
    }

    /// Suspends every key that is in use, but for those of the design; how many versions.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suspend_all_keys(&mut self, now: UnixTime) -> Result<u64, StoreError> {
        // Those of the design stay: without them nothing serves, and what they do is stopped by what is suspended beside them.
        let stops = "key IN (SELECT name FROM key WHERE class <> 'design')";
        let waiting = format!(
            "UPDATE key_version SET destroy_at = NULL, destroy_order = NULL, state = CASE state WHEN 'compromised' THEN state ELSE 'suspended' END, \
             suspended = CASE state WHEN 'compromised' THEN suspended ELSE $1 END WHERE destroy_at IS NOT NULL AND destroying IS NULL AND {stops}"
        );
        // A destruction that the backup knows of may have been called off since.
        let waited = self.run("key_version", sqlx::query(sqlx::AssertSqlSafe(waiting)).bind(now.0)).await?;
        let used = format!(
            "UPDATE key_version SET state = 'suspended', suspended = $1 \
             WHERE state IN ('pre-activation', 'active', 'deactivated') AND destroy_at IS NULL AND intent IS NULL AND {stops}"
        );
        let used = self.run("key_version", sqlx::query(sqlx::AssertSqlSafe(used)).bind(now.0)).await?;
        Ok(waited + used)
    }
}

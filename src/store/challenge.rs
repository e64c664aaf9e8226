//! Answered challenges: a nonce is good for one answer.

use super::StoreError;
use super::db::Tx;
use crate::clock::UnixTime;
use crate::id::DeviceId;

/// A nonce is kept this long after its challenge has expired, in seconds: more than the clocks of two nodes may differ, so
/// that no node takes what another has forgotten.
const KEPT: i64 = 3600;

impl Tx {
    /// Uses a challenge's nonce up. `false`: it was answered before.
    ///
    /// # Errors
    /// [`StoreError::NoParent`] when there is no such device.
    pub async fn use_challenge(
        &mut self,
        nonce: &[u8; 32],
        device: &DeviceId,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<bool, StoreError> {
        let statement =
            sqlx::query("INSERT INTO challenge_use (nonce, device, used, expires) VALUES ($1, $2, $3, $4) ON CONFLICT (nonce) DO NOTHING")
                .bind(nonce.as_slice())
                .bind(device.as_str())
                .bind(now.0)
                .bind(expires.0);
        Ok(self.run("challenge_use", statement).await? == 1)
    }

    /// Forgets the nonces of challenges that expired over an hour before `now`; how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn purge_challenges(&mut self, now: UnixTime) -> Result<u64, StoreError> {
        let statement = sqlx::query("DELETE FROM challenge_use WHERE expires < $1").bind(now.plus(-KEPT).0);
        self.run("challenge_use", statement).await
    }
}

//! The folder of policies, followed while the service runs: a change is in force when it has been checked, and where it is not taken the old
//! policies stay. The folder is looked at twice a second, and on SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::ops::pins;
use crate::policies::Stamp;
use crate::service::Service;
use crate::store::PinKind;

const EVERY: Duration = Duration::from_millis(500);
/// What was not taken is tried again after so many looks: it may have been approved since.
const AGAIN: u32 = 10;

/// Follows the folder for ever. Files that are being written are not read: the folder has to be the same at two looks.
pub(super) async fn follow(service: Arc<Service>, mut hangups: Signal) {
    if service.policies.path().is_none() {
        return std::future::pending().await;
    }
    // Not what it looks like now: it may have changed since it was read.
    let mut taken = Stamp::new();
    let mut last = Stamp::new();
    let mut looks = 0;
    loop {
        let asked = tokio::select! {
            Some(()) = hangups.recv() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let now = service.policies.stamp();
        let settled = now == std::mem::replace(&mut last, now.clone());
        looks = if settled { looks + 1 } else { 0 };
        if asked || (settled && now != taken && looks % AGAIN == 1) {
            let store = service.store.clone();
            let may_replace = |_, new| async move { pins::allow(&store, PinKind::Policy, &new).await };
            if service.policies.reload(service.clock.now(), may_replace).await {
                taken = now;
            }
        }
    }
}

//! Limits that real tokens have and software tokens lack: sessions, objects, wrong PINs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{
    CK_FLAGS, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED,
    CKR_DEVICE_MEMORY, CKR_OK, CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKR_SESSION_COUNT,
};

use crate::function::Function;
use crate::module::{Module, Passage};
use crate::state::{State, this_process};

/// This process's own place among the sessions of all processes.
fn shared_sessions(state: State) -> Option<&'static AtomicU64> {
    static PLACE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    *PLACE.get_or_init(|| state.sessions_of(this_process()))
}

impl Module {
    fn add_session(&self) {
        self.open_sessions.fetch_add(1, Ordering::SeqCst);
        if let Some(shared) = shared_sessions(self.state) {
            shared.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn drop_sessions(&self, many: u64) {
        self.open_sessions.fetch_sub(many, Ordering::SeqCst);
        if let Some(shared) = shared_sessions(self.state) {
            shared.fetch_sub(many, Ordering::SeqCst);
        }
    }

    /// A session was closed.
    pub(crate) fn forget_session(&self, session: CK_SESSION_HANDLE) {
        if self.sessions().remove(&session).is_some() {
            self.drop_sessions(1);
        }
    }

    /// All sessions of a slot, or of every slot, were closed.
    pub(crate) fn forget_sessions(&self, slot: Option<CK_SLOT_ID>) {
        let mut sessions = self.sessions();
        let before = sessions.len();
        sessions.retain(|_, of| slot.is_some_and(|slot| *of != slot));
        let gone = before.saturating_sub(sessions.len());
        drop(sessions);
        self.drop_sessions(gone.try_into().unwrap_or(u64::MAX));
    }

    fn slot_of(&self, session: CK_SESSION_HANDLE) -> Option<CK_SLOT_ID> {
        self.sessions().get(&session).copied()
    }
}

impl Passage {
    /// Opens a session of a real slot if there is room for one more. `open` gives its code and the real handle.
    pub(crate) fn open_session(&self, slot: CK_SLOT_ID, open: impl FnOnce() -> (CK_RV, CK_SESSION_HANDLE)) -> CK_RV {
        // Taken first and given back, so that calls at the same time cannot pass the limit together.
        self.module.add_session();
        let too_many = self.settings.sessions.is_some_and(|(most, shared)| {
            most < if shared { self.module.state.sessions() } else { self.module.open_sessions.load(Ordering::SeqCst) }
        });
        let code = if too_many {
            self.module.state.held_back(Function::OpenSession);
            CKR_SESSION_COUNT
        } else {
            let (code, session) = open();
            if code == CKR_OK {
                self.module.sessions().insert(session, slot);
            }
            code
        };
        if code != CKR_OK {
            self.module.drop_sessions(1);
        }
        code
    }

    /// Makes a try at the user's PIN, counted as real tokens count.
    pub(crate) fn try_pin(&self, function: Function, session: CK_SESSION_HANDLE, attempt: impl FnOnce() -> CK_RV) -> CK_RV {
        let (Some(most), Some(slot)) = (self.settings.pin_tries, self.module.slot_of(session)) else { return attempt() };
        let wrong = self.module.state.wrong_pins(slot);
        // A try is taken before it is made: tries at the same time cannot be more than there are.
        if wrong.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |wrong| (wrong < most).then_some(wrong.saturating_add(1))).is_err() {
            self.module.state.held_back(function);
            return CKR_PIN_LOCKED;
        }
        let code = attempt();
        match code {
            CKR_PIN_INCORRECT => {}
            CKR_OK => wrong.store(0, Ordering::SeqCst),
            _ => {
                // It was no try: the PIN was not looked at. Another's success may have come between.
                let _ = wrong.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |wrong| wrong.checked_sub(1));
            }
        }
        code
    }

    /// A new PIN was set by the security officer: the old one's tries are forgotten.
    pub(crate) fn unlock_pin(&self, session: CK_SESSION_HANDLE) {
        if let Some(slot) = self.module.slot_of(session) {
            self.unlock_slot(slot);
        }
    }

    /// The token of a real slot was made anew.
    pub(crate) fn unlock_slot(&self, slot: CK_SLOT_ID) {
        self.module.state.wrong_pins(slot).store(0, Ordering::SeqCst);
    }

    /// Writes what the limits change into what the token says of itself.
    pub(crate) fn adjust(&self, slot: CK_SLOT_ID, info: &mut CK_TOKEN_INFO) {
        if let Some((most, _)) = self.settings.sessions {
            (info.ulMaxSessionCount, info.ulMaxRwSessionCount) = (most, most);
        }
        if let Some(most) = self.settings.pin_tries {
            let wrong = self.module.state.wrong_pins(slot).load(Ordering::SeqCst);
            info.flags = (info.flags & !(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED)) | pin_flags(wrong, most);
        }
    }

    /// Refuses an object for which there is no room. `objects` says for each one that would be made whether the token keeps it.
    pub(crate) fn room_for(&self, function: Function, session: CK_SESSION_HANDLE, objects: &[bool]) -> CK_RV {
        for (most, on_token) in [(self.settings.token_objects, true), (self.settings.session_objects, false)] {
            let more = objects.iter().filter(|kept| **kept == on_token).count();
            if let (Some(most), Some(slot), 1..) = (most, self.module.slot_of(session), more)
                && let Some(there) = self.module.real.count_objects(slot, on_token)
                && u64::try_from(there.saturating_add(more)).is_ok_and(|all| all > most)
            {
                self.module.state.held_back(function);
                return CKR_DEVICE_MEMORY;
            }
        }
        CKR_OK
    }
}

/// Flags of `CK_TOKEN_INFO` after so many wrong PINs (PKCS#11 3.0 §3.2, table 5).
fn pin_flags(wrong: u64, most: u64) -> CK_FLAGS {
    match most.saturating_sub(wrong) {
        0 => CKF_USER_PIN_LOCKED,
        _ if wrong == 0 => 0,
        1 => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        _ => CKF_USER_PIN_COUNT_LOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_follow_the_tries() {
        let low = CKF_USER_PIN_COUNT_LOW;
        assert_eq!(
            [0, 1, 2, 3, 4].map(|wrong| pin_flags(wrong, 3)),
            [0, low, low | CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKF_USER_PIN_LOCKED]
        );
    }
}

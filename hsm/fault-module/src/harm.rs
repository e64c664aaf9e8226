//! What is done to module, token and sessions.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED, CKR_OK, CKR_TOKEN_NOT_PRESENT};

use crate::active::Active;
use crate::function::Function;
use crate::module::{Module, now};
use crate::rule::Harm;

impl Module {
    pub(crate) fn harm(&self, rule: &Arc<Active>, harm: Harm, session: Option<CK_SESSION_HANDLE>) {
        match harm {
            Harm::DropLogin => self.gate.alone(|| {
                for slot in self.slots_in_use() {
                    // Any session of the slot will do: the login is the application's (PKCS#11 3.0 §5.6.9).
                    let session = self.sessions().iter().find(|(_, of)| **of == slot).map(|(session, _)| *session);
                    if let Some(session) = session {
                        self.real.logout(session);
                    }
                }
            }),
            Harm::CloseSession => {
                if let Some(session) = session {
                    self.gate.alone(|| {
                        let session = self.masks.session(session);
                        if self.real.close_session(session) == CKR_OK {
                            self.forget_session(session);
                        }
                    });
                }
            }
            Harm::CloseSessions => self.close_sessions(),
            Harm::StaleObjects => self.masks.change_objects(),
            Harm::ChangeSlots => self.masks.change_slots(),
            Harm::RemoveToken => {
                *self.damage.removed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(rule));
                self.damage.is_removed.store(true, Ordering::SeqCst);
            }
            Harm::LoseInit => self.damage.lost_init.store(true, Ordering::SeqCst),
            Harm::BreakDevice(code) => self.damage.broken.store(code, Ordering::SeqCst),
        }
    }

    fn slots_in_use(&self) -> std::collections::BTreeSet<CK_SLOT_ID> {
        self.sessions().values().copied().collect()
    }

    fn close_sessions(&self) {
        self.gate.alone(|| {
            for slot in self.slots_in_use() {
                self.real.close_all_sessions(slot);
                self.forget_sessions(Some(slot));
            }
            // A number that the real module gives out again is not taken for a session that is gone.
            self.masks.change_sessions();
        });
    }

    /// The code that an earlier fault has for the call.
    pub(crate) fn lasting(&self, function: Function, session: Option<CK_SESSION_HANDLE>) -> Option<CK_RV> {
        if self.damage.lost_init.load(Ordering::SeqCst) {
            return (function != Function::Initialize).then_some(CKR_CRYPTOKI_NOT_INITIALIZED);
        }
        if matches!(function, Function::Initialize | Function::Finalize) {
            return None;
        }
        match self.damage.broken.load(Ordering::SeqCst) {
            CKR_OK => {}
            code => return Some(code),
        }
        if self.token_is_away() {
            // The slot stays, and says that it is empty: see the functions that list slots.
            return match (session, function) {
                (Some(_), _) => Some(CKR_DEVICE_REMOVED),
                (None, Function::GetInfo | Function::GetSlotList | Function::GetSlotInfo | Function::WaitForSlotEvent) => None,
                (None, _) => Some(CKR_TOKEN_NOT_PRESENT),
            };
        }
        None
    }

    /// Whether the token is away. Sessions are gone once it is back.
    pub(crate) fn token_is_away(&self) -> bool {
        if !self.damage.is_removed.load(Ordering::SeqCst) {
            return false;
        }
        let mut removed = self.damage.removed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*removed {
            Some(rule) if !rule.is_over(now()) => true,
            Some(_) => {
                // Under the lock, so that no call of a session slips through before its session is closed.
                self.close_sessions();
                *removed = None;
                self.damage.is_removed.store(false, Ordering::SeqCst);
                false
            }
            None => false,
        }
    }

    /// Before `C_Initialize`, if the module has forgotten that it was initialised: the real one has not.
    pub(crate) fn finalize_if_lost(&self) {
        if self.damage.lost_init.load(Ordering::SeqCst) {
            self.gate.alone(|| self.real.finalize());
            self.finalized();
            self.damage.lost_init.store(false, Ordering::SeqCst);
        }
    }

    /// `C_Finalize` was done.
    pub(crate) fn finalized(&self) {
        self.forget_sessions(None);
        self.damage.broken.store(CKR_OK, Ordering::SeqCst);
    }
}

//! One generation of the host's view of the token: sessions, handles, capabilities. A recovery makes the next one.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::session::SessionState;
use cryptoki::slot::Slot;

use super::fault::{self, Fault};
use super::object;
use super::objects::{Objects, Turn};
use super::pool::{Pool, Session};
use super::ring::Ring;
use super::templates;
use crate::model::{Profile, TokenRecord};
use crate::rules::Action;

/// A token that is logged in.
pub(super) struct Context {
    pub(super) module: Pkcs11,
    pub(super) slot: Slot,
    pub(super) token: TokenRecord,
    pub(super) profile: Profile,
    pub(super) ring: Ring,
    pub(super) pool: Pool,
    /// Holds the login and the session copies. Never lent, closed last: closing the last session logs the process out.
    pub(super) anchor: Mutex<Session>,
    pub(super) objects: Arc<Objects>,
}

impl Context {
    /// The anchor, for the keeper who has the context alone.
    pub(super) fn anchor(&mut self) -> &mut Session {
        self.anchor.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the hot keys of a new ring, and takes it over.
    pub(super) fn take_ring(&mut self, mut ring: Ring) {
        self.profile.session_copies = copy_hot_keys(self.anchor(), &mut ring);
        self.ring = ring;
    }

    /// Held while objects are searched.
    pub(super) fn searching(&self, session: &Session) -> Turn<'_> {
        session.pause(|| self.objects.turn())
    }

    /// The same, where nobody else searches, makes or destroys just now.
    pub(super) fn try_searching(&self) -> Option<Turn<'_>> {
        self.objects.try_turn()
    }

    /// Held while a token object is made or destroyed.
    pub(super) fn changing(&self, session: &Session) -> Turn<'_> {
        session.pause(|| self.objects.turn())
    }

    /// Whether the token really works: a signature of a token key, verified in software. The calls that are usually taken for a
    /// health check all answer OK on SoftHSM while the token's directory is gone.
    pub(super) fn canary(&self, session: &Session) -> Result<(), Error> {
        let Ok(key) = self.ring.get(templates::ATTESTATION_SIGNING) else {
            return self.module.get_token_info(self.slot).map(drop);
        };
        let digest = [0xCA; 32];
        let signature = session.sign(&Mechanism::Ecdsa, key.handle.on(session)?, &digest)?;
        let verifies = key.public.as_ref().is_some_and(|(_, public)| public.verifies(&digest, &signature));
        if verifies { Ok(()) } else { Err(Error::InvalidValue) }
    }

    /// Whether the session still has the login.
    pub(super) fn is_logged_in(session: &Session) -> Result<bool, Error> {
        Ok(matches!(session.get_session_info()?.session_state(), SessionState::RwUser | SessionState::RoUser))
    }

    /// Whether the token is to blame for an error that bad input could have caused: where its code says nothing, the canary decides.
    pub(super) fn is_unwell(&self, session: &Session, error: &Error) -> bool {
        let rule = fault::rule(error);
        if rule.canary { self.canary(session).is_err() } else { rule.action != Action::Fail }
    }

    /// What was not found is not there only if the login is: without it, private objects are invisible and no code says so.
    pub(super) fn demand_login(&self, session: &Session) -> Result<(), Fault> {
        Ok(self.canary(session)?)
    }
}

/// Session copies of the hot signing keys, owned by the anchor session: a token object is locked, decrypted or read anew for every use by
/// software tokens. A copy that is not exactly like its original is not used.
pub(super) fn copy_hot_keys(anchor: &Session, ring: &mut Ring) -> bool {
    let mut all = ring.keys().any(|key| key.design.copyable);
    for key in ring.keys_mut().filter(|key| key.design.copyable) {
        let Ok(copy) = key.handle.on(anchor).and_then(|handle| anchor.copy_object(handle, &templates::session_copy())) else {
            all = false;
            continue;
        };
        let mut expected = key.design.private_flags();
        expected.retain(|flag| !matches!(flag, cryptoki::object::Attribute::Token(_)));
        expected.push(cryptoki::object::Attribute::Token(false));
        let same = object::read_flags(anchor, copy, &expected).is_ok_and(|flags| object::difference(&flags, &expected).is_none());
        let digest = [0x5A; 32];
        let signs = same
            && anchor
                .sign(&Mechanism::Ecdsa, copy, &digest)
                .is_ok_and(|signature| key.public.as_ref().is_some_and(|(_, public)| public.verifies(&digest, &signature)));
        if signs {
            key.working = anchor.handle(copy);
        } else {
            all = false;
            drop(object::Ephemeral::new(anchor, copy));
        }
    }
    all
}

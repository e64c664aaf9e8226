//! Scratch objects: made for a trial, known by their label, gone after it. Nothing else on the token is ever written to.

use std::cell::RefCell;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::host::fault::Fault;
use crate::host::ring::Key;
use crate::host::templates::Design;
use crate::host::{object, profile, public};
use crate::model::{KeyKind, Profile};
use crate::uri::Pkcs11Uri;

/// What every label of a scratch token object begins with. Nothing of another label is ever destroyed.
pub(in crate::host) const PREFIX: &str = "tillward-doctor-scratch-";

/// A token that is logged in, for one trial.
pub(in crate::host) struct Stage {
    pub(in crate::host) uri: Pkcs11Uri,
    pub(in crate::host) module: Pkcs11,
    pub(in crate::host) slot: Slot,
    pub(in crate::host) profile: Profile,
    /// Holds the login. Not used, and closed last.
    anchor: RefCell<Option<Session>>,
    run: String,
}

impl Stage {
    pub(in crate::host) fn new(uri: Pkcs11Uri, module: Pkcs11, slot: Slot, anchor: Session) -> Result<Self, Fault> {
        // A probe leaves errors behind, so its session is not used for anything else.
        let profile = profile::probe(&module.open_rw_session(slot)?);
        let run = module.open_rw_session(slot)?.generate_random_vec(4)?;
        let run = data_encoding::HEXLOWER.encode(&run);
        Ok(Self { uri, module, slot, profile, anchor: RefCell::new(Some(anchor)), run })
    }

    /// A fresh session: what fails in one must not be seen in another.
    pub(in crate::host) fn session(&self) -> Result<Session, Error> {
        self.module.open_rw_session(self.slot)
    }

    /// The label of a scratch token object of this trial.
    pub(in crate::host) fn label(&self, name: &str) -> String {
        format!("{PREFIX}{}-{name}", self.run)
    }

    /// All objects that this login sees; those that are half made too, which have no attributes to be searched by.
    pub(in crate::host) fn objects(&self) -> Result<Vec<ObjectHandle>, Error> {
        self.session()?.find_objects(&[])
    }

    /// Destroys every scratch object, those of earlier trials too; gives how many there were.
    pub(in crate::host) fn sweep(&self) -> Result<u64, Fault> {
        let session = self.session()?;
        let mut swept = 0;
        for object in session.find_objects(&[Attribute::Token(true)])? {
            // What has no label, or cannot be read, is not ours.
            let label = object::bytes(&session, object, AttributeType::Label).ok().flatten().unwrap_or_default();
            if label.starts_with(PREFIX.as_bytes()) {
                session.destroy_object(object)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Logs out and in again, as a module does that lost its login.
    pub(in crate::host) fn log_in_again(&self) -> Result<(), Fault> {
        let mut anchor = self.anchor.borrow_mut();
        if let Some(session) = anchor.take() {
            session.logout()?;
        }
        let again = crate::host::module::log_in(&self.module, self.slot, &self.uri);
        *anchor = Some(again.map_err(|finding| Fault::from(crate::error::Refusal::NotReady { finding }))?);
        Ok(())
    }

    /// `C_Finalize`.
    pub(in crate::host) fn close(self) {
        drop(self.anchor.take());
        drop(self.module.finalize());
    }
}

/// A key (or pair) as a scratch token object, destroyed when dropped, on every path.
pub(in crate::host) struct Scratch<'s> {
    session: &'s Session,
    pub(in crate::host) id: Vec<u8>,
    pub(in crate::host) handle: ObjectHandle,
    pub(in crate::host) public: Option<ObjectHandle>,
    pub(in crate::host) design: Design,
}

impl<'s> Scratch<'s> {
    /// Makes the key of the design with its full template, under a label of its own.
    pub(in crate::host) fn make(stage: &Stage, session: &'s Session, design: &Design) -> Result<Self, Error> {
        let design = Design { label: stage.label(&design.label), ..design.clone() };
        let id = session.generate_random_vec(16)?;
        let private = design.private(&stage.profile, &id);
        let (handle, public) = if design.is_pair() {
            let mechanism = match design.kind {
                KeyKind::Rsa => Mechanism::RsaPkcsKeyPairGen,
                KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
                _ => Mechanism::EccKeyPairGen,
            };
            let (public, private) = session.generate_key_pair(&mechanism, &design.public(&id), &private)?;
            (private, Some(public))
        } else {
            let mechanism = if design.kind == KeyKind::Aes { Mechanism::AesKeyGen } else { Mechanism::GenericSecretKeyGen };
            (session.generate_key(&mechanism, &private)?, None)
        };
        Ok(Self { session, id, handle, public, design })
    }

    /// As the host holds its keys.
    pub(in crate::host) fn key(&self) -> Result<Key, Error> {
        let public = match self.public {
            None => None,
            Some(object) => public::read(self.session, object, self.design.kind)?.map(|public| (object, public)),
        };
        Ok(Key { design: self.design.clone(), handle: self.handle, working: self.handle, public })
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        for object in [Some(self.handle), self.public].into_iter().flatten() {
            // What stays is found by its label at the end.
            drop(self.session.destroy_object(object));
        }
    }
}

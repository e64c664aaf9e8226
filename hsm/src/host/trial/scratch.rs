//! Scratch objects: made for a trial, known by their label, gone after it. Nothing else on the token is ever written to.

use std::cell::RefCell;
use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::slot::Slot;

use crate::error::Refusal;
use crate::host::fault::Fault;
use crate::host::keeper::CEREMONY;
use crate::host::logins::Logins;
use crate::host::pool::{Counters, Pool, Session};
use crate::host::ring::Key;
use crate::host::templates::Design;
use crate::host::watchdog::Beat;
use crate::host::{create, module, object, profile, public};
use crate::model::{Finding, Profile};
use crate::uri::Pkcs11Uri;

/// What every label of a scratch token object begins with. Nothing of another label is ever destroyed.
pub(in crate::host) const PREFIX: &str = "tillward-doctor-scratch-";

/// A token that is logged in, for one trial.
pub(in crate::host) struct Stage {
    pub(in crate::host) uri: Pkcs11Uri,
    pub(in crate::host) module: Pkcs11,
    pub(in crate::host) slot: Slot,
    pub(in crate::host) profile: Profile,
    /// Gives sessions, lends none.
    pool: Pool,
    /// Holds the login. Not used, and closed last.
    anchor: RefCell<Option<Session>>,
    run: String,
}

impl Stage {
    /// Logs in, and finds out what differs between modules.
    pub(in crate::host) fn open(uri: Pkcs11Uri, module: Pkcs11, slot: Slot) -> Result<Self, Finding> {
        let failed = |error: Error| Finding::failed("token", None, Fault::from(error).into_refusal().to_string());
        // Nobody looks at this beat: the trial's own process is what a hanging call costs.
        let beat = Beat::new(CEREMONY);
        let pool = Pool::new(module.clone(), slot, 1, 1, Arc::new(Counters::default()), beat);
        let anchor = pool.aside().map_err(failed)?;
        module::log_in(&module, slot, &anchor, &uri, &mut None, &Logins::default().turn(&uri, || {}))?;
        // A probe leaves errors behind, so its session is not used for anything else.
        let profile = profile::probe(&pool.aside().map_err(failed)?);
        let run = pool.aside().and_then(|session| session.generate_random_vec(4)).map_err(failed)?;
        let run = data_encoding::HEXLOWER.encode(&run);
        Ok(Self { uri, module, slot, profile, pool, anchor: RefCell::new(Some(anchor)), run })
    }

    /// A fresh session: what fails in one must not be seen in another.
    pub(in crate::host) fn session(&self) -> Result<Session, Error> {
        self.pool.aside()
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
        if let Some(session) = self.anchor.take() {
            session.logout()?;
        }
        let anchor = self.session()?;
        let logins = Logins::default();
        module::log_in(&self.module, self.slot, &anchor, &self.uri, &mut None, &logins.turn(&self.uri, || {}))
            .map_err(|finding| Fault::from(Refusal::NotReady { finding }))?;
        self.anchor.replace(Some(anchor));
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
        let (handle, public) = create::generate(session, &stage.profile, &design, &id)?;
        Ok(Self { session, id, handle, public, design })
    }

    /// As the host holds its keys.
    pub(in crate::host) fn key(&self) -> Result<Key, Error> {
        let public = match self.public {
            None => None,
            Some(object) => public::read(self.session, object, self.design.kind)?.map(|public| (self.session.handle(object), public)),
        };
        let handle = self.session.handle(self.handle);
        Ok(Key { design: self.design.clone(), handle, working: handle, public })
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

//! What the workers share: module, anchor session, ring of keys, and how it was found at start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::fault::{self, Class};
use super::object;
use super::prove;
use super::ring::{self, Ring};
use super::templates;
use super::{module, profile, selftest};
use crate::model::{Finding, HostStatus, Profile, TokenRecord};
use crate::uri::Pkcs11Uri;

/// The host's view of the token. Made once; what changes the token's keys ends the process, and the next one looks anew.
pub(super) struct Host {
    pub(super) uri: Pkcs11Uri,
    pub(super) workers: usize,
    pub(super) ceremony: bool,
    pub(super) module: Option<Pkcs11>,
    pub(super) context: Option<Context>,
    findings: Vec<Finding>,
    /// The context is lost, or the keys have changed: the process has to be replaced.
    ended: AtomicBool,
}

/// A token that is logged in.
pub(super) struct Context {
    pub(super) module: Pkcs11,
    pub(super) slot: Slot,
    pub(super) token: TokenRecord,
    pub(super) profile: Profile,
    pub(super) ring: Ring,
    /// Holds the login and the session copies. Never used, closed last: closing the last session logs the process out.
    anchor: Mutex<Session>,
    /// Find is read, making and destroying token objects is write: SoftHSM 2.6.1 loses one key in five otherwise (softhsm/SoftHSMv2#573).
    objects: RwLock<()>,
}

impl Context {
    /// A session for a worker.
    pub(super) fn open(&self) -> Result<Session, Error> {
        self.module.open_rw_session(self.slot)
    }

    /// Held while objects are searched.
    pub(super) fn searching(&self) -> RwLockReadGuard<'_, ()> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a token object is made or destroyed.
    pub(super) fn changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token really works: a signature of a token key, verified in software. The calls that are usually taken for a
    /// health check all answer OK on SoftHSM while the token's directory is gone.
    pub(super) fn canary(&self, session: &Session) -> bool {
        let Ok(key) = self.ring.get(templates::ATTESTATION_SIGNING) else {
            return self.module.get_token_info(self.slot).is_ok();
        };
        let digest = [0xCA; 32];
        session
            .sign(&Mechanism::Ecdsa, key.handle, &digest)
            .is_ok_and(|signature| key.public.as_ref().is_some_and(|(_, public)| public.verifies(&digest, &signature)))
    }

    /// Ends the sessions that are left.
    fn close(self) {
        drop(self.anchor);
    }
}

impl Host {
    /// Loads, finds, logs in, probes, tests and looks for the keys; stops at the first step without which the next makes no sense.
    pub(super) fn open(uri: Pkcs11Uri, workers: usize, ceremony: bool) -> Self {
        let mut host = Self { uri, workers, ceremony, module: None, context: None, findings: Vec::new(), ended: AtomicBool::new(false) };
        if let Err(finding) = host.prepare() {
            host.findings.push(finding);
        }
        for finding in host.findings.iter().filter(|finding| !finding.ok) {
            tracing::error!(name = finding.name, code = finding.code, hint = finding.hint, "check failed");
        }
        host
    }

    fn prepare(&mut self) -> Result<(), Finding> {
        let module = module::load(&self.uri)?;
        self.module = Some(module.clone());
        self.findings.push(Finding::passed("module", module::library(&module).unwrap_or_default()));
        let (slot, token) = module::find_token(&module, &self.uri)?;
        self.findings.push(Finding::passed("token", format!("{} {}, serial {}", token.manufacturer, token.model, token.serial)));
        let anchor = module::log_in(&module, slot, &self.uri)?;
        self.findings.push(Finding::passed("pin", "the token takes it"));
        self.findings.extend(profile::mechanisms(&module, slot));

        let failed = |name: &str| {
            let name = name.to_owned();
            move |error: Error| Finding::failed(name, Some(fault::code(&error)), "the token does not answer as it has to")
        };
        // A probe leaves errors behind, so its session is not used for anything else.
        let session = module.open_rw_session(slot).map_err(failed("token"))?;
        let mut profile = profile::probe(&session);
        self.findings.push(match profile.kwp {
            Some(number) => Finding::passed("mechanism:AES-KWP", format!("{number:#06x}")),
            None => Finding::failed("mechanism:AES-KWP", None, "neither 0x210B nor 0x210A is RFC 5649: the main job needs it"),
        });
        drop(session);
        let session = module.open_rw_session(slot).map_err(failed("token"))?;
        self.findings.extend(selftest::run(&session, &profile));
        drop(session);

        let session = module.open_rw_session(slot).map_err(failed("token"))?;
        let (mut ring, findings) = ring::load(&session).map_err(failed("keys"))?;
        self.findings.extend(findings);
        profile.session_copies = copy_hot_keys(&anchor, &mut ring);
        if let Ok(transport) = ring.get(templates::ENROLMENT_TRANSPORT) {
            profile.oaep = prove::oaep(&session, &profile, transport);
            self.findings.push(match profile.oaep {
                Some(hash) => Finding::passed("mechanism:RSA-OAEP", hash.name()),
                None => Finding::failed("mechanism:RSA-OAEP", None, "neither SHA-256 nor SHA-1 unwraps what the public key wrapped"),
            });
        }
        if profile.ecdh {
            self.findings.push(match ring.get(templates::ENROLMENT_TRANSPORT_EC).map(|key| prove::prove(&session, &profile, key)) {
                Ok(Ok(())) => Finding::passed("mechanism:ECDH", "P-256 with CKD_SHA256_KDF, offered beside RSA-OAEP"),
                Ok(Err(_)) => {
                    profile.ecdh = false;
                    Finding::failed("mechanism:ECDH", None, "enrollment-transport-ec does not unwrap what was wrapped to its public half")
                }
                Err(_) => Finding::passed("mechanism:ECDH", "the module has it, the token has no key for it: `tillward init` makes it"),
            });
        }
        drop(session);
        let (anchor, objects) = (Mutex::new(anchor), RwLock::new(()));
        self.context = Some(Context { module, slot, token, profile, ring, anchor, objects });
        Ok(())
    }

    /// What is known of module, token and keys, with the token asked now.
    pub(super) fn status(&self) -> HostStatus {
        let mut findings = self.findings.clone();
        if let Some(context) = &self.context
            && let Err(error) = context.module.get_token_info(context.slot)
        {
            findings.push(Finding::failed("token", Some(fault::code(&error)), "the token was there and does not answer any more"));
        }
        HostStatus {
            pid: std::process::id(),
            workers: self.workers,
            ceremony: self.ceremony,
            module: self.uri.module_path().display().to_string(),
            library: self.module.as_ref().and_then(module::library),
            token: self.context.as_ref().map(|context| context.token.clone()),
            profile: self.context.as_ref().map(|context| context.profile.clone()),
            findings,
            generation: 1,
            sessions: crate::model::Budget::default(),
            objects: crate::model::Budget::default(),
            made_objects: 0,
            memory_kib: 0,
            recoveries: std::collections::BTreeMap::new(),
        }
    }

    /// The first failed check; where it is only that a key is missing, the other keys still work, so that is left out.
    pub(super) fn first_problem(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| !finding.ok && !finding.name.starts_with("key:"))
    }

    /// Decides what an error says about the whole process: nothing, or that it has to be replaced.
    pub(super) fn judge(&self, error: &Error) {
        let lost = match fault::class(error) {
            Class::Data => false,
            Class::Lost => true,
            Class::Suspect => self.context.as_ref().is_some_and(|context| !context.open().is_ok_and(|session| context.canary(&session))),
        };
        if lost {
            tracing::error!(code = fault::code(error), "the token context is lost");
            self.end();
        }
    }

    /// Marks the process as to be replaced.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Whether the process is to be replaced.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// `C_Finalize`. Only when no other thread can be inside the module: SoftHSM crashes otherwise.
    pub(super) fn close(self) {
        if let Some(context) = self.context {
            context.close();
        }
        if let Some(module) = self.module
            && let Err(error) = module.finalize()
        {
            tracing::warn!(code = fault::code(&error), "the module was not finalised");
        }
    }
}

/// Session copies of the hot signing keys, owned by the anchor session: a token object is locked, decrypted or read anew for every use by
/// software tokens. A copy that is not exactly like its original is not used.
fn copy_hot_keys(anchor: &Session, ring: &mut Ring) -> bool {
    let mut all = ring.keys().any(|key| key.design.copyable);
    for key in ring.keys_mut().filter(|key| key.design.copyable) {
        let Ok(copy) = anchor.copy_object(key.handle, &templates::session_copy()) else {
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
            key.working = copy;
        } else {
            all = false;
            drop(object::Ephemeral::new(anchor, copy));
        }
    }
    all
}

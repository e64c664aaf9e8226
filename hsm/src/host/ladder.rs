//! What the keeper does, from the least to the most: other sessions, other handles, a login, everything from the beginning. Each step ends with the
//! canary, so that nobody is let in on a hope.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::Slot;

use super::context::{Context, copy_hot_keys};
use super::keeper::{Host, Inner, lock};
use super::pool::{Pool, Session};
use super::view::Known;
use super::{fault, managed, module, profile, prove, ring, selftest, templates};
use crate::model::{Finding, Profile};

/// The finding that goes with the transport key.
const OAEP: &str = "mechanism:RSA-OAEP";

/// Probes the module, and tests it by known answers.
fn test(module: &Pkcs11, slot: Slot, pool: &Pool, findings: &mut Vec<Finding>) -> Result<Profile, Error> {
    // A probe leaves errors behind, so its session is not used for anything else.
    let mut profile = profile::probe(&pool.aside()?);
    profile.managed = managed::offers::probe(module, slot, &pool.aside()?, &profile);
    findings.push(match profile.kwp {
        Some(number) => Finding::passed("mechanism:AES-KWP", format!("{number:#06x}")),
        None => Finding::failed("mechanism:AES-KWP", None, "neither 0x210B nor 0x210A is RFC 5649: the main job needs it"),
    });
    findings.extend(selftest::run(&pool.aside()?, &profile));
    Ok(profile)
}

impl Host {
    fn pool(&self, module: &Pkcs11, slot: Slot, generation: u64) -> Pool {
        let asked = if self.args.sessions == 0 { self.args.workers.saturating_add(1) } else { self.args.sessions };
        // One of them is the anchor.
        Pool::new(module.clone(), slot, generation, asked.saturating_sub(1), self.counters.clone(), self.beat.clone())
    }

    pub(super) fn reopen(&self, context: &mut Context) -> Result<(), Error> {
        context.pool = self.pool(&context.module, context.slot, context.pool.generation);
        let session = context.pool.aside()?;
        if !Context::is_logged_in(&session)? || !Context::is_logged_in(context.anchor())? {
            return Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::GetSessionInfo));
        }
        context.canary(&session)
    }

    /// A label names a token, its keys are what it is: the service compared those of this process's first token, and would learn of another one only
    /// after that has answered. So none other is taken on; a new process, which is compared before it is asked, may.
    fn is_the_same(&self, ring: &ring::Ring) -> Result<(), Finding> {
        let mut known = lock(&self.known);
        let public = || ring.keys().filter_map(|key| key.public.as_ref().map(|(_, public)| (&key.design.label, &public.spki)));
        if public().any(|(label, spki)| known.get(label).is_some_and(|before| before != spki)) {
            return Err(Finding::failed("token", None, "it has other keys than the token of this label that this process began with"));
        }
        known.extend(public().map(|(label, spki)| (label.clone(), spki.clone())));
        Ok(())
    }

    /// Looks for the keys, when no other host makes one.
    fn load(&self, session: &Session) -> Result<(ring::Ring, Vec<Finding>), Error> {
        let _turn = self.beat.pause(|| self.objects.turn());
        ring::load(session)
    }

    fn next_generation(&self) -> u64 {
        let mut view = lock(&self.view);
        view.generation = view.generation.saturating_add(1);
        view.generation
    }

    pub(super) fn find_again(&self, context: &mut Context) -> Result<(), Error> {
        let generation = self.next_generation();
        context.pool = self.pool(&context.module, context.slot, generation);
        // The copies of the generation before go with the old anchor, which is closed when there is a new one: the login stays.
        *context.anchor() = context.pool.aside()?;
        let session = context.pool.aside()?;
        if !Context::is_logged_in(&session)? {
            return Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::GetSessionInfo));
        }
        let (ring, findings) = self.load(&session)?;
        // Keys that were there and are not: the token is away and says nothing, or shows a part of itself.
        if context.ring.keys().any(|key| ring.get(&key.design.label).is_err()) {
            return Err(Error::Pkcs11(RvError::ObjectHandleInvalid, Function::FindObjects));
        }
        if self.is_the_same(&ring).is_err() {
            return Err(Error::Pkcs11(RvError::TokenNotRecognized, Function::FindObjects));
        }
        context.take_ring(ring);
        context.canary(&session)?;
        if let Ok(transport) = context.ring.get(templates::ENROLMENT_TRANSPORT) {
            context.profile.oaep = context.profile.oaep.or_else(|| prove::oaep(&session, &context.profile, transport));
        }
        let mut view = lock(&self.view);
        view.findings.retain(|finding| !finding.name.starts_with("key:"));
        view.findings.extend(findings);
        view.profile = Some(context.profile.clone());
        Ok(())
    }

    pub(super) fn log_in_again(&self, context: &mut Context) -> Result<(), Finding> {
        let failed = |error: Error| Finding::failed("token", Some(fault::code(&error)), "the token does not answer as it has to");
        let generation = self.next_generation();
        context.pool = self.pool(&context.module, context.slot, generation);
        let session = context.pool.aside().map_err(failed)?;
        self.log_in(&context.module, context.slot, &session)?;
        *context.anchor() = session;
        self.find_again(context).map_err(failed)
    }

    fn log_in(&self, module: &Pkcs11, slot: Slot, session: &Session) -> Result<(), Finding> {
        let turn = self.logins.turn(&self.args.uri, || self.beat.tick());
        self.beat.tick();
        module::log_in(module, slot, session, &self.args.uri, &mut lock(&self.refused_pin), &turn)
    }

    /// Everything from the beginning. The library stays loaded: a module is not made for being unloaded.
    pub(super) fn initialise(&self, inner: &mut Inner) -> Result<(), Finding> {
        inner.context = None;
        let known = lock(&self.view).known();
        if let Some(module) = &inner.module
            && let Err(error) = module.clone().finalize()
        {
            tracing::warn!(code = fault::code(&error), "the module was not finalised");
        }
        self.beat.tick();
        self.counters.made.store(0, Ordering::Relaxed);
        let mut findings = Vec::new();
        let outcome = self.prepare(inner, known, &mut findings);
        let mut view = lock(&self.view);
        let result = match outcome {
            Ok(context) => {
                let of_module = |finding: &&Finding| finding.name.starts_with("mechanism:") || finding.name.starts_with("self-test:");
                view.tested = findings.iter().filter(of_module).filter(|finding| finding.name != OAEP).cloned().collect();
                view.token = Some(context.token.clone());
                view.profile = Some(context.profile.clone());
                inner.context = Some(context);
                Ok(())
            }
            Err(finding) => {
                findings.push(finding.clone());
                Err(finding)
            }
        };
        view.library = inner.module.as_ref().and_then(module::library);
        for finding in findings.iter().filter(|finding| !finding.ok && !view.findings.contains(finding)) {
            tracing::error!(name = finding.name, code = finding.code, hint = finding.hint, "check failed");
        }
        view.findings = findings;
        result
    }

    /// Loads, finds, logs in, probes, tests and looks for the keys; stops at the first step without which the next makes no sense. A token whose module
    /// passed the tests in this process is not tested again.
    fn prepare(&self, inner: &mut Inner, known: Option<Known>, findings: &mut Vec<Finding>) -> Result<Context, Finding> {
        let module = match &inner.module {
            Some(module) => module.clone(),
            None => inner.module.insert(module::load(&self.args.uri)?).clone(),
        };
        self.beat.tick();
        module::initialise(&module)?;
        self.beat.tick();
        findings.push(Finding::passed("module", module::library(&module).unwrap_or_default()));
        let (slot, token) = module::find_token(&module, &self.args.uri)?;
        self.beat.tick();
        findings.push(Finding::passed("token", format!("{} {}, serial {}", token.manufacturer, token.model, token.serial)));
        let failed = |name: &str| {
            let name = name.to_owned();
            move |error: Error| Finding::failed(name, Some(fault::code(&error)), "the token does not answer as it has to")
        };
        let pool = self.pool(&module, slot, self.next_generation());
        let anchor = pool.aside().map_err(failed("token"))?;
        self.log_in(&module, slot, &anchor)?;
        findings.push(Finding::passed("pin", "the token takes it"));
        let mut profile = if let Some(Known { profile, findings: before, .. }) = known.filter(|known| known.token == token) {
            findings.extend(before);
            profile
        } else {
            findings.extend(profile::mechanisms(&module, slot));
            test(&module, slot, &pool, findings).map_err(failed("token"))?
        };

        let session = pool.aside().map_err(failed("token"))?;
        let (mut ring, found) = self.load(&session).map_err(failed("keys"))?;
        findings.extend(found);
        self.is_the_same(&ring)?;
        profile.session_copies = copy_hot_keys(&anchor, &mut ring);
        if let Ok(transport) = ring.get(templates::ENROLMENT_TRANSPORT) {
            profile.oaep = profile.oaep.or_else(|| prove::oaep(&session, &profile, transport));
            findings.push(match profile.oaep {
                Some(hash) => Finding::passed(OAEP, hash.name()),
                None => Finding::failed(OAEP, None, "neither SHA-256 nor SHA-1 unwraps what the public key wrapped"),
            });
        }
        findings.extend(prove::ecdh(&session, &mut profile, &ring));
        drop(session);
        let anchor = Mutex::new(anchor);
        let context = Context { module, slot, token, profile, ring, pool, anchor, objects: self.objects.clone() };
        let session = context.pool.aside().map_err(failed("token"))?;
        context.canary(&session).map_err(failed("canary"))?;
        Ok(context)
    }
}

//! The benchmark inside the process: the sentences of the host's operations, on scratch keys, with no socket in between.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};

use super::{Out, Scratch, Stage, describe, open};
use crate::derivation::{Algorithm, Usage, transaction_identifier};
use crate::frame;
use crate::host::fault::Fault;
use crate::host::object::{self, Ephemeral};
use crate::host::pool::Session;
use crate::host::prove::{self, oaep_mechanism};
use crate::host::templates::{self, Design};
use crate::host::{ffi, module};
use crate::ksn::Ikid;
use crate::model::OaepHash;
use crate::trial::wire::{Command, Event};
use crate::trial::{Histogram, Work, now_ns};
use crate::uri::Pkcs11Uri;

/// Before anything is counted: the module's first calls load, allocate and look up.
const WARM: Duration = Duration::from_millis(20);
const MESSAGE: [u8; 64] = [0x5A; 64];
const IKID: Ikid = Ikid([0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1]);
/// Sixteen bits set: the longest way through the tree (X9.24-3 §6.3.2).
const COUNTER: u32 = 0xFFFF;
const AES256: Algorithm = Algorithm::Aes256;

/// Handles and prepared input of every work.
struct Kit {
    sign: ObjectHandle,
    hmac: ObjectHandle,
    kek: ObjectHandle,
    mac: ObjectHandle,
    transport: ObjectHandle,
    bdk: ObjectHandle,
    kwp: u64,
    hash: OaepHash,
    /// A second secret: wrapped for storage, with the MAC over it, and wrapped as a phone does.
    block: Vec<u8>,
    block_mac: Vec<u8>,
    oaep: Vec<u8>,
    device_mac: Vec<u8>,
    dukpt_mac: Vec<u8>,
    pair: Design,
    unwrapped: Vec<Attribute>,
    taken: Vec<Attribute>,
}

/// Makes the keys, serves the cells, destroys the keys.
pub(super) fn serve(uri: &Pkcs11Uri, input: &mut UnixStream, out: &mut Out) -> std::io::Result<()> {
    let stage = match open(uri) {
        Ok(stage) => stage,
        Err(finding) => return out.tell(&Event::Failed(finding.to_string())),
    };
    let token = module::find_token(&stage.module, uri).ok().map(|(_, token)| token);
    out.tell(&Event::Device(describe(uri, &stage.module, token)))?;
    let served = match stage.session() {
        Err(error) => out.tell(&Event::Failed(Fault::from(error).into_refusal().to_string())),
        Ok(session) => with_keys(&stage, &session, input, out),
    };
    stage.close();
    served
}

fn with_keys(stage: &Stage, session: &Session, input: &mut UnixStream, out: &mut Out) -> std::io::Result<()> {
    // Dropped, and with it the keys, on every path.
    let mut keys = Vec::new();
    let kit = match Kit::make(stage, session, &mut keys) {
        Ok(kit) => kit,
        Err(fault) => return out.tell(&Event::Failed(fault.into_refusal().to_string())),
    };
    out.tell(&Event::Done)?;
    let mut open: Option<(Work, Vec<Session>)> = None;
    while let Some(body) = frame::read(input)? {
        let outcome = match frame::decode(&body).map_err(std::io::Error::other)? {
            Command::Warm { work, sessions } => {
                // Closed first: the token may not have as many.
                drop(open.take());
                warm(stage, &kit, work, sessions).map(|sessions| {
                    let count = u16::try_from(sessions.len()).unwrap_or(u16::MAX);
                    open = Some((work, sessions));
                    Event::Warm { sessions: count }
                })
            }
            Command::Run { start_ns, window_ns } => {
                let Some((work, sessions)) = &mut open else { return Err(std::io::ErrorKind::InvalidInput.into()) };
                run(&kit, *work, sessions, start_ns, start_ns.saturating_add(window_ns)).map(Event::Measured)
            }
            Command::End => break,
            _ => return Err(std::io::ErrorKind::InvalidInput.into()),
        };
        out.tell(&outcome.unwrap_or_else(|fault| Event::Failed(fault.into_refusal().to_string())))?;
    }
    Ok(())
}

/// As many sessions as were asked for, or as the token gives; each has done the work.
fn warm(stage: &Stage, kit: &Kit, work: Work, wanted: u16) -> Result<Vec<Session>, Fault> {
    let mut sessions = vec![stage.session()?];
    while sessions.len() < usize::from(wanted) {
        match stage.session() {
            Ok(session) => sessions.push(session),
            Err(_) => break,
        }
    }
    let begin = now_ns();
    run(kit, work, &mut sessions, begin, begin.saturating_add(u64::try_from(WARM.as_nanos()).unwrap_or_default()))?;
    Ok(sessions)
}

/// One thread a session. An operation counts if it ends within the window.
fn run(kit: &Kit, work: Work, sessions: &mut [Session], start_ns: u64, end_ns: u64) -> Result<Histogram, Fault> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(move || {
                    let mut histogram = Histogram::default();
                    // Once, whatever the window: no cell is empty because it was never tried.
                    kit.perform(work, session)?;
                    if let Some(early) = start_ns.checked_sub(now_ns()) {
                        std::thread::sleep(Duration::from_nanos(early));
                    }
                    let mut before = now_ns();
                    while before < end_ns {
                        kit.perform(work, session)?;
                        let after = now_ns();
                        if after <= end_ns {
                            histogram.add(after.saturating_sub(before));
                        }
                        before = after;
                    }
                    Ok(histogram)
                })
            })
            .collect();
        let mut all = Histogram::default();
        let mut failed = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(histogram)) => all.merge(&histogram),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(Error::InvalidValue),
            }
        }
        failed.map_or(Ok(all), |error| Err(error.into()))
    })
}

impl Kit {
    fn make<'s>(stage: &Stage, session: &'s Session, keys: &mut Vec<Scratch<'s>>) -> Result<Self, Fault> {
        let profile = &stage.profile;
        let kwp = profile.kwp.ok_or_else(|| Fault::input("module: it has no AES-KWP"))?;
        let mut make = |label: &str| -> Result<ObjectHandle, Fault> {
            let design = templates::designs(label).pop().ok_or_else(|| Fault::input("label"))?;
            let key = Scratch::make(stage, session, &design)?;
            let handle = key.handle;
            keys.push(key);
            Ok(handle)
        };
        let (sign, hmac) = (make(templates::ATTESTATION_SIGNING)?, make(templates::ACTIVATION_MAC)?);
        let (kek, mac) = (make(templates::STORAGE_KEK)?, make(templates::STORAGE_MAC)?);
        let (bdk, transport) = (make("bdk-data:scratch:00000001")?, make(templates::ENROLMENT_TRANSPORT)?);

        let pair = keys.last().ok_or_else(|| Fault::input("keys"))?.key()?;
        let hash = prove::oaep(session, profile, &pair).ok_or_else(|| Fault::input("module: its RSA-OAEP does not work"))?;
        let (public, _) = pair.public.ok_or_else(|| Fault::input("keys"))?;
        let secret = session.generate_key(&Mechanism::AesKeyGen, &templates::generated(templates::DERIVE, true))?;
        let secret = Ephemeral::new(session, secret);
        let block = session.wrap_key(&ffi::plain(kwp), kek, secret.handle())?;
        let sign_template = templates::derived(AES256, templates::SIGN);
        let device = object::derive(session, secret.handle(), Usage::MacBoth, AES256, IKID.0, &sign_template)?;
        let transaction = object::transaction_key(session, bdk, AES256, IKID, COUNTER)?;
        let identifier = transaction_identifier(IKID, COUNTER);
        let working = object::derive(session, transaction.handle(), Usage::MacGeneration, AES256, identifier, &sign_template)?;
        Ok(Self {
            sign,
            hmac,
            kek,
            mac,
            transport,
            bdk,
            kwp,
            hash,
            block_mac: session.sign(&Mechanism::AesCMac, mac, &block)?,
            oaep: session.wrap_key(&oaep_mechanism(hash), public.on(session)?, secret.handle())?,
            device_mac: session.sign(&Mechanism::AesCMac, device.handle(), &MESSAGE)?,
            dukpt_mac: session.sign(&Mechanism::AesCMac, working.handle(), &MESSAGE)?,
            block,
            pair: templates::designs(templates::ATTESTATION_SIGNING).pop().ok_or_else(|| Fault::input("label"))?,
            unwrapped: templates::unwrapped_to_derive(profile),
            taken: templates::unwrapped_to_be_wrapped(profile),
        })
    }

    /// One operation, as the host does it.
    fn perform(&self, work: Work, session: &Session) -> Result<(), Error> {
        let derive = |base, usage, identifier, allowed| {
            object::derive(session, base, usage, AES256, identifier, &templates::derived(AES256, allowed))
        };
        match work {
            Work::Sign => session.sign(&Mechanism::Ecdsa, self.sign, &MESSAGE[..32]).map(drop),
            Work::Cmac => session.sign(&Mechanism::AesCMac, self.mac, &MESSAGE).map(drop),
            Work::Hmac => session.sign(&Mechanism::Sha256Hmac, self.hmac, &MESSAGE).map(drop),
            Work::Derive => derive(self.bdk, Usage::InitialKey, IKID.0, templates::VERIFY).map(drop),
            Work::DeriveMac => {
                let key = derive(self.bdk, Usage::MacBoth, IKID.0, templates::SIGN)?;
                session.sign(&Mechanism::AesCMac, key.handle(), &MESSAGE).map(drop)
            }
            Work::DeviceMac => {
                session.verify(&Mechanism::AesCMac, self.mac, &self.block, &self.block_mac)?;
                let secret = session.unwrap_key(&ffi::plain(self.kwp), self.kek, &self.block, &self.unwrapped)?;
                let secret = Ephemeral::new(session, secret);
                let key = derive(secret.handle(), Usage::MacBoth, IKID.0, templates::VERIFY)?;
                session.verify(&Mechanism::AesCMac, key.handle(), &MESSAGE, &self.device_mac)
            }
            Work::OaepUnwrap => session
                .unwrap_key(&oaep_mechanism(self.hash), self.transport, &self.oaep, &self.taken)
                .map(|secret| drop(Ephemeral::new(session, secret))),
            Work::InitialKey => {
                let kek = derive(self.bdk, Usage::KeyEncryption, IKID.0, templates::WRAP)?;
                let template = templates::derived_to_be_wrapped(AES256);
                let leaving = object::derive(session, self.bdk, Usage::InitialKey, AES256, IKID.0, &template)?;
                session.wrap_key(&ffi::plain(self.kwp), kek.handle(), leaving.handle()).map(drop)
            }
            Work::DukptVerify => {
                let transaction = object::transaction_key(session, self.bdk, AES256, IKID, COUNTER)?;
                let identifier = transaction_identifier(IKID, COUNTER);
                let key = derive(transaction.handle(), Usage::MacGeneration, identifier, templates::VERIFY)?;
                session.verify(&Mechanism::AesCMac, key.handle(), &MESSAGE, &self.dukpt_mac)
            }
            Work::Random => session.generate_random_vec(32).map(drop),
            Work::KeyPair => {
                let (public, private) = templates::session_pair(&self.pair);
                let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
                drop((Ephemeral::new(session, public), Ephemeral::new(session, private)));
                Ok(())
            }
        }
    }
}

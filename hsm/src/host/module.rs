//! The module, its token and the login.

use std::fs::File;
use std::io::Read;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::fault;
use super::logins::{Before, Turn};
use super::pool::Session;
use crate::model::{Finding, TokenRecord};
use crate::uri::Pkcs11Uri;

/// Loads the module.
pub(super) fn load(uri: &Pkcs11Uri) -> Result<Pkcs11, Finding> {
    Pkcs11::new(uri.module_path()).map_err(|error| {
        Finding::failed("module", Some(fault::code(&error)), "the module could not be loaded: is module-path a PKCS#11 library?")
    })
}

/// `C_Initialize`, with OS locking: SoftHSM crashes under threads without it.
pub(super) fn initialise(module: &Pkcs11) -> Result<(), Finding> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => {
            let hint = "the module could not be initialised: see its own configuration and log";
            Err(Finding::failed("module", Some(fault::code(&error)), hint))
        }
    }
}

/// The one slot whose token has the label.
pub(super) fn find_token(module: &Pkcs11, uri: &Pkcs11Uri) -> Result<(Slot, TokenRecord), Finding> {
    let failed = |error: Error| Finding::failed("token", Some(fault::code(&error)), "the module does not list its slots");
    let mut found = Vec::new();
    for slot in module.get_slots_with_token().map_err(failed)? {
        // A slot that does not answer is not ours to report: the token is found in another, or is missing.
        if let Ok(info) = module.get_token_info(slot)
            && info.token_initialized()
            && info.label() == uri.token()
        {
            found.push((slot, record(&info)));
        }
    }
    let problem = match found.len() {
        1 => None,
        0 => Some("no token has this label: `tillward init` makes it, or the URI names another"),
        _ => Some("several tokens have this label: give them different labels"),
    };
    match (found.pop(), problem) {
        (Some(token), None) => Ok(token),
        (_, problem) => Err(Finding::failed("token", None, problem.unwrap_or_default())),
    }
}

fn record(info: &cryptoki::slot::TokenInfo) -> TokenRecord {
    TokenRecord {
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
        firmware: info.firmware_version().to_string(),
    }
}

/// Reads a PIN from its file: 4 to 255 bytes of UTF-8, one line end cut off.
pub(super) fn read_pin(path: &std::path::Path) -> Result<AuthPin, Finding> {
    let failed = |hint: &str| Finding::failed("pin", None, hint);
    let mut text = Zeroizing::new(String::with_capacity(512));
    let file = File::open(path).map_err(|_| failed("the PIN file cannot be opened: does it exist, may this user read it?"))?;
    file.take(257).read_to_string(&mut text).map_err(|_| failed("the PIN file is not text"))?;
    let pin = text.strip_suffix('\n').unwrap_or(&text);
    let pin = pin.strip_suffix('\r').unwrap_or(pin);
    if pin.len() < 4 || pin.len() > 255 || pin.contains(['\n', '\r', '\0']) {
        return Err(failed("the PIN file does not hold one line of 4 to 255 bytes"));
    }
    Ok(AuthPin::new(pin.into()))
}

/// A PIN that the token refused, so that it is not tried again.
pub(super) struct RefusedPin {
    digest: [u8; 32],
    code: String,
}

impl RefusedPin {
    /// Whether the PIN file still holds it.
    pub(super) fn stands(&self, uri: &Pkcs11Uri) -> bool {
        read_pin(uri.pin_path()).is_ok_and(|pin| digest(&pin) == self.digest)
    }
}

fn digest(pin: &AuthPin) -> [u8; 32] {
    Sha256::digest(pin.expose_secret().as_bytes()).into()
}

/// Logs the user in. A refused PIN is not tried again until the file holds another, and none is tried that could be the last: a real token locks.
pub(super) fn log_in(
    module: &Pkcs11,
    slot: Slot,
    session: &Session,
    uri: &Pkcs11Uri,
    refused: &mut Option<RefusedPin>,
    turn: &Turn<'_>,
) -> Result<(), Finding> {
    let failed = |code: Option<String>, hint: &str| Finding::failed("pin", code, hint);
    let pin = read_pin(uri.pin_path())?;
    let digest = digest(&pin);
    let unanswered = |error: Error| Finding::failed("token", Some(fault::code(&error)), "the token does not answer as it has to");
    let info = module.get_token_info(slot).map_err(unanswered)?;
    if info.user_pin_locked() {
        return Err(failed(
            Some("CKR_PIN_LOCKED".to_owned()),
            "the token says that the PIN is locked: no login was tried; the security officer unlocks it",
        ));
    }
    if let Some(before) = refused.as_ref().filter(|before| before.digest == digest) {
        return Err(failed(Some(before.code.clone()), REFUSED));
    }
    match turn.before() {
        Before::Refused(code) => {
            *refused = Some(RefusedPin { digest, code: code.clone() });
            return Err(failed(Some(code), REFUSED));
        }
        Before::Unclear if info.user_pin_count_low() => {
            return Err(failed(
                None,
                "a host ended while it tried this PIN, and the token says that a wrong one was tried: correct the PIN file, or write it anew if it is right",
            ));
        }
        Before::Unclear | Before::Nothing => {}
    }
    if info.user_pin_final_try() {
        return Err(failed(
            None,
            "one wrong PIN more locks the token, so no login was tried: log in once with the vendor's tool, and correct the PIN file",
        ));
    }
    turn.trying();
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            turn.not_refused();
            *refused = None;
            Ok(())
        }
        Err(error) if fault::is_about_the_pin(&error) => {
            let code = fault::code(&error);
            turn.refused(&code);
            *refused = Some(RefusedPin { digest, code: code.clone() });
            Err(failed(Some(code), REFUSED))
        }
        Err(error) => {
            turn.not_refused();
            Err(failed(Some(fault::code(&error)), "the login failed"))
        }
    }
}

const REFUSED: &str = "the token refused the PIN; exactly one login was tried, and none is until the PIN file holds another: correct it";

/// Description and version of the library.
pub(super) fn library(module: &Pkcs11) -> Option<String> {
    let info = module.get_library_info().ok()?;
    Some(format!("{} {}", info.library_description(), info.library_version()))
}

//! The module, its token and the login: loaded once, with OS locking; the anchor session holds the login and is never used.

use std::fs::File;
use std::io::Read;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::fault;
use crate::model::{Finding, TokenRecord};
use crate::uri::Pkcs11Uri;

/// Loads the module and initialises it. Without OS locking SoftHSM crashes under threads.
pub(super) fn load(uri: &Pkcs11Uri) -> Result<Pkcs11, Finding> {
    let failed = |error: &Error, hint: &str| Finding::failed("module", Some(fault::code(error)), hint);
    let module = Pkcs11::new(uri.module_path())
        .map_err(|error| failed(&error, "the module could not be loaded: is module-path a PKCS#11 library?"))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(module),
        Err(error) => Err(failed(&error, "the module could not be initialised: see its own configuration and log")),
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

/// Opens the anchor session and logs the user in: once, never again in this process.
pub(super) fn log_in(module: &Pkcs11, slot: Slot, uri: &Pkcs11Uri) -> Result<Session, Finding> {
    let failed = |error: &Error, hint: &str| Finding::failed("pin", Some(fault::code(error)), hint);
    let pin = read_pin(uri.pin_path())?;
    let anchor = module
        .open_rw_session(slot)
        .map_err(|error| Finding::failed("token", Some(fault::code(&error)), "no session can be opened on the token"))?;
    match anchor.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(anchor),
        Err(error) if fault::is_about_the_pin(&error) => {
            Err(failed(&error, "the token refuses the PIN: correct the PIN file, then start again; it is not tried again by itself"))
        }
        Err(error) => Err(failed(&error, "the login failed")),
    }
}

/// Description and version of the library.
pub(super) fn library(module: &Pkcs11) -> Option<String> {
    let info = module.get_library_info().ok()?;
    Some(format!("{} {}", info.library_description(), info.library_version()))
}

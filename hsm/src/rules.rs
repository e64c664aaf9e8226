//! The failure rules: what follows from a PKCS#11 return code, and from which function it came. One table; `docs/operations.md` quotes it.

use std::fmt;

/// What the host does about a return code. From `OtherSession` on, each does more than the one before, and the next is tried where it does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Fail for good: asking again gives the same.
    Fail,
    /// Fail for good, and try no login again until the operator has changed something: every wrong PIN brings a real token nearer to its lock.
    AskOperator,
    /// Push back: the caller comes again later.
    PushBack,
    /// Throw the session away, try once more on another.
    OtherSession,
    /// Throw all sessions away and open new ones.
    Reopen,
    /// Look for the keys again: a new generation of handles.
    FindAgain,
    /// Log in again, then look for the keys again.
    LogIn,
    /// Wait until nobody is inside the module, `C_Finalize`, `C_Initialize`, log in, look for the keys.
    Reinitialise,
    /// End the host process; the service starts another.
    Restart,
}

impl Action {
    /// As status, metrics and log name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::AskOperator => "ask-operator",
            Self::PushBack => "push-back",
            Self::OtherSession => "other-session",
            Self::Reopen => "reopen-sessions",
            Self::FindAgain => "find-again",
            Self::LogIn => "log-in",
            Self::Reinitialise => "re-initialise",
            Self::Restart => "restart-host",
        }
    }

    /// What it means, for the published table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Fail => "the call fails for good; nothing is repeated",
            Self::AskOperator => "the call fails; no login is tried until the PIN file holds another PIN, or the host is started anew",
            Self::PushBack => {
                "the host answers `busy` and has done nothing; the service asks it or another again for `stuck_ms`, then 503 with Retry-After"
            }
            Self::OtherSession => "the session is thrown away; once more on another",
            Self::Reopen => "every session is thrown away and opened anew",
            Self::FindAgain => "the keys are looked for again; handles get a new generation",
            Self::LogIn => "one login by the keeper thread, then the keys are looked for again",
            Self::Reinitialise => "no call is inside, then C_Finalize, C_Initialize, login, keys",
            Self::Restart => "the host process ends with 75 and is replaced",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The return code, `CKR_...`.
    pub code: &'static str,
    /// The functions it has to come from; empty is any.
    pub from: &'static [&'static str],
    /// Whether a signature is made and verified first: where that works, the token is well, and the call is repeated once, then fails.
    pub canary: bool,
    /// What follows.
    pub action: Action,
    /// Why.
    pub why: &'static str,
}

const INPUT: &str = "the input or the template is to blame; the token is well";
const KEY: &str = "the key cannot do this; the templates say so";
const STATE: &str = "an operation was left half done in the session";
const HANDLE: &str =
    "login or token context is lost before a key is deleted: measured after logout, C_CloseAllSessions and a lost directory";
const GONE: &str = "the token or the module's view of it is gone; new sessions do not help";
const VAGUE: &str = "says nothing: SoftHSM gives it for a tampered blob and for a lost token, kryoptic for an off-curve point";
const NO_INPUT: &str = "vague, but no caller's input goes into this function";
const LIBRARY: &str = "the library itself is unwell; only a new process is sure to help";
const PIN: &str = "a wrong PIN times N tries locks a real token";
const UNUSED: &str = "Tillward does not ask for what gives it";

/// Functions that take nothing from a caller.
const INNER: &[&str] = &[
    "C_Initialize",
    "C_GetSlotList",
    "C_GetTokenInfo",
    "C_OpenSession",
    "C_Login",
    "C_GetSessionInfo",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_GetAttributeValue",
];

const fn any(code: &'static str, action: Action, why: &'static str) -> Rule {
    Rule { code, from: &[], canary: false, action, why }
}

const fn fail(code: &'static str, why: &'static str) -> Rule {
    any(code, Action::Fail, why)
}

const fn inner(code: &'static str) -> Rule {
    Rule { code, from: INNER, canary: false, action: Action::Reinitialise, why: NO_INPUT }
}

const fn suspect(code: &'static str, why: &'static str) -> Rule {
    Rule { code, from: &[], canary: true, action: Action::Reinitialise, why }
}

/// What holds for a code that is not in the table, vendor-defined ones too, and for an answer that makes no sense (a signature that does not verify).
pub const UNKNOWN: Rule = suspect("any other", "unknown: the canary decides");

/// The table. The first line that fits counts.
pub const RULES: &[Rule] = &[
    any("CKR_SESSION_HANDLE_INVALID", Action::Reopen, "the session is gone; its neighbours may be, and the login with them"),
    any("CKR_SESSION_CLOSED", Action::Reopen, "the session is gone; its neighbours may be, and the login with them"),
    any("CKR_OPERATION_ACTIVE", Action::OtherSession, STATE),
    any("CKR_OPERATION_NOT_INITIALIZED", Action::OtherSession, STATE),
    any("CKR_FUNCTION_CANCELED", Action::OtherSession, STATE),
    any("CKR_CANCEL", Action::OtherSession, STATE),
    any("CKR_SESSION_COUNT", Action::PushBack, "the token has no session free: the pool lends what it has"),
    any("CKR_DEVICE_MEMORY", Action::PushBack, "the token is full for now; some give it at random under load"),
    any("CKR_USER_NOT_LOGGED_IN", Action::LogIn, "somebody logged the application out"),
    Rule {
        code: "CKR_OBJECT_HANDLE_INVALID",
        from: &["C_DestroyObject"],
        canary: false,
        action: Action::Fail,
        why: "what was to be destroyed is gone",
    },
    any("CKR_OBJECT_HANDLE_INVALID", Action::FindAgain, HANDLE),
    any("CKR_KEY_HANDLE_INVALID", Action::FindAgain, HANDLE),
    any("CKR_WRAPPING_KEY_HANDLE_INVALID", Action::FindAgain, HANDLE),
    any("CKR_UNWRAPPING_KEY_HANDLE_INVALID", Action::FindAgain, HANDLE),
    any("CKR_DEVICE_REMOVED", Action::Reinitialise, GONE),
    any("CKR_TOKEN_NOT_PRESENT", Action::Reinitialise, GONE),
    any("CKR_TOKEN_NOT_RECOGNIZED", Action::Reinitialise, GONE),
    any("CKR_SLOT_ID_INVALID", Action::Reinitialise, "the slots were counted anew: a failover"),
    any("CKR_CRYPTOKI_NOT_INITIALIZED", Action::Reinitialise, "the module lost its own state"),
    any("CKR_CRYPTOKI_ALREADY_INITIALIZED", Action::Reinitialise, "the module was not finalised; C_Initialize takes it for success"),
    inner("CKR_GENERAL_ERROR"),
    inner("CKR_DEVICE_ERROR"),
    inner("CKR_FUNCTION_FAILED"),
    suspect("CKR_GENERAL_ERROR", VAGUE),
    suspect("CKR_DEVICE_ERROR", VAGUE),
    suspect("CKR_FUNCTION_FAILED", VAGUE),
    suspect("CKR_FUNCTION_REJECTED", "an operator at the token declined, or the token's policy did"),
    suspect("CKR_RANDOM_NO_RNG", "the token has a generator: it was tried at start"),
    any("CKR_HOST_MEMORY", Action::Restart, "the process is short of memory; SoftHSM keeps 240 bytes of every object until C_Finalize"),
    any("CKR_CANT_LOCK", Action::Restart, LIBRARY),
    any("CKR_NEED_TO_CREATE_THREADS", Action::Restart, LIBRARY),
    any("CKR_MUTEX_BAD", Action::Restart, LIBRARY),
    any("CKR_MUTEX_NOT_LOCKED", Action::Restart, LIBRARY),
    any("CKR_LIBRARY_LOAD_FAILED", Action::Restart, LIBRARY),
    any("CKR_FIPS_SELF_TEST_FAILED", Action::Restart, "the module refuses to work in this process"),
    any("CKR_PIN_INCORRECT", Action::AskOperator, PIN),
    any("CKR_PIN_LOCKED", Action::AskOperator, PIN),
    any("CKR_PIN_EXPIRED", Action::AskOperator, PIN),
    any("CKR_PIN_INVALID", Action::AskOperator, PIN),
    any("CKR_PIN_LEN_RANGE", Action::AskOperator, PIN),
    any("CKR_PIN_TOO_WEAK", Action::AskOperator, PIN),
    any("CKR_NEW_PIN_MODE", Action::AskOperator, PIN),
    any("CKR_NEXT_OTP", Action::AskOperator, PIN),
    any("CKR_USER_PIN_NOT_INITIALIZED", Action::AskOperator, "the token has no user PIN yet: `tillward init`"),
    fail("CKR_DATA_INVALID", INPUT),
    fail("CKR_DATA_LEN_RANGE", INPUT),
    fail("CKR_ENCRYPTED_DATA_INVALID", INPUT),
    fail("CKR_ENCRYPTED_DATA_LEN_RANGE", INPUT),
    fail("CKR_SIGNATURE_INVALID", INPUT),
    fail("CKR_SIGNATURE_LEN_RANGE", INPUT),
    fail("CKR_WRAPPED_KEY_INVALID", INPUT),
    fail("CKR_WRAPPED_KEY_LEN_RANGE", INPUT),
    fail("CKR_PUBLIC_KEY_INVALID", INPUT),
    fail("CKR_DOMAIN_PARAMS_INVALID", INPUT),
    fail("CKR_ARGUMENTS_BAD", INPUT),
    fail("CKR_BUFFER_TOO_SMALL", INPUT),
    fail("CKR_TEMPLATE_INCOMPLETE", INPUT),
    fail("CKR_TEMPLATE_INCONSISTENT", INPUT),
    fail("CKR_ATTRIBUTE_READ_ONLY", INPUT),
    fail("CKR_ATTRIBUTE_SENSITIVE", INPUT),
    fail("CKR_ATTRIBUTE_TYPE_INVALID", INPUT),
    fail("CKR_ATTRIBUTE_VALUE_INVALID", INPUT),
    fail("CKR_ACTION_PROHIBITED", KEY),
    fail("CKR_KEY_SIZE_RANGE", KEY),
    fail("CKR_KEY_TYPE_INCONSISTENT", KEY),
    fail("CKR_KEY_FUNCTION_NOT_PERMITTED", KEY),
    fail("CKR_KEY_NOT_WRAPPABLE", KEY),
    fail("CKR_KEY_UNEXTRACTABLE", KEY),
    fail("CKR_KEY_NOT_NEEDED", KEY),
    fail("CKR_KEY_NEEDED", KEY),
    fail("CKR_KEY_CHANGED", KEY),
    fail("CKR_KEY_INDIGESTIBLE", KEY),
    fail("CKR_WRAPPING_KEY_SIZE_RANGE", KEY),
    fail("CKR_WRAPPING_KEY_TYPE_INCONSISTENT", KEY),
    fail("CKR_UNWRAPPING_KEY_SIZE_RANGE", KEY),
    fail("CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", KEY),
    fail("CKR_MECHANISM_INVALID", "the module lacks it; the checks at start say so"),
    fail("CKR_MECHANISM_PARAM_INVALID", INPUT),
    fail("CKR_CURVE_NOT_SUPPORTED", "the module lacks it; the checks at start say so"),
    fail("CKR_FUNCTION_NOT_SUPPORTED", "the module lacks it; the checks at start say so"),
    fail("CKR_TOKEN_WRITE_PROTECTED", "nothing can be made on the token; what is there still works"),
    fail("CKR_USER_ALREADY_LOGGED_IN", "C_Login takes it for success"),
    fail("CKR_USER_ANOTHER_ALREADY_LOGGED_IN", "the security officer is logged in: no service then"),
    fail("CKR_USER_TOO_MANY_TYPES", "the security officer is logged in: no service then"),
    fail("CKR_SESSION_READ_ONLY", UNUSED),
    fail("CKR_SESSION_EXISTS", UNUSED),
    fail("CKR_SESSION_READ_ONLY_EXISTS", UNUSED),
    fail("CKR_SESSION_READ_WRITE_SO_EXISTS", UNUSED),
    fail("CKR_SESSION_PARALLEL_NOT_SUPPORTED", UNUSED),
    fail("CKR_FUNCTION_NOT_PARALLEL", UNUSED),
    fail("CKR_USER_TYPE_INVALID", UNUSED),
    fail("CKR_NO_EVENT", UNUSED),
    fail("CKR_RANDOM_SEED_NOT_SUPPORTED", UNUSED),
    fail("CKR_SAVED_STATE_INVALID", UNUSED),
    fail("CKR_STATE_UNSAVEABLE", UNUSED),
    fail("CKR_INFORMATION_SENSITIVE", UNUSED),
    fail("CKR_EXCEEDED_MAX_ITERATIONS", UNUSED),
];

/// The rule for a return code that came from a function.
pub fn rule(code: &str, function: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.code == code && (rule.from.is_empty() || rule.from.contains(&function))).unwrap_or(&UNKNOWN)
}

impl fmt::Display for Rule {
    /// A line of the published table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.from {
            [] => "any".to_owned(),
            INNER => "see below".to_owned(),
            functions => functions.join(", "),
        };
        let canary = if self.canary { "canary, then " } else { "" };
        write!(f, "| `{}` | {from} | {canary}{} | {} |", self.code, self.action.name(), self.why)
    }
}

/// The table as `docs/operations.md` shows it, in Markdown.
pub fn published() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| action | |\n|---|---|\n");
    let actions = [
        Action::OtherSession,
        Action::Reopen,
        Action::FindAgain,
        Action::LogIn,
        Action::Reinitialise,
        Action::Restart,
        Action::PushBack,
        Action::AskOperator,
        Action::Fail,
    ];
    for action in actions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", action.name(), action.meaning());
    }
    text.push_str("\n| return code | from | action | why |\n|---|---|---|---|\n");
    for rule in RULES.iter().chain([&UNKNOWN]) {
        let _ = writeln!(text, "{rule}");
    }
    let functions: Vec<_> = INNER.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(text, "\n\"See below\": {}.", functions.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_first_line_that_fits_counts() {
        assert_eq!(rule("CKR_GENERAL_ERROR", "C_Login").action, Action::Reinitialise);
        assert!(!rule("CKR_GENERAL_ERROR", "C_Login").canary);
        assert!(rule("CKR_GENERAL_ERROR", "C_UnwrapKey").canary, "a caller can provoke it there");
        assert_eq!(rule("CKR_OBJECT_HANDLE_INVALID", "C_DestroyObject").action, Action::Fail);
        assert_eq!(rule("CKR_OBJECT_HANDLE_INVALID", "C_SignInit").action, Action::FindAgain);
        assert_eq!(rule("CKR 0x80000001", "C_Sign").code, UNKNOWN.code);
    }

    #[test]
    fn no_line_is_hidden_by_one_before_it() {
        let mut seen = HashSet::new();
        for rule in RULES {
            assert!(!seen.contains(&(rule.code, [].as_slice())), "{} stands behind a line for any function", rule.code);
            assert!(seen.insert((rule.code, rule.from)), "{} twice", rule.code);
        }
    }
}

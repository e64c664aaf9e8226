//! What the HSM can do to the service: every code of the failure table once, the lasting faults, and the death of its host.

use tillward_hsm::rules;

/// A fault.
pub(super) enum Fault {
    /// Rules for the fault module, one of them chosen by chance.
    Script { name: String, group: &'static str, rules: Vec<String>, spell: Spell },
    /// A signal to a host.
    Signal { name: &'static str, signal: &'static str },
}

/// How long it lasts.
#[derive(Clone, Copy)]
pub(super) enum Spell {
    /// One call.
    Once,
    /// Until it is lifted, or something is done about it.
    Lasting,
    /// The same, and no call is hit by it.
    Limit,
}

impl Fault {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Script { name, .. } => name,
            Self::Signal { name, .. } => name,
        }
    }

    pub(super) fn group(&self) -> &'static str {
        match self {
            Self::Script { group, .. } => group,
            Self::Signal { .. } => "host process",
        }
    }
}

/// What the load calls all the time.
const FUNCTIONS: [&str; 7] = ["C_SignInit", "C_Sign", "C_DeriveKey", "C_UnwrapKey", "C_VerifyInit", "C_Verify", "C_Decrypt"];

/// These say that the phone's MAC is wrong. A token that says so of a good one lies, and nobody can tell.
const LIES: [&str; 2] = ["CKR_SIGNATURE_INVALID", "CKR_SIGNATURE_LEN_RANGE"];

/// All of them, or those whose name or action has `TILLWARD_STORM_ONLY` in it.
pub(super) fn chosen() -> Vec<Fault> {
    #[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
    let only = std::env::var("TILLWARD_STORM_ONLY").unwrap_or_default();
    all().into_iter().filter(|fault| fault.name().contains(&only) || fault.group().contains(&only)).collect()
}

fn all() -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in rules::RULES.iter().filter(|rule| rule.from.is_empty()) {
        let functions = FUNCTIONS.iter().filter(|function| !(LIES.contains(&rule.code) && function.starts_with("C_Verify")));
        let rules = functions.map(|function| format!("{function} next 1 shared return {}", rule.code)).collect();
        faults.push(Fault::Script { name: rule.code.to_owned(), group: rule.action.name(), rules, spell: Spell::Once });
    }
    let mut lasting = |name: &str, rules: &str| {
        let spell = if rules.starts_with("limit") { Spell::Limit } else { Spell::Lasting };
        faults.push(Fault::Script { name: name.to_owned(), group: "lasting", rules: vec![rules.to_owned()], spell });
    };
    lasting("every call CKR_DEVICE_ERROR", "C_Sign*,C_Verify*,C_Derive*,C_Unwrap*,C_Open*,C_Find* return CKR_DEVICE_ERROR");
    lasting("every call CKR_GENERAL_ERROR", "C_Sign*,C_Verify*,C_Derive*,C_Unwrap*,C_Open*,C_Find* return CKR_GENERAL_ERROR");
    lasting("one call in twenty CKR_FUNCTION_FAILED", "C_Sign,C_DeriveKey,C_UnwrapKey 5% seed 3 return CKR_FUNCTION_FAILED");
    lasting("device broken until C_Finalize", "C_SignInit next 1 shared break-device");
    lasting("token pulled out", "C_Sign*,C_Verify*,C_Derive*,C_Open*,C_GetTokenInfo,C_Find* remove-token");
    lasting("login dropped", "C_SignInit next 1 shared drop-login");
    lasting("one session closed", "C_VerifyInit next 1 shared close-session");
    lasting("all sessions closed", "C_VerifyInit next 1 shared close-sessions");
    lasting("handles stale", "C_VerifyInit next 1 shared stale-objects");
    lasting("failover: other slots, sessions gone", "C_VerifyInit next 1 shared change-slots\nC_VerifyInit next 1 shared close-sessions");
    lasting("module lost its state", "C_VerifyInit next 1 shared lose-init");
    lasting("two sessions left", "limit sessions 2");
    lasting("slow: 5 to 50 ms a call", "C_Sign,C_Verify,C_DeriveKey seed 5 delay 5ms..50ms");
    lasting("a call that hangs", "C_Verify next 1 shared hang");
    lasting("every call hangs", "C_Sign,C_Verify,C_DeriveKey hang");
    lasting("the library aborts", "C_DeriveKey next 1 shared abort");
    lasting("the library crashes", "C_UnwrapKey next 1 shared segfault");
    lasting("signatures corrupted, one in four", "C_Sign 25% seed 9 corrupt");
    lasting("a signature corrupted", "C_Sign next 1 shared corrupt");
    lasting("a signature too short", "C_Sign next 1 shared shorten 1");
    faults.push(Fault::Signal { name: "a host killed (SIGKILL)", signal: "-KILL" });
    faults.push(Fault::Signal { name: "a host stopped (SIGSTOP)", signal: "-STOP" });
    faults
}

//! Every reason for which Tillward refuses: the stable code, the HTTP status, the words. `docs/protocol.md` §9 and
//! `docs/api.md` repeat this table; a test compares them.

/// Why a request was refused. The code is stable: programs may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below says it of each")]
pub enum Reason {
    Malformed,
    TooLarge,
    UnsupportedMediaType,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    NotPermitted,
    ActivationUnknown,
    ActivationCodeWrong,
    ActivationLocked,
    ActivationUsed,
    ActivationExpired,
    ActivationRevoked,
    ChallengeInvalid,
    ChallengeExpired,
    ChallengeReplayed,
    EvidenceMacMismatch,
    EvidenceSignatureMismatch,
    EvidenceIncomplete,
    EvidenceContraindicated,
    TransportKeyUnknown,
    TransportUnwrapFailed,
    RequestProofInvalid,
    CertificateKeyChanged,
    KeyAlreadyEnrolled,
    DeviceUnknown,
    DeviceSuspended,
    DeviceRetired,
    AttestationStale,
    MerchantUnknown,
    TerminalUnknown,
    TerminalOccupied,
    AcquirerUnknown,
    LevelUnknown,
    AlreadyRegistered,
    StateConflict,
    KsnUnknown,
    MacMismatch,
    DecryptionFailed,
    Busy,
    TimedOut,
    HsmUnavailable,
    StoreUnavailable,
    Internal,
    KeyUnknown,
    KeyExists,
    KeyState,
    KeyOutsideTime,
    KeyLimit,
    KeyPurpose,
    KeyOfTheDesign,
    KeyNotExportable,
    WouldStrand,
    AlgorithmNotOffered,
    WrappedKeyRefused,
    PlanUnknown,
    PlanClosed,
    PlanExpired,
    PlanChanged,
    ApprovalOwn,
    ApprovalTwice,
    ApprovalForeign,
    ApprovalInvalid,
    ApprovalsMissing,
    QuorumMissing,
    IdempotencyKeyReused,
    IdempotencyInProgress,
}

impl Reason {
    /// Every reason, in the order of the documents.
    pub const ALL: [Self; 67] = [
        Self::Malformed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::NotPermitted,
        Self::ActivationUnknown,
        Self::ActivationCodeWrong,
        Self::ActivationLocked,
        Self::ActivationUsed,
        Self::ActivationExpired,
        Self::ActivationRevoked,
        Self::ChallengeInvalid,
        Self::ChallengeExpired,
        Self::ChallengeReplayed,
        Self::EvidenceMacMismatch,
        Self::EvidenceSignatureMismatch,
        Self::EvidenceIncomplete,
        Self::EvidenceContraindicated,
        Self::TransportKeyUnknown,
        Self::TransportUnwrapFailed,
        Self::RequestProofInvalid,
        Self::CertificateKeyChanged,
        Self::KeyAlreadyEnrolled,
        Self::DeviceUnknown,
        Self::DeviceSuspended,
        Self::DeviceRetired,
        Self::AttestationStale,
        Self::MerchantUnknown,
        Self::TerminalUnknown,
        Self::TerminalOccupied,
        Self::AcquirerUnknown,
        Self::LevelUnknown,
        Self::AlreadyRegistered,
        Self::StateConflict,
        Self::KsnUnknown,
        Self::MacMismatch,
        Self::DecryptionFailed,
        Self::Busy,
        Self::TimedOut,
        Self::HsmUnavailable,
        Self::StoreUnavailable,
        Self::Internal,
        Self::KeyUnknown,
        Self::KeyExists,
        Self::KeyState,
        Self::KeyOutsideTime,
        Self::KeyLimit,
        Self::KeyPurpose,
        Self::KeyOfTheDesign,
        Self::KeyNotExportable,
        Self::WouldStrand,
        Self::AlgorithmNotOffered,
        Self::WrappedKeyRefused,
        Self::PlanUnknown,
        Self::PlanClosed,
        Self::PlanExpired,
        Self::PlanChanged,
        Self::ApprovalOwn,
        Self::ApprovalTwice,
        Self::ApprovalForeign,
        Self::ApprovalInvalid,
        Self::ApprovalsMissing,
        Self::QuorumMissing,
        Self::IdempotencyKeyReused,
        Self::IdempotencyInProgress,
    ];

    /// For which every operation of the back-end listener can refuse.
    pub const OF_ALL: [Self; 9] = [
        Self::Malformed,
        Self::TooLarge,
        Self::RequestTimeout,
        Self::NotPermitted,
        Self::Busy,
        Self::TimedOut,
        Self::HsmUnavailable,
        Self::StoreUnavailable,
        Self::Internal,
    ];

    /// Code, HTTP status and title.
    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Malformed => ("malformed", 400, "The request is not of the documented form"),
            Self::TooLarge => ("too-large", 413, "The request body is too large"),
            Self::UnsupportedMediaType => ("unsupported-media-type", 415, "The body must be application/json"),
            Self::NotFound => ("not-found", 404, "There is no such resource"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The resource does not have this method"),
            Self::RequestTimeout => ("request-timeout", 408, "The request did not arrive in time"),
            Self::NotPermitted => ("not-permitted", 403, "The caller may not do this"),
            Self::ActivationUnknown => ("activation-unknown", 404, "There is no such activation"),
            Self::ActivationCodeWrong => ("activation-code-wrong", 403, "The activation code is wrong"),
            Self::ActivationLocked => ("activation-locked", 403, "The activation code was tried wrongly too often"),
            Self::ActivationUsed => ("activation-used", 409, "The activation code has been used"),
            Self::ActivationExpired => ("activation-expired", 403, "The activation code has expired"),
            Self::ActivationRevoked => ("activation-revoked", 403, "The activation code was taken back"),
            Self::ChallengeInvalid => ("challenge-invalid", 403, "The challenge is not one of ours for this purpose"),
            Self::ChallengeExpired => ("challenge-expired", 403, "The challenge has expired"),
            Self::ChallengeReplayed => ("challenge-replayed", 409, "The challenge has been answered before"),
            Self::EvidenceMacMismatch => ("evidence-mac-mismatch", 403, "The MAC over the evidence does not verify"),
            Self::EvidenceSignatureMismatch => ("evidence-signature-mismatch", 403, "The signature over the evidence does not verify"),
            Self::EvidenceIncomplete => ("evidence-incomplete", 400, "The evidence does not hold exactly the claims demanded"),
            Self::EvidenceContraindicated => ("evidence-contraindicated", 403, "The appraisal of the evidence refuses this phone"),
            Self::TransportKeyUnknown => ("transport-key-unknown", 409, "The transport key is not the current one"),
            Self::TransportUnwrapFailed => ("transport-unwrap-failed", 400, "The second secret does not unwrap"),
            Self::RequestProofInvalid => ("request-proof-invalid", 400, "The certificate request is not acceptable"),
            Self::CertificateKeyChanged => {
                ("certificate-key-changed", 403, "The certificate request holds another key than the enrolled one")
            }
            Self::KeyAlreadyEnrolled => ("key-already-enrolled", 409, "The public key belongs to another device"),
            Self::DeviceUnknown => ("device-unknown", 404, "There is no such device"),
            Self::DeviceSuspended => ("device-suspended", 403, "The device is suspended"),
            Self::DeviceRetired => ("device-retired", 403, "The device is retired"),
            Self::AttestationStale => ("attestation-stale", 409, "A fresh attestation is needed"),
            Self::MerchantUnknown => ("merchant-unknown", 404, "There is no such merchant"),
            Self::TerminalUnknown => ("terminal-unknown", 404, "There is no such terminal"),
            Self::TerminalOccupied => ("terminal-occupied", 409, "The terminal has a device: replace or retire it first"),
            Self::AcquirerUnknown => ("acquirer-unknown", 404, "There is no such acquirer"),
            Self::LevelUnknown => ("level-unknown", 400, "There is no such security level"),
            Self::AlreadyRegistered => ("already-registered", 409, "Registered before with other content"),
            Self::StateConflict => ("state-conflict", 409, "The present state does not allow this"),
            Self::KsnUnknown => ("ksn-unknown", 404, "The KSN belongs to no device"),
            Self::MacMismatch => ("mac-mismatch", 403, "The MAC does not verify"),
            Self::DecryptionFailed => ("decryption-failed", 400, "The ciphertext does not decrypt"),
            Self::Busy => ("busy", 503, "A queue is full; nothing was done"),
            Self::TimedOut => ("timed-out", 503, "The work was not done in time; asking again is safe"),
            Self::HsmUnavailable => ("hsm-unavailable", 503, "The HSM did not answer; asking again is safe"),
            Self::StoreUnavailable => ("store-unavailable", 503, "The database did not answer"),
            Self::Internal => ("internal", 500, "An internal error; the request id leads to it in the log"),
            Self::KeyUnknown => ("key-unknown", 404, "There is no such key or version"),
            Self::KeyExists => ("key-exists", 409, "There is a key of this name, with other properties"),
            Self::KeyState => ("key-state", 409, "The key's state does not allow this"),
            Self::KeyOutsideTime => ("key-outside-time", 409, "The key is not valid yet, or no longer"),
            Self::KeyLimit => ("key-limit", 409, "The key has been used as often as it may be"),
            Self::KeyPurpose => ("key-purpose", 409, "The key is for another purpose"),
            Self::KeyOfTheDesign => ("key-of-the-design", 409, "The service itself works with this key: this is not done to it here"),
            Self::KeyNotExportable => ("key-not-exportable", 409, "The key was not made to be exported"),
            Self::WouldStrand => ("would-strand", 409, "Live phones or certificates depend on the key"),
            Self::AlgorithmNotOffered => ("algorithm-not-offered", 400, "The HSM does not offer this algorithm for this purpose"),
            Self::WrappedKeyRefused => ("wrapped-key-refused", 400, "The wrapped key does not open, or is not what it is said to be"),
            Self::PlanUnknown => ("plan-unknown", 404, "There is no such plan"),
            Self::PlanClosed => ("plan-closed", 409, "The plan was executed or cancelled"),
            Self::PlanExpired => ("plan-expired", 409, "The plan has expired"),
            Self::PlanChanged => ("plan-changed", 409, "This is not the plan that is approved"),
            Self::ApprovalOwn => ("approval-own", 403, "The requester cannot approve"),
            Self::ApprovalTwice => ("approval-twice", 409, "The officer has approved the plan already"),
            Self::ApprovalForeign => ("approval-foreign", 403, "The signer is not an officer of the roster"),
            Self::ApprovalInvalid => ("approval-invalid", 403, "The signature over the plan does not verify"),
            Self::ApprovalsMissing => ("approvals-missing", 409, "The plan has fewer approvals than its quorum"),
            Self::QuorumMissing => ("quorum-missing", 409, "No policy says how many have to approve this"),
            Self::IdempotencyKeyReused => ("idempotency-key-reused", 422, "The Idempotency-Key was used for another request"),
            Self::IdempotencyInProgress => {
                ("idempotency-in-progress", 409, "The first request with this Idempotency-Key has not been answered yet")
            }
        }
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// One line for people.
    pub fn title(self) -> &'static str {
        self.row().2
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_statuses_are_errors() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|r| (400..600).contains(&r.status())));
    }

    #[test]
    fn the_protocol_page_lists_what_a_phone_can_meet() {
        let page = include_str!("../../docs/protocol.md");
        let listed: Vec<_> = page.lines().filter_map(|l| l.strip_prefix("| `")).filter_map(|l| l.split_once("` | ")).collect();
        for (code, rest) in listed {
            let Some(reason) = Reason::ALL.into_iter().find(|r| r.code() == code) else { continue };
            let status = rest.split(' ').next().expect("split gives one");
            assert_eq!(status, reason.status().to_string(), "{code}");
        }
        for reason in Reason::ALL.into_iter().take(29).filter(|reason| *reason != Reason::NotPermitted) {
            assert!(page.contains(&format!("| `{}` | {}", reason.code(), reason.status())), "{} is not on the page", reason.code());
        }
    }
}

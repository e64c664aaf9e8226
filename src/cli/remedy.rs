//! What to do about a refusal: one line for each reason, for a person who has to go on now.

use crate::ops::reason::Reason;

/// The line for a stable code; none for a code that this program does not know.
pub(super) fn of(code: &str) -> Option<&'static str> {
    Reason::ALL.into_iter().find(|reason| reason.code() == code).and_then(line)
}

fn line(reason: Reason) -> Option<&'static str> {
    use Reason as R;
    Some(match reason {
        R::Malformed => "correct what is named in the brackets; --help says what each argument takes.",
        R::TooLarge => "send less in one request: the configuration's limits.body_bytes is the most.",
        R::UnsupportedMediaType | R::MethodNotAllowed | R::NotFound => {
            "the service may be older or newer than this program (`tillward --version`), or `url` in the profile leads to another listener."
        }
        R::RequestTimeout => "the request did not arrive whole: look at the network, then ask again; nothing was done.",
        R::NotPermitted => {
            "ask somebody whose role may do this, or name another profile (`tillward profile list`, `tillward profile show`)."
        }
        R::ActivationUnknown => "compare the first seven symbols of the code; `tillward activation create` makes a new one.",
        R::ActivationCodeWrong => "compare the code with what was printed; the fifth wrong try locks it.",
        R::ActivationLocked | R::ActivationExpired | R::ActivationRevoked => "make a new code with `tillward activation create`.",
        R::ActivationUsed => "the code is spent; for another phone use `tillward terminal replace`, which gives a new code.",
        R::ChallengeInvalid | R::ChallengeExpired | R::ChallengeReplayed => "do it again: the phone then fetches a new challenge.",
        R::EvidenceMacMismatch | R::EvidenceSignatureMismatch => {
            "the phone is not the one that enrolled, or its message was changed: if it goes on, retire the device and replace the phone."
        }
        R::EvidenceIncomplete => "update the phone's application: it does not give the claims that the policy demands.",
        R::EvidenceContraindicated => "look at the checks that are named; the code stays good for a sound phone.",
        R::TransportKeyUnknown => "do it again: the phone then fetches the current parameters.",
        R::TransportUnwrapFailed | R::RequestProofInvalid => {
            "update the phone's application: its enrolment request is not of the protocol."
        }
        R::CertificateKeyChanged => "renew with the enrolled key; a phone that has lost it is replaced (`tillward terminal replace`).",
        R::KeyAlreadyEnrolled => "the phone has to make a new key pair: enrol it again from an empty folder.",
        R::DeviceUnknown => "`tillward device list` shows the devices that this profile may see.",
        R::DeviceSuspended => "`tillward device show` says why; `tillward device resume` lets it work again.",
        R::DeviceRetired => "it stays retired: `tillward activation create` gives a code for a new enrolment.",
        R::AttestationStale => "let the phone attest (simulated: `tillward device attest`), then ask again.",
        R::MerchantUnknown => "compare the id; `tillward merchant add` registers a merchant.",
        R::TerminalUnknown => "compare the id; `tillward terminal add` registers a terminal.",
        R::TerminalOccupied => "`tillward terminal replace` retires its phone and gives a code for the next one.",
        R::AcquirerUnknown => "compare the name with [[acquirer]] in the service's configuration.",
        R::LevelUnknown => "take a level of the appraisal policy (policies/appraisal.toml of the installation).",
        R::AlreadyRegistered => "the id is taken: compare what is registered with `show`, and take another id if it is something else.",
        R::StateConflict => "look at the present state with `show`: somebody was faster, or there is no such move.",
        R::KsnUnknown => "no enrolled phone has this data key: compare the acquirer, and look whether it is another service's phone.",
        R::MacMismatch => "refuse the payment: the message was changed, or is not of this phone.",
        R::DecryptionFailed => "compare key, version, nonce and associated data with those of the encryption; of a payment, refuse it.",
        R::Busy => "wait a moment and ask again; nothing was done.",
        R::TimedOut => "ask again: it is safe. If it stays so, `tillward hsm status` shows where calls wait.",
        R::HsmUnavailable => {
            "ask again: it is safe. If it stays so, `tillward hsm status` names the host that is away, `tillward doctor` why."
        }
        R::StoreUnavailable => {
            "ask again. If it stays so, look at the database server; `tillward doctor` on the service's machine checks it."
        }
        R::Internal => "find the request id in the service's log and tell it to whoever maintains the service; do not repeat it blindly.",
        R::KeyUnknown => "`tillward key list` shows the keys, `tillward key show NAME` the versions.",
        R::KeyExists => "compare with `tillward key show NAME`; take another name, or `tillward key rotate NAME` for a new version.",
        R::KeyState => "`tillward key show NAME` says the state of each version; docs/cli.md shows the moves between states.",
        R::KeyOutsideTime => "`tillward key show NAME` says the times; `tillward key rotate NAME` makes a version that is valid now.",
        R::KeyLimit => "`tillward key rotate NAME` makes a fresh version; callers that name the key without a version take it at once.",
        R::KeyPurpose => "take a key of the purpose that is asked for: `tillward key list` says the purpose of each.",
        R::KeyOfTheDesign => {
            "leave it: the service itself works with this key. docs/operations.md says how the service's own keys are renewed."
        }
        R::KeyNotExportable => "make a key with `tillward key create --exportable` and use that one; a key cannot become exportable.",
        R::WouldStrand => "look at the counts that are named, and move those phones or certificates to another key first.",
        R::AlgorithmNotOffered => {
            "take another algorithm: docs/api.md says which fit a purpose, `tillward doctor hsm` what this HSM offers."
        }
        R::WrappedKeyRefused => "compare the KEK's check value with the partner, and the purpose and algorithm with what was agreed.",
        R::PlanUnknown => "`tillward plan list` shows the plans that are open.",
        R::PlanClosed => "nothing is left to do for it: `tillward plan show ID` says how it ended. For another time, make a new plan.",
        R::PlanExpired => "make the plan again with the same command and --execute, and have it approved in time.",
        R::PlanChanged => "approve nothing: compare the plan's hash with the requester by voice, and make the plan again if they differ.",
        R::ApprovalOwn => "ask another officer: whoever asks for it cannot approve it.",
        R::ApprovalTwice => "ask another officer: each approves once. `tillward plan show ID` says who has.",
        R::ApprovalForeign => "sign with the key of an officer of the roster, or have the roster changed by its quorum.",
        R::ApprovalInvalid => "fetch the plan again and sign that one; compare the key with the officer's in the roster.",
        R::ApprovalsMissing => {
            "`tillward plan show ID` says how many are missing; another officer signs with `tillward approval sign ID --hash HASH`."
        }
        R::QuorumMissing => "no policy gives a quorum for this deed: an officer has to add one to the policies.",
        R::IdempotencyKeyReused => "take a new Idempotency-Key: this one belongs to another request.",
        R::IdempotencyInProgress => "wait for the first request to end, then ask again with the same key.",
        #[expect(unreachable_patterns, reason = "a reason that has no line yet is for the test below to find")]
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_line_and_it_ends_as_a_sentence() {
        for reason in Reason::ALL {
            let text = of(reason.code()).unwrap_or_else(|| panic!("{} has no line", reason.code()));
            assert!(text.ends_with('.') && !text.contains('\n') && text.len() <= 160, "{}: {text}", reason.code());
        }
        assert_eq!(of("a-reason-of-the-next-version"), None);
    }
}

//! The border: what a permit says, and who is known.

use super::super::*;

const NOW: Circumstances = Circumstances { at: UnixTime(0), approvals: 0 };
use crate::id::{AcquirerId, MerchantId};
use std::collections::BTreeSet;

fn backend(acquirers: &[&str]) -> PrincipalEntry {
    PrincipalEntry {
        uri: "spiffe://example/back-end".parse().expect("parses"),
        role: Role::Backend,
        acquirers: acquirers.iter().map(|name| name.parse().expect("parses")).collect(),
    }
}

#[test]
fn a_permit_says_who_what_where_and_why() {
    let authz = Authz::new([backend(&["acme"])]).expect("one principal");
    let caller = authz.identify("spiffe://example/back-end").expect("configured");
    let merchant: MerchantId = "m-1".parse().expect("parses");
    let acme: AcquirerId = "acme".parse().expect("parses");
    let permit = authz.authorize(&caller, Action::RegisterMerchant, &Resource::merchant(&merchant, &acme), NOW).expect("allowed");
    assert_eq!(permit.caller().to_string(), "backend:spiffe://example/back-end");
    assert_eq!(permit.action(), Action::RegisterMerchant);
    assert_eq!(permit.resource().to_string(), "merchant m-1");
    assert_eq!(permit.policies(), ["backend-manages-own-acquirer"]);
}

#[test]
fn an_unknown_certificate_is_nobody() {
    let authz = Authz::new([backend(&["acme"])]).expect("one principal");
    assert!(authz.identify("spiffe://example/back-end/").is_none());
    assert!(authz.identify("").is_none());
}

#[test]
fn the_same_uri_twice_is_refused() {
    assert!(Authz::new([backend(&["acme"]), backend(&["other"])]).is_err());
}

#[test]
fn a_principal_of_an_older_configuration_is_denied() {
    let older = Authz::new([backend(&["acme", "other"])]).expect("one principal");
    let newer = Authz::new([backend(&["acme"])]).expect("one principal");
    let caller = older.identify("spiffe://example/back-end").expect("configured");
    let all = Resource::devices(&BTreeSet::from(["acme".parse().expect("parses")]));
    assert!(older.authorize(&caller, Action::ListDevices, &all, NOW).is_ok());
    assert!(newer.authorize(&caller, Action::ListDevices, &all, NOW).is_err());
}

#[test]
fn a_list_over_one_foreign_acquirer_is_denied_whole() {
    let authz = Authz::new([backend(&["acme"])]).expect("one principal");
    let caller = authz.identify("spiffe://example/back-end").expect("configured");
    let acquirers = |names: &[&str]| names.iter().map(|name| name.parse().expect("parses")).collect::<BTreeSet<_>>();
    assert!(authz.authorize(&caller, Action::ListDevices, &Resource::devices(&acquirers(&["acme"])), NOW).is_ok());
    assert!(authz.authorize(&caller, Action::ListDevices, &Resource::devices(&acquirers(&["acme", "other"])), NOW).is_err());
    assert!(authz.authorize(&caller, Action::ListDevices, &Resource::devices(&acquirers(&[])), NOW).is_err());
}

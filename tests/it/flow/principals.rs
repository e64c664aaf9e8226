//! Who may talk to the back-end listener, and about what.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::json;
use tillward::cli::api::Api;
use tillward::cli::phone::sound_findings;

use crate::scene::{Scene, denied, payment, reason};
use crate::service::Service;

/// An authority that issues client certificates.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Another authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { key: KeyPair::generate().expect("a key"), params }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).expect("signs").pem()
    }

    /// A client with a certificate over these URIs, and its profile for this service.
    fn client(&self, service: &Service, name: &str, uris: &[&str]) -> Api {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI"))).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).expect("signs");
        let tls = service.workplace.dir.join("tls");
        write(&tls.join(format!("{name}.pem")), &certificate.pem());
        write(&tls.join(format!("{name}-key.pem")), &key.serialize_pem());
        let profile = service.workplace.profile(name);
        let backend = std::fs::read_to_string(service.workplace.profile("backend")).expect("a profile");
        write(&profile, &backend.replace("/backend", &format!("/{name}")));
        Api::open(&profile).expect("a profile")
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("writes");
}

/// A second acquirer with a back end and an operator of its own, whose certificates come from `authority`.
fn two_acquirers(authority: &Authority) -> Service {
    Service::start_with(|text| {
        let dir = text.split_once("pin-source=file:").and_then(|(_, rest)| rest.split_once("/pin\"")).expect("the folder").0.to_owned();
        let tls = Path::new(&dir).join("tls");
        let ours = std::fs::read_to_string(tls.join("ca.pem")).expect("PEM");
        write(&tls.join("clients.pem"), &format!("{ours}{}", authority.pem()));
        let text = text.replace("client_ca = \"tls/ca.pem\"", "client_ca = \"tls/clients.pem\"");
        let principal =
            |role: &str| format!("\n[[principal]]\nuri = \"spiffe://other/{role}\"\nrole = \"{role}\"\nacquirers = [\"other-bank\"]\n");
        let acquirer = "\n[[acquirer]]\nname = \"other-bank\"\nbdk_pin = \"E2000001\"\nbdk_data = \"E2000002\"\nbits = 128\n";
        format!("{text}{acquirer}{}{}{}", principal("backend"), principal("operator"), principal("auditor"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_of_another_acquirer_may_do_nothing_with_a_phone() {
    let authority = Authority::new();
    let service = two_acquirers(&authority);
    let foreign = authority.client(&service, "other-backend", &["spiffe://other/backend"]);
    let operator = authority.client(&service, "other-operator", &["spiffe://other/operator"]);
    let auditor = authority.client(&service, "other-auditor", &["spiffe://other/auditor"]);
    let scene = Scene::of(service).await;
    let mut phone = scene.attested("t-1", "standard").await;
    let device = phone.device().as_str().to_owned();
    let code = scene.service.code("t-2", "standard").await;
    let id = crate::scene::activation(&code);
    let mut trail = scene.trail().await;

    let message = payment(&mut phone, b"4111111111111111=3012");
    let why = json!({"reason": "stolen"});
    for api in [&foreign, &operator] {
        for (path, body) in [
            ("/v1/dukpt/decrypt".to_owned(), &message),
            ("/v1/clearances".to_owned(), &json!({"device": device, "purpose": "payment"})),
            (format!("/v1/devices/{device}/suspend"), &why),
            (format!("/v1/devices/{device}/resume"), &why),
            (format!("/v1/devices/{device}/retire"), &why),
            ("/v1/terminals/t-1/replace".to_owned(), &why),
            ("/v1/activations".to_owned(), &json!({"terminal": "t-2"})),
        ] {
            let refusal = denied(api.post(&path, body).await);
            assert_eq!((refusal.status, refusal.reason.as_str()), (403, "not-permitted"), "{path}");
        }
        let terminal = json!({"merchant": "m1", "level": "basic"});
        assert_eq!(reason(api.put("/v1/terminals/t-9", &terminal).await), "not-permitted");
        let merchant = json!({"acquirer": "example-bank", "name": "Merchant"});
        assert_eq!(reason(api.put("/v1/merchants/m9", &merchant).await), "not-permitted");
        let gone = api.call(reqwest::Method::DELETE, &format!("/v1/activations/{id}"), None).await;
        assert_eq!(reason(gone), "not-permitted");
    }
    let news = trail.news().await;
    assert_eq!(news.len(), 20, "{news:#?}");
    assert!(news.iter().all(|line| line.ends_with(": not-permitted")), "{news:#?}");
    for expected in [
        format!("backend:spiffe://other/backend decrypt device {device}: not-permitted"),
        format!("backend:spiffe://other/backend clear device {device}: not-permitted"),
        format!("operator:spiffe://other/operator retire_device device {device}: not-permitted"),
        "operator:spiffe://other/operator replace_device terminal t-1: not-permitted".to_owned(),
        "backend:spiffe://other/backend register_merchant merchant m9: not-permitted".to_owned(),
        format!("backend:spiffe://other/backend revoke_activation activation {id}: not-permitted"),
    ] {
        assert!(news.contains(&expected), "{expected} is not in {news:#?}");
    }
    for api in [&foreign, &operator, &auditor] {
        for path in [
            format!("/v1/devices/{device}"),
            "/v1/terminals/t-1".to_owned(),
            "/v1/merchants/m1".to_owned(),
            format!("/v1/activations/{id}"),
        ] {
            assert_eq!(reason(api.get(&path).await), "not-permitted", "{path}");
        }
        let listed = api.get("/v1/devices").await.expect("an empty list");
        assert_eq!(listed["devices"], json!([]));
    }
    assert_eq!(trail.news().await.len(), 12);
    scene.backend.post("/v1/dukpt/decrypt", &message).await.expect("its own back end may");

    // The other acquirer works, with AES-128 keys of its own.
    foreign.put("/v1/merchants/o1", &json!({"acquirer": "other-bank", "name": "Other"})).await.expect("a merchant");
    foreign.put("/v1/terminals/o-1", &json!({"merchant": "o1", "level": "standard"})).await.expect("a terminal");
    let answer = foreign.post("/v1/activations", &json!({"terminal": "o-1"})).await.expect("an activation");
    let mut others = scene.line.enrol(&scene.trust, answer["code"].as_str().expect("a code"), &sound_findings()).await.expect("enrols");
    assert_eq!((others.data_ikid().bdk_id(), others.pin_ikid().bdk_id()), ([0xE2, 0, 0, 2], [0xE2, 0, 0, 1]));
    let message = payment(&mut others, b"5555");
    assert_eq!(foreign.post("/v1/dukpt/decrypt", &message).await.expect("decrypts")["plaintext"], "NTU1NQ");
    assert_eq!(reason(scene.backend.post("/v1/dukpt/decrypt", &message).await), "not-permitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_the_service_decrypts_nothing_and_who_audits_it_changes_nothing() {
    let scene = Scene::set().await;
    let mut phone = scene.attested("t-1", "standard").await;
    let device = phone.device().as_str().to_owned();
    let message = payment(&mut phone, b"4111111111111111=3012");
    let refusal = denied(scene.operator.post("/v1/dukpt/decrypt", &message).await);
    let entries = scene.whole_trail().entries().await;
    let last = entries.last().expect("an entry");
    assert_eq!(last["request_id"], refusal.document["request_id"], "the answer leads to its entry");
    let mut trail = scene.trail().await;
    for role in ["operator", "officer", "auditor"] {
        let refusal = denied(scene.service.api(role).post("/v1/dukpt/decrypt", &message).await);
        assert_eq!((refusal.status, refusal.reason.as_str()), (403, "not-permitted"));
        let clearance = json!({"device": device, "purpose": "payment"});
        assert_eq!(reason(scene.service.api(role).post("/v1/clearances", &clearance).await), "not-permitted");
    }
    let retire = format!("/v1/devices/{device}/retire");
    assert_eq!(reason(scene.auditor.post(&retire, &json!({"reason": "lost"})).await), "not-permitted");
    assert_eq!(reason(scene.backend.get("/v1/audit").await), "not-permitted");
    assert_eq!(reason(scene.operator.get("/v1/audit").await), "not-permitted");
    let expected: Vec<_> = ["operator", "officer", "auditor"]
        .iter()
        .flat_map(|role| ["decrypt", "clear"].map(|verb| format!("{role}:{role} {verb} device {device}: not-permitted")))
        .chain([format!("auditor:auditor retire_device device {device}: not-permitted")])
        .collect();
    let news = trail.news().await;
    assert_eq!(news[..7], expected);
    assert_eq!(news.len(), 9, "{news:#?}");
    assert!(news[7].starts_with("backend:backend read_audit") && news[8].starts_with("operator:operator read_audit"), "{news:#?}");
    assert_eq!(scene.device(&phone).await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_of_the_right_authority_there_is_no_connection_and_without_a_known_uri_no_answer() {
    let ours = Authority::new();
    let service = two_acquirers(&ours);
    let url = format!("https://{}/v1/devices", service.address("backend"));
    let bare = service.phone_client().get(&url).send().await.expect_err("no certificate");
    assert!(!bare.is_status() && !bare.is_timeout(), "{bare:?}");
    let stranger = Authority::new().client(&service, "stranger", &["urn:tillward:principal:backend"]);
    let error = stranger.get("/v1/devices").await.expect_err("a certificate of another authority");
    assert!(error.downcast_ref::<tillward::cli::api::Refused>().is_none(), "no word over TLS: {error:#}");

    let known = ours.client(&service, "known", &["urn:tillward:principal:backend"]);
    known.get("/v1/devices").await.expect("this one is known");
    for (name, uris) in [
        ("unknown", &["urn:tillward:principal:nobody"][..]),
        ("longer", &["urn:tillward:principal:backend2"]),
        ("none", &[]),
        ("two", &["urn:tillward:principal:backend", "urn:tillward:principal:operator"]),
    ] {
        let refusal = denied(ours.client(&service, name, uris).get("/v1/devices").await);
        assert_eq!((refusal.status, refusal.reason.as_str()), (403, "not-permitted"), "{name}");
    }
    // Phones have nothing to do there, and back ends nothing here: neither listener has the other's paths.
    let elsewhere = service.phone_client().get(format!("{}/v1/devices", service.device_url())).send().await.expect("an answer");
    assert_eq!(elsewhere.status(), 404);
    assert_eq!(denied(known.get("/device/v1/trust").await).status, 404);
}

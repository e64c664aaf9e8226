//! A service of software keys: signs, unwraps, derives and verifies as docs/protocol.md says, apart from the library.

use std::collections::BTreeMap;

use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use aes::{Aes128, Aes256};
use cmac::{Cmac, Mac};
use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::EncodePublicKey as _;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PaddingScheme;
use rsa::{Oaep, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tillward_device::encoding::Base64Url;
use tillward_device::evidence::Findings;
use tillward_device::message::{
    AttestationRequest, ChallengeAnswer, EnrolmentRequest, PackageAnswer, ParametersAnswer, RenewalRequest, ResultAnswer,
};
use tillward_device::payment::PaymentMessage;
use tillward_device::trust::{RootPin, Trust};
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReq;

use crate::pki::{self, NOW, Spec};

pub(crate) const ISSUER: &str = "https://tillward.example";
pub(crate) const CODE: &str = "ABCD-EFGH-JKMN-PQRS-TVWX-YZ02";
pub(crate) const ACTIVATION: &str = "ABCDEFG";
pub(crate) const DEVICE: &str = "dev_0123456789abcdefghjkmnpqrs";
pub(crate) const IDENTITY: &str = "urn:tillward:device:m-1:t-1:dev_0123456789abcdefghjkmnpqrs";
pub(crate) const DATA_IKID: &str = "AABBCCDD00000007";
pub(crate) const PIN_IKID: &str = "1122334400000007";
pub(crate) const ISSUING: &str = "CN=issuing";
pub(crate) const ROOT: &str = "CN=root";
pub(crate) const ALL_CLAIMS: [&str; 6] = ["app_digest", "os_version", "patch_level", "debugger", "root", "emulator"];

pub(crate) struct Service {
    pub(crate) root: p384::ecdsa::SigningKey,
    pub(crate) issuing: SigningKey,
    pub(crate) attestation: SigningKey,
    pub(crate) personalization: SigningKey,
    pub(crate) transport: RsaPrivateKey,
    pub(crate) root_certificate: Vec<u8>,
    pub(crate) issuing_certificate: Vec<u8>,
    pub(crate) signing_certificates: Vec<Vec<u8>>,
    /// The data and PIN initial keys of the one device.
    pub(crate) initial: BTreeMap<&'static str, Vec<u8>>,
}

/// A key of the service's side: raw bytes.
pub(crate) fn derive(parent: &[u8], usage: u16, identifier: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    for block in 1..=u8::try_from(parent.len() / 16).expect("small") {
        let indicator: u8 = if parent.len() == 16 { 2 } else { 4 };
        let mut data = vec![1, block];
        data.extend(usage.to_be_bytes());
        data.extend([0, indicator]);
        data.extend(u16::try_from(parent.len() * 8).expect("small").to_be_bytes());
        data.extend(identifier);
        let mut block = aes::Block::try_from(data.as_slice()).expect("16 bytes");
        if parent.len() == 16 {
            Aes128::new_from_slice(parent).expect("16").encrypt_block(&mut block);
        } else {
            Aes256::new_from_slice(parent).expect("32").encrypt_block(&mut block);
        }
        key.extend(block);
    }
    key
}

pub(crate) fn cmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mac: [u8; 16] = if key.len() == 16 {
        let mut mac = <Cmac<Aes128> as KeyInit>::new_from_slice(key).expect("16");
        mac.update(message);
        mac.finalize().into_bytes().into()
    } else {
        let mut mac = <Cmac<Aes256> as KeyInit>::new_from_slice(key).expect("32");
        mac.update(message);
        mac.finalize().into_bytes().into()
    };
    mac.to_vec()
}

pub(crate) fn lp(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&u32::try_from(part.len()).expect("short").to_be_bytes()[..], part].concat()).collect()
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

pub(crate) fn thumbprint(key: &VerifyingKey) -> String {
    let point = key.to_sec1_point(false);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64(point.x().expect("x")), b64(point.y().expect("y")));
    b64(Sha256::digest(canonical))
}

pub(crate) fn jws(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", b64(signature.to_bytes()))
}

pub(crate) fn statement(key: &SigningKey, typ: &str, claims: &Value) -> String {
    jws(key, &json!({"alg": "ES256", "kid": thumbprint(key.verifying_key()), "typ": typ}), claims)
}

/// A transport key as the parameters name it.
pub(crate) fn transport_claims(spki: &[u8], algorithm: &str) -> Value {
    json!({"kid": b64(Sha256::digest(spki)), "alg": algorithm, "spki": b64(spki)})
}

pub(crate) fn findings() -> Findings {
    Findings { app_digest: [7; 32], os_version: 15, patch_level: "2025-11".to_owned(), debugger: false, root: false, emulator: false }
}

impl Service {
    pub(crate) fn new() -> Self {
        let (root, issuing, attestation, personalization) = (pki::p384(), pki::p256(), pki::p256(), pki::p256());
        let transport = RsaPrivateKey::from_pkcs8_der(include_bytes!("fixtures/transport-key.der")).expect("PKCS #8");
        let root_certificate = Spec::new(1, ROOT, ROOT, pki::ca(None)).sign_p384(root.verifying_key(), &root);
        let issuing_certificate = Spec::new(2, ISSUING, ROOT, pki::ca(Some(0))).sign_p384(issuing.verifying_key(), &root);
        let signing_certificates = vec![
            Spec::new(3, "CN=attestation", ROOT, pki::signer_of("attestation-signing")).sign_p384(attestation.verifying_key(), &root),
            Spec::new(4, "CN=personalization", ROOT, pki::signer_of("personalization-signing"))
                .sign_p384(personalization.verifying_key(), &root),
        ];
        let initial = BTreeMap::from([("data", vec![0xDA; 32]), ("pin", vec![0x91; 16])]);
        Self {
            root,
            issuing,
            attestation,
            personalization,
            transport,
            root_certificate,
            issuing_certificate,
            signing_certificates,
            initial,
        }
    }

    pub(crate) fn pin(&self) -> RootPin {
        RootPin(Sha256::digest(&self.root_certificate).into())
    }

    pub(crate) fn crl(&self, revoked: &[u32]) -> Vec<u8> {
        pki::crl(&self.issuing_certificate, &self.issuing, revoked, NOW - 100, Some(NOW + 5000))
    }

    pub(crate) fn bundle(&self, crl: &[u8]) -> Value {
        json!({
            "issuer": ISSUER, "root": b64(&self.root_certificate), "issuing": [b64(&self.issuing_certificate)],
            "signing": self.signing_certificates.iter().map(b64).collect::<Vec<_>>(), "crl": b64(crl),
        })
    }

    pub(crate) fn trust(&self) -> Trust {
        self.trust_with(&self.crl(&[]))
    }

    pub(crate) fn trust_with(&self, crl: &[u8]) -> Trust {
        Trust::verify(self.bundle(crl).to_string().as_bytes(), &self.pin(), NOW).expect("trusted")
    }

    pub(crate) fn parameter_claims(&self, algorithm: &str) -> Value {
        let spki = self.transport.to_public_key().to_public_key_der().expect("encodes");
        json!({
            "iss": ISSUER, "iat": NOW, "exp": NOW + 3600,
            "transports": [transport_claims(spki.as_bytes(), algorithm)],
            "levels": {"standard": {"format": "software", "claims": ALL_CLAIMS, "signature": false}},
        })
    }

    pub(crate) fn parameters(&self) -> ParametersAnswer {
        ParametersAnswer { parameters: statement(&self.attestation, "tillward-parameters+jwt", &self.parameter_claims("RSA-OAEP")) }
    }

    pub(crate) fn challenge_claims(subject: &str, purpose: &str) -> Value {
        json!({
            "iss": ISSUER, "sub": subject, "purpose": purpose, "nonce": b64([9; 32]), "iat": NOW, "exp": NOW + 60, "ikid": DATA_IKID,
            "level": "standard", "format": "software", "claims": ALL_CLAIMS, "signature": purpose == "attest",
        })
    }

    pub(crate) fn challenge(&self, claims: &Value) -> ChallengeAnswer {
        ChallengeAnswer { challenge: statement(&self.attestation, "tillward-challenge+jwt", claims) }
    }

    /// S, and what follows from it: MAC key and KEK.
    pub(crate) fn unwrap_secret(&self, wrapped: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let rng: Option<&mut getrandom::SysRng> = None;
        let secret = Oaep::<sha1::Sha1>::new().decrypt(rng, &self.transport, wrapped).expect("OAEP");
        assert_eq!(secret.len(), 32);
        let ikid = HEXUPPER.decode(DATA_IKID.as_bytes()).expect("hex");
        (derive(&secret, 0x2002, &ikid), derive(&secret, 0x0002, &ikid))
    }

    pub(crate) fn transcript(request: &EnrolmentRequest) -> [u8; 32] {
        let evidence = serde_json::to_value(&request.evidence).expect("JSON");
        let digest = Sha256::digest(serde_jcs::to_vec(&evidence).expect("JCS"));
        Sha256::digest(lp(&[
            b"tillward/enrol/v1",
            request.challenge.as_bytes(),
            request.code.as_bytes(),
            request.transport_kid.as_bytes(),
            &request.wrapped_secret.0,
            &request.csr.0,
            &digest,
        ]))
        .into()
    }

    /// The certificate request's key, after its proof of possession.
    pub(crate) fn proven_key(csr: &[u8]) -> VerifyingKey {
        let request = CertReq::from_der(csr).expect("PKCS #10");
        let key = VerifyingKey::try_from(x509_cert::der::referenced::OwnedToRef::owned_to_ref(&request.info.public_key)).expect("P-256");
        let signature = p256::ecdsa::DerSignature::try_from(request.signature.raw_bytes()).expect("ECDSA");
        key.verify(&request.info.to_der().expect("encodes"), &signature).expect("proof of possession");
        key
    }

    pub(crate) fn leaf_spec() -> Spec {
        Spec::new(77, "CN=t-1", ISSUING, pki::merchant(IDENTITY))
    }

    pub(crate) fn leaf(&self, key: &VerifyingKey, spec: &Spec) -> Vec<u8> {
        spec.sign_p256(key, &self.issuing)
    }

    /// Verifies the request's MAC as the service does; gives the claims of the package.
    pub(crate) fn package_claims(&self, request: &EnrolmentRequest) -> Value {
        let (mac_key, kek) = self.unwrap_secret(&request.wrapped_secret.0);
        assert_eq!(cmac(&mac_key, &Self::transcript(request)), request.mac.0, "the MAC of the enrolment");
        let leaf = self.leaf(&Self::proven_key(&request.csr.0), &Self::leaf_spec());
        let wrapped = |usage: &str, ikid: &str| {
            let key = &self.initial[usage];
            let mut buffer = vec![0; key.len() + 8];
            let kwp = aes_kw::AesKwp::<Aes256>::new_from_slice(&kek).expect("32 bytes");
            let blob = b64(kwp.wrap_key(key, &mut buffer).expect("wraps"));
            json!({"usage": usage, "ikid": ikid, "algorithm": format!("AES-{}", key.len() * 8), "wrapped": blob, "kcv": HEXUPPER.encode(&cmac(key, &[0; 16])[..5])})
        };
        json!({
            "iss": ISSUER, "iat": NOW, "sub": DEVICE, "transcript": b64(Self::transcript(request)), "activation": ACTIVATION, "merchant": "m-1", "terminal": "t-1",
            "configuration": {"currency": "EUR"}, "certificate_chain": [b64(leaf), b64(&self.issuing_certificate)],
            "initial_keys": [wrapped("pin", PIN_IKID), wrapped("data", DATA_IKID)],
            "attestation": {"level": "standard", "format": "software", "claims": ALL_CLAIMS, "signature": true, "period": 300, "threshold": 600},
        })
    }

    pub(crate) fn package(&self, claims: &Value) -> PackageAnswer {
        PackageAnswer { package: statement(&self.personalization, "tillward-package+jwt", claims) }
    }

    pub(crate) fn result_claims() -> Value {
        json!({
            "eat_profile": "tag:github.com,2023:veraison/ear", "iss": ISSUER, "sub": DEVICE, "iat": NOW, "exp": NOW + 600, "eat_nonce": b64([9; 32]),
            "ear.verifier-id": {"developer": "tillward", "build": "0.1.0"},
            "submods": {"phone": {"ear.status": "affirming", "ear.appraisal-policy-id": "standard@x",
                "ear.trustworthiness-vector": {"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 0}}},
        })
    }

    pub(crate) fn result(&self, claims: &Value) -> ResultAnswer {
        ResultAnswer { result: statement(&self.attestation, "ear+jwt", claims) }
    }

    /// MAC and signature of an attestation, under the second secret's MAC key and the merchant key.
    pub(crate) fn attestation_holds(request: &AttestationRequest, mac_key: &[u8], key: &VerifyingKey) -> (bool, Option<bool>) {
        let digest = Sha256::digest(serde_jcs::to_vec(&serde_json::to_value(&request.evidence).expect("JSON")).expect("JCS"));
        let message = lp(&[b"tillward/attest/v1", request.challenge.as_bytes(), &digest]);
        let signature = request
            .signature
            .as_ref()
            .map(|Base64Url(bytes)| Signature::from_slice(bytes).is_ok_and(|signature| key.verify(&message, &signature).is_ok()));
        (cmac(mac_key, &Sha256::digest(&message)) == request.mac.0, signature)
    }

    pub(crate) fn renewal_holds(request: &RenewalRequest, mac_key: &[u8]) -> bool {
        let message = lp(&[b"tillward/renew/v1", request.challenge.as_bytes(), &request.csr.0]);
        cmac(mac_key, &Sha256::digest(message)) == request.mac.0
    }

    /// Verifies and decrypts a payment as `POST /v1/dukpt/decrypt` does; `None` if the MAC does not hold.
    pub(crate) fn decrypt(&self, message: &PaymentMessage) -> Option<Vec<u8>> {
        let ksn = HEXUPPER.decode(message.ksn.to_string().as_bytes()).expect("hex");
        let counter = u32::from_be_bytes(ksn[8..].try_into().expect("4 bytes"));
        let mut key = self.initial["data"].clone();
        let mut working = 0_u32;
        for bit in (0..32).rev().map(|place| 1_u32 << place).filter(|bit| counter & bit != 0) {
            working |= bit;
            key = derive(&key, 0x8000, &[&ksn[4..8], &working.to_be_bytes()].concat());
        }
        let covered = [&ksn[..], &message.iv.0, &lp(&[&message.aad.0]), &message.ciphertext.0].concat();
        if cmac(&derive(&key, 0x2000, &ksn[4..]), &covered) != message.mac.0 {
            return None;
        }
        let mut buffer = message.ciphertext.0.clone();
        let decryptor = cbc::Decryptor::<Aes256>::new_from_slices(&derive(&key, 0x3000, &ksn[4..]), &message.iv.0).expect("lengths");
        Some(decryptor.decrypt_padded::<Pkcs7>(&mut buffer).expect("padding").to_vec())
    }
}

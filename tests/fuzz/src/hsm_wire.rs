//! The socket between the service and the HSM host, from either end.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame;
use crate::keyblock::KeyBlock;
use crate::ksn::{BdkId, Counter, DerivationId, Ikid, Ksn};
use crate::model::{AcquirerKeys, KeySpec, OpenEnrolment, SigningKey, TransportKind};
use crate::op::{Answer, Operation, Request, Response};

/// Decodes `bytes` as a stream of frames and as a body from either end. What decodes, encodes to what decodes to itself.
///
/// # Panics
/// If it does not.
pub fn check(bytes: &[u8]) {
    let mut stream = bytes;
    while let Ok(Some(body)) = frame::read(&mut stream) {
        assert!(body.len() <= frame::MAXIMUM);
        round_trip::<Request>(&body);
        round_trip::<Response>(&body);
    }
    if let Some(request) = round_trip::<Request>(bytes) {
        assert!(!request.operation.name().is_empty());
    }
    round_trip::<Response>(bytes);
}

fn round_trip<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<T> {
    let message = frame::decode::<T>(body).ok()?;
    // A body may be over the limit here, which a frame's is not.
    if let Ok(encoded) = frame::encode(&message) {
        let decoded: T = frame::decode(&encoded[4..]).expect("what was encoded decodes");
        assert_eq!(*frame::encode(&decoded).expect("as long as before"), *encoded);
    }
    Some(message)
}

/// Frames of one message each.
///
/// # Panics
/// Never.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let request = |operation| Request { id: 7, budget_ms: 5000, operation };
    let ikid = Ikid::new(BdkId([0xAC, 0, 0, 2]), DerivationId(7));
    let ksn = Ksn::new(ikid, Counter::FIRST);
    let block = || KeyBlock::new(1, ikid, [4; 40], [5; 16]);
    let acquirer = AcquirerKeys { name: "acme".to_owned(), bdk_pin: BdkId([1; 4]), bdk_data: BdkId([2; 4]), bits: 256 };
    let open = |transport, length| {
        Operation::OpenEnrolment(OpenEnrolment { transport, wrapped_secret: vec![1; length], ikid, transcript: [2; 32], mac: [3; 16] })
    };
    let requests = [
        ("sign", Operation::Sign { key: SigningKey::Attestation, digest: vec![3; 32] }),
        ("open-enrolment", open(TransportKind::Rsa, 384)),
        ("open-enrolment-ecdh", open(TransportKind::Ecdh, 105)),
        ("personalize", Operation::Personalize { secret: block(), ikid, acquirer: "acme".to_owned() }),
        ("decrypt", Operation::DukptDecrypt { ksn, iv: [1; 16], aad: b"order 7".to_vec(), ciphertext: vec![2; 32], mac: [3; 16] }),
        ("create-keys", Operation::CreateKeys(KeySpec { acquirers: vec![acquirer] })),
    ];
    let responses = [("bytes", Answer::Bytes(vec![1; 64])), ("key-block", Answer::KeyBlock(block())), ("mark", Answer::Mark(Some(9)))];
    let requests = requests.into_iter().map(|(name, operation)| (name, frame::encode(&request(operation))));
    let responses = responses.into_iter().map(|(name, answer)| (name, frame::encode(&Response { id: 7, result: Ok(answer) })));
    requests.chain(responses).map(|(name, frame)| (name, frame.expect("short").to_vec())).collect()
}

//! The two bodies that hold a phone's DUKPT message: decryption and bare MAC.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tillward_fuzz::payment::message::{MAX_AAD, MAX_CIPHERTEXT, MAX_MAC_DATA, MacRequest, PaymentMessage};
use tillward_fuzz::sent::Sent;
use tillward_fuzz::wire::hex;

fuzz_target!(|body: &[u8]| {
    if let Ok(message) = PaymentMessage::parse(body) {
        let sent = Sent::read(body, 5);
        assert_eq!(sent.text("ksn"), hex::encode(&message.ksn));
        sent.is_bytes("iv", &message.iv);
        sent.is_bytes("aad", &message.aad);
        sent.is_bytes("ciphertext", &message.ciphertext);
        sent.is_bytes("mac", &message.mac);
        assert!(message.aad.len() <= MAX_AAD);
        assert!((16..=MAX_CIPHERTEXT).contains(&message.ciphertext.len()) && message.ciphertext.len() % 16 == 0);
        assert_eq!(message.mac_message().len(), 12 + 16 + 4 + message.aad.len() + message.ciphertext.len());
    }
    if let Ok(request) = MacRequest::parse(body) {
        let sent = Sent::read(body, 3);
        assert_eq!(sent.text("ksn"), hex::encode(&request.ksn));
        sent.is_bytes("data", &request.data);
        sent.is_bytes("mac", &request.mac);
        assert!(request.data.len() <= MAX_MAC_DATA);
    }
});

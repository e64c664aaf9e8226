//! Outputs that are wrong although the call says that it succeeded.

use cryptoki::mechanism::Mechanism;

use crate::rig::{MESSAGE, alone, load, open, sign};

fn bits_that_differ(left: &[u8], right: &[u8]) -> u32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left ^ right).count_ones()).sum()
}

#[test]
fn one_bit_of_a_signature_is_flipped() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let good = sign(&session, key).expect("signs");
        rig.script("C_Sign on 2 seed 4 corrupt");
        let signatures = [0; 3].map(|_| sign(&session, key).expect("signs"));
        assert_eq!(signatures.each_ref().map(|signature| bits_that_differ(signature, &good)), [0, 1, 0]);
        session.verify(&Mechanism::AesCMac, key, MESSAGE, &signatures[1]).expect_err("is wrong");
        rig.script("C_Sign on 2 seed 4 corrupt # again");
        assert_eq!([0; 3].map(|_| sign(&session, key).expect("signs")), signatures, "a seed replays it");
    });
}

#[test]
fn a_signature_in_parts_and_a_ciphertext_are_corrupted_too() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let in_parts = || {
            session.sign_init(&Mechanism::AesCMac, key).expect("begins");
            session.sign_update(MESSAGE).expect("goes on");
            session.sign_final().expect("signs")
        };
        let encrypted = || session.encrypt(&Mechanism::AesEcb, key, &[7; 32]).expect("encrypts");
        let (signature, ciphertext) = (in_parts(), encrypted());
        rig.script("C_SignFinal,C_Encrypt corrupt");
        assert_eq!(bits_that_differ(&in_parts(), &signature), 1);
        assert_eq!(bits_that_differ(&encrypted(), &ciphertext), 1);
        rig.script("");
        assert_eq!((in_parts(), encrypted()), (signature, ciphertext));
    });
}

#[test]
fn an_output_is_too_short_or_too_long() {
    alone(|rig| {
        let module = load();
        let (session, key) = open(&module);
        let good = sign(&session, key).expect("signs");
        rig.script("C_Sign shorten 3");
        assert_eq!(sign(&session, key).expect("signs"), good[..13]);
        rig.script("C_Sign shorten 99");
        assert_eq!(sign(&session, key).expect("signs"), []);
        rig.script("C_Sign lengthen 2");
        assert_eq!(sign(&session, key).expect("signs"), [good.as_slice(), &[0, 0]].concat());
        rig.script("");
        assert_eq!(sign(&session, key).expect("signs"), good);
    });
}

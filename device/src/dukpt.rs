//! AES DUKPT on the phone (ANSI X9.24-3:2017): from an initial key to the working keys of one transaction.
//!
//! The tree is walked from the initial key for each transaction, as the host does. X9.24-3's register of intermediate
//! keys gives the same keys; it serves a device that must not keep its initial key.

use crate::derivation::{Usage, derive, tree_identifier};
use crate::key::AesKey;
use crate::ksn::{Ikid, Ksn, TransactionCounter};

/// An initial key and its identifier.
#[derive(Debug)]
pub struct InitialKey {
    ikid: Ikid,
    key: AesKey,
}

impl InitialKey {
    /// `key` as the initial key that `ikid` names.
    pub fn new(ikid: Ikid, key: AesKey) -> Self {
        Self { ikid, key }
    }

    /// Its identifier.
    pub fn ikid(&self) -> Ikid {
        self.ikid
    }

    /// The key.
    pub fn expose_key(&self) -> &AesKey {
        &self.key
    }

    /// The KSN of a transaction.
    pub fn ksn(&self, counter: TransactionCounter) -> Ksn {
        Ksn { ikid: self.ikid, counter }
    }

    /// The working key of a transaction.
    pub fn working_key(&self, usage: Usage, counter: TransactionCounter) -> AesKey {
        let path = self.path(counter.get());
        let parent = path.last().unwrap_or(&self.key);
        derive(parent, usage, tree_identifier(self.ikid, counter.get()))
    }

    /// Every intermediate key from the initial key (left out) to the transaction's own (last): for each set bit of the
    /// counter from the top, working |= bit, key = derive(key, 8000, working).
    pub(crate) fn path(&self, counter: u32) -> Vec<AesKey> {
        let mut working = 0;
        let mut path: Vec<AesKey> = Vec::with_capacity(16);
        for bit in (0..u32::BITS).rev().map(|place| 1 << place).filter(|bit| counter & bit != 0) {
            working |= bit;
            let parent = path.last().unwrap_or(&self.key);
            let key = derive(parent, Usage::Derivation, tree_identifier(self.ikid, working));
            path.push(key);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivation::derive_bytes;
    use crate::testing::{aes_key, hex, vectors};
    use serde_json::Value;

    fn text(value: &Value) -> &str {
        value.as_str().expect("text")
    }

    /// (indicator, bytes) of a key type of the vectors file.
    fn key_type(file: &Value, name: &Value) -> (u16, usize) {
        let entry = &file["algorithm"]["algorithms"][text(name)];
        let bits = usize::try_from(entry["bits"].as_u64().expect("bits")).expect("small");
        (u16::from_str_radix(text(&entry["indicator"]), 16).expect("hex"), bits / 8)
    }

    fn usages(file: &Value) -> Vec<(String, u16)> {
        let table = file["algorithm"]["key_usage"].as_object().expect("table");
        table.iter().map(|(name, value)| (name.clone(), u16::from_str_radix(text(value), 16).expect("hex"))).collect()
    }

    #[test]
    fn every_key_of_every_suite() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let mut compared = 0;
        for suite in file["suites"].as_array().expect("suites") {
            let name = text(&suite["name"]);
            let ikid: Ikid = text(&suite["initial_key_id"]).parse().expect("ikid");
            let bdk = aes_key(text(&suite["bdk"]));
            let (parent_indicator, parent_length) = key_type(&file, &suite["derivation_key_algorithm"]);
            let (indicator, length) = key_type(&file, &suite["working_key_algorithm"]);
            let initial = derive_bytes(&bdk, 0x8001, parent_indicator, parent_length, ikid.bytes());
            assert_eq!(initial.as_slice(), hex(text(&suite["initial_key"]["value"])), "{name}: initial key");
            let initial = InitialKey::new(ikid, AesKey::new(bdk.algorithm(), initial).expect("length"));
            let mut compare = |transaction: &Value, counter: u32| {
                let path = initial.path(counter);
                let last = path.last().expect("a counter has bits");
                assert_eq!(last.expose_bytes(), hex(text(&transaction["transaction_key"]["value"])), "{name}: {counter:08X}");
                compared += 1;
                for (usage, number) in usages(&file) {
                    let Some(expected) = transaction.get(&usage) else { continue };
                    let key = derive_bytes(last, number, indicator, length, tree_identifier(ikid, counter));
                    assert_eq!(key.as_slice(), hex(text(&expected["value"])), "{name}: {counter:08X} {usage}");
                    compared += 1;
                }
            };
            for transaction in suite["transactions"].as_array().expect("transactions") {
                let counter = u32::try_from(transaction["counter"].as_u64().expect("number")).expect("32 bits");
                let ksn: Ksn = text(&transaction["ksn"]).parse().expect("ksn");
                assert_eq!(ksn, initial.ksn(counter.try_into().expect("a counter")));
                compare(transaction, counter);
            }
            compare(&suite["update_key"], u32::MAX);
        }
        assert!(compared > 1000, "only {compared} values were found");
    }

    #[test]
    fn the_named_usages_are_those_of_the_vectors() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let suite = &file["suites"][1];
        let bdk = aes_key(text(&suite["bdk"]));
        let ikid: Ikid = text(&suite["initial_key_id"]).parse().expect("ikid");
        let initial = InitialKey::new(ikid, AesKey::new(bdk.algorithm(), derive_bytes(&bdk, 0x8001, 4, 32, ikid.bytes())).expect("length"));
        for transaction in suite["transactions"].as_array().expect("transactions") {
            let counter = text(&transaction["ksn"]).parse::<Ksn>().expect("ksn").counter;
            for (name, usage) in [
                ("kek", Usage::KeyEncryption),
                ("pin", Usage::Pin),
                ("mac_gen", Usage::MacGeneration),
                ("mac_both", Usage::Mac),
                ("data_enc", Usage::DataEncryption),
            ] {
                assert_eq!(initial.working_key(usage, counter).expose_bytes(), hex(text(&transaction[name]["value"])), "{name}");
            }
        }
    }

    #[test]
    fn the_intermediate_keys_of_the_register() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let initial =
            InitialKey::new(text(&file["suites"][0]["initial_key_id"]).parse().expect("ikid"), aes_key("1273671EA26AC29AFA4D1084127652A1"));
        let register = file["intermediate_key_register"].as_array().expect("register");
        assert_eq!(register.len(), 32);
        for entry in register {
            let counter = u32::from_str_radix(text(&entry["counter"]), 16).expect("hex");
            assert_eq!(initial.path(counter).last().expect("one").expose_bytes(), hex(text(&entry["key"]["value"])), "{counter:08X}");
        }
    }

    #[test]
    fn the_operations_with_a_working_key() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let initial =
            InitialKey::new(text(&file["suites"][0]["initial_key_id"]).parse().expect("ikid"), aes_key("1273671EA26AC29AFA4D1084127652A1"));
        for operation in file["operations_aes128"].as_array().expect("operations") {
            let counter: TransactionCounter =
                u32::try_from(operation["counter"].as_u64().expect("number")).expect("32 bits").try_into().expect("a counter");
            let message = text(&operation["message_ascii"]).as_bytes();
            let mac = initial.working_key(Usage::MacGeneration, counter).cmac(&[message]);
            assert_eq!(mac.to_vec(), hex(text(&operation["cmac_aes128_request"]["value"])));
            // The vectors pad the message with zeros to whole blocks; ours has a block of PKCS #7 padding behind them.
            let mut padded = message.to_vec();
            padded.resize(message.len().next_multiple_of(16), 0);
            let cipher = initial.working_key(Usage::DataEncryption, counter).encrypt_cbc(&[0; 16], &padded);
            assert_eq!(cipher[..padded.len()], hex(text(&operation["aes_cbc_zero_iv_zero_pad_request"]["value"])));
        }
    }

    #[test]
    fn the_skip_rule_counts_as_the_vectors_say() {
        let Some(file) = vectors("aes-dukpt.json") else { return };
        let counters = &file["counters"];
        let counter = |value: &Value| TransactionCounter::try_from(u32::from_str_radix(text(value), 16).expect("hex")).expect("a counter");
        let first = counters["first_five"].as_array().expect("list");
        for pair in first.windows(2) {
            assert_eq!(counter(&pair[0]).next(), Some(counter(&pair[1])));
        }
        assert_eq!(counter(&first[0]), TransactionCounter::FIRST);
        assert_eq!(TransactionCounter::try_from(0x0001_FFFE).expect("a counter").next(), Some(counter(&counters["after_0001FFFE"])));
        assert_eq!(counter(&counters["last"]).next(), None);
    }
}

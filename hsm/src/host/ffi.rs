//! The only `unsafe` of this crate: mechanism numbers for which cryptoki 0.12 has no name, and nested templates.

#![expect(unsafe_code, reason = "cryptoki 0.12 makes no MechanismType below CKM_VENDOR_DEFINED except those it knows")]

use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_BBOOL, CK_FALSE, CK_KEY_TYPE, CK_MECHANISM_TYPE, CK_OBJECT_CLASS, CK_TRUE, CK_ULONG, CKA_CLASS,
    CKA_DERIVE_TEMPLATE, CKA_KEY_TYPE, CKA_UNWRAP_TEMPLATE, CKK_AES, CKM_AES_ECB_ENCRYPT_DATA, CKO_SECRET_KEY,
};

/// A mechanism by its number.
pub(super) fn mechanism_type(number: CK_MECHANISM_TYPE) -> MechanismType {
    // SAFETY: cryptoki declares `MechanismType` as `repr(transparent)` over one `CK_MECHANISM_TYPE`, for which every value is valid; it is
    // only ever passed on to the module as that number.
    unsafe { std::mem::transmute::<CK_MECHANISM_TYPE, MechanismType>(number) }
}

/// `CKM_AES_ECB_ENCRYPT_DATA` (PKCS#11 3.0 mechanisms §2.15): the derived key is the encryption of `data`.
pub(super) fn aes_ecb_encrypt_data<'a>(data: &'a KeyDerivationStringData<'a>) -> Mechanism<'a> {
    // `KeyDerivationStringData` is `repr(transparent)` over the `CK_KEY_DERIVATION_STRING_DATA` that the mechanism takes.
    Mechanism::VendorDefined(VendorDefinedMechanism::new(mechanism_type(CKM_AES_ECB_ENCRYPT_DATA), Some(data)))
}

/// A mechanism without a parameter, by its number.
pub(super) fn plain(number: CK_MECHANISM_TYPE) -> Mechanism<'static> {
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(mechanism_type(number), None))
}

static CLASS: CK_OBJECT_CLASS = CKO_SECRET_KEY;
static TYPE: CK_KEY_TYPE = CKK_AES;
static TRUE: CK_BBOOL = CK_TRUE;
static FALSE: CK_BBOOL = CK_FALSE;

/// `CKA_UNWRAP_TEMPLATE` (PKCS#11 3.0 base §4.9): what is unwrapped under the key is an AES key with these flags. It stops the re-import of
/// a stored key under a template that could be read.
pub(super) fn unwrap_template(flags: &[(AttributeType, bool)]) -> Attribute {
    aes_key_with(CKA_UNWRAP_TEMPLATE, flags)
}

/// `CKA_DERIVE_TEMPLATE` (PKCS#11 3.0 base §4.9): what is derived from the key is an AES key with these flags.
pub(super) fn derive_template(flags: &[(AttributeType, bool)]) -> Attribute {
    aes_key_with(CKA_DERIVE_TEMPLATE, flags)
}

fn aes_key_with(template: CK_ATTRIBUTE_TYPE, flags: &[(AttributeType, bool)]) -> Attribute {
    let mut entries = vec![
        (CKA_CLASS, (&raw const CLASS).expose_provenance(), size_of::<CK_OBJECT_CLASS>()),
        (CKA_KEY_TYPE, (&raw const TYPE).expose_provenance(), size_of::<CK_KEY_TYPE>()),
    ];
    entries.extend(flags.iter().map(|(attribute, value)| {
        let value: &'static CK_BBOOL = if *value { &TRUE } else { &FALSE };
        (CK_ATTRIBUTE_TYPE::from(*attribute), std::ptr::from_ref(value).expose_provenance(), size_of::<CK_BBOOL>())
    }));
    // The bytes of an array of CK_ATTRIBUTE { type, pValue, ulValueLen }: three words each on every platform where CK_ULONG is a
    // pointer's size. All pointers are to statics, so they outlive the call.
    const { assert!(size_of::<CK_ULONG>() == size_of::<usize>() && size_of::<cryptoki_sys::CK_ATTRIBUTE>() == 3 * size_of::<usize>()) };
    let mut bytes = Vec::with_capacity(entries.len().saturating_mul(size_of::<cryptoki_sys::CK_ATTRIBUTE>()));
    for (attribute, pointer, length) in entries {
        bytes.extend(attribute.to_ne_bytes());
        bytes.extend(pointer.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
    }
    Attribute::VendorDefined((AttributeType::VendorDefined(template), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mechanism_keeps_its_number() {
        assert_eq!(CK_MECHANISM_TYPE::from(mechanism_type(CKM_AES_ECB_ENCRYPT_DATA)), CKM_AES_ECB_ENCRYPT_DATA);
        assert_eq!(mechanism_type(cryptoki_sys::CKM_AES_CMAC), MechanismType::AES_CMAC);
        assert_eq!(plain(0x210B).mechanism_type(), mechanism_type(0x210B));
    }
}

//! What kryoptic 1.5 was measured to do. If this changes, the ways round it can go.

use tillward_hsm::OaepHash;

use super::MODULE;
use crate::token::Token;

#[tokio::test(flavor = "multi_thread")]
async fn its_profile_is_as_measured() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let profile = hsm.status().await.expect("status").profile.expect("profile");
    assert_eq!((profile.kwp, profile.oaep, profile.value_len_on_unwrap), (Some(0x210B), Some(OaepHash::Sha256), false));
    assert!(
        profile.allowed_mechanisms && profile.unwrap_template && profile.derive_template && profile.ecdh && profile.ed25519,
        "{profile:?}"
    );
    // A copy may take MODIFIABLE back, so no key can be copied.
    assert!(!profile.copies_sealed && !profile.session_copies);
    // A derivation has the length of its data or none.
    assert!(!profile.aes_192);
    hsm.shutdown().await;
}

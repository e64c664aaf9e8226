//! What SoftHSM 2.6 was measured to do. If this changes, the ways round it can go.

use tillward_hsm::OaepHash;

use super::MODULE;
use super::hsm::until;
use crate::token::Token;

#[tokio::test(flavor = "multi_thread")]
async fn its_profile_is_as_measured() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    let profile = hsm.status().await.expect("status").profile.expect("profile");
    assert_eq!((profile.kwp, profile.oaep, profile.value_len_on_unwrap), (Some(0x210A), Some(OaepHash::Sha1), false));
    assert!(profile.allowed_mechanisms && profile.unwrap_template && profile.ed25519 && profile.aes_192, "{profile:?}");
    assert!(!profile.ecdh, "CKD_NULL only");
    assert!(!profile.derive_template, "the attribute is not known");
    // It copies a key into a session only if the key is modifiable, and ours are not.
    assert!(profile.copies_sealed && !profile.session_copies);
    hsm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_token_directory_that_vanishes_is_found_again_by_the_same_host_with_new_handles() {
    let Some(token) = Token::with_keys(MODULE).await else { return };
    let hsm = token.start().await;
    hsm.canary().await.expect("sings");
    let before = hsm.status().await.expect("status");
    std::fs::rename(token.path("tokens"), token.path("gone")).expect("moves");
    std::fs::create_dir(token.path("tokens")).expect("makes");
    hsm.canary().await.expect_err("the token is gone");
    std::fs::remove_dir(token.path("tokens")).expect("removes");
    std::fs::rename(token.path("gone"), token.path("tokens")).expect("moves back");
    assert_eq!(until(&hsm).await, before.pid, "the host itself recovers");
    hsm.canary().await.expect("sings");
    let after = hsm.status().await.expect("status");
    assert!(after.generation > before.generation, "{after:?}");
    assert!(after.recoveries["find-again"] > 0 && after.recoveries["re-initialise"] > before.recoveries["re-initialise"], "{after:?}");
    hsm.shutdown().await;
}

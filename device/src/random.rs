//! The one place that draws random bytes: from the operating system.

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no random bytes from the operating system")]
pub struct RandomError(#[from] getrandom::Error);

/// `N` random bytes.
///
/// # Errors
/// [`RandomError`] if the operating system has none to give.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

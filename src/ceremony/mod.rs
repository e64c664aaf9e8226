//! Key ceremonies: the file that is reviewed, the transcript that is signed, and what the two prove to somebody who was not there. Pure.

mod file;
mod transcript;

pub use file::{CeremonyError, CeremonyFile, Part, Person, Step};
pub use transcript::{Body, Did, Failing, MadeKey, Output, Proof, Signature, Signed, TokenSeen, Transcript, Verdict};

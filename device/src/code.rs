//! The activation code, the first secret (docs/protocol.md §3.1).

use zeroize::Zeroizing;

use crate::id::{ActivationId, CROCKFORD};

/// Why a text is not an activation code. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Not 24 symbols.
    #[error("an activation code has 24 symbols")]
    Length,
    /// A symbol outside Crockford's alphabet.
    #[error("a symbol is not one of an activation code")]
    Symbol,
    /// Mistyped: the check symbol does not fit.
    #[error("the check symbol does not fit: the code is mistyped")]
    Check,
}

/// An activation code as it is sent: 24 symbols, no hyphens, upper case, check symbol right.
pub struct ActivationCode(Zeroizing<String>);

impl ActivationCode {
    /// Reads what a person typed: hyphens and spaces dropped, upper-cased, `I` and `L` read as `1`, `O` as `0`.
    ///
    /// # Errors
    /// [`CodeError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let mut symbols = Zeroizing::new(String::with_capacity(24));
        for typed in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
            if symbols.len() == 24 {
                return Err(CodeError::Length);
            }
            symbols.push(normalise(typed)?);
        }
        let (body, check) = symbols.split_at_checked(23).ok_or(CodeError::Length)?;
        if check.len() != 1 {
            return Err(CodeError::Length);
        }
        if check.chars().next() == check_symbol(body) { Ok(Self(symbols)) } else { Err(CodeError::Check) }
    }

    /// A code from its first 23 symbols (id and secret), with the check symbol that fits.
    ///
    /// # Errors
    /// [`CodeError`] if there are not 23 symbols, or one is not of the alphabet.
    pub fn with_check_symbol(body: &str) -> Result<Self, CodeError> {
        let mut symbols = Zeroizing::new(String::with_capacity(24));
        symbols.push_str(body);
        symbols.push(check_symbol(body).ok_or(CodeError::Symbol)?);
        Self::parse(&symbols)
    }

    /// The public part.
    pub fn id(&self) -> ActivationId {
        self.0.get(..7).and_then(|id| id.parse().ok()).expect("a code begins with seven symbols of the alphabet")
    }

    /// The 24 symbols. They are a secret until the code is used.
    pub fn expose_symbols(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ActivationCode({}, secret not shown)", self.id())
    }
}

fn normalise(typed: char) -> Result<char, CodeError> {
    match typed.to_ascii_uppercase() {
        'I' | 'L' => Ok('1'),
        'O' => Ok('0'),
        other if value(other).is_some() => Ok(other),
        _ => Err(CodeError::Symbol),
    }
}

fn value(symbol: char) -> Option<u8> {
    let position = CROCKFORD.iter().position(|known| char::from(*known) == symbol)?;
    u8::try_from(position).ok()
}

/// The check symbol: symbols are elements of GF(2^5) = GF(2)[x]/(x^5 + x^2 + 1). Read as a polynomial, the whole code is
/// zero at x. Each place has its own weight, a different power of x (of order 31), so that every wrong symbol and every
/// swap of two symbols is found.
fn check_symbol(body: &str) -> Option<char> {
    let sum = body.chars().try_fold(0_u8, |sum, symbol| Some(times_x(sum) ^ value(symbol)?))?;
    CROCKFORD.get(usize::from(times_x(sum))).copied().map(char::from)
}

fn times_x(element: u8) -> u8 {
    let doubled = element << 1;
    if doubled & 0b10_0000 == 0 { doubled } else { doubled ^ 0b10_0101 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body() -> impl Strategy<Value = String> {
        "[0-9A-HJKMNP-TV-Z]{23}"
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = ActivationCode::parse(&text);
        }

        #[test]
        fn every_wrong_symbol_and_every_swap_is_found(body in body()) {
            let code = ActivationCode::with_check_symbol(&body).expect("made");
            let symbols: Vec<char> = code.expose_symbols().chars().collect();
            for place in 0..24 {
                for other in CROCKFORD.iter().copied().map(char::from).filter(|other| *other != symbols[place]) {
                    let mut wrong = symbols.clone();
                    wrong[place] = other;
                    prop_assert_eq!(ActivationCode::parse(&String::from_iter(wrong)).err(), Some(CodeError::Check));
                }
                for with in (0..place).filter(|with| symbols[*with] != symbols[place]) {
                    let mut wrong = symbols.clone();
                    wrong.swap(place, with);
                    prop_assert_eq!(ActivationCode::parse(&String::from_iter(wrong)).err(), Some(CodeError::Check));
                }
            }
        }

        #[test]
        fn a_code_reads_in_any_case_and_grouping(body in body(), group in 1_usize..8) {
            let code = ActivationCode::with_check_symbol(&body).expect("made");
            let typed: Vec<String> = code.expose_symbols().to_ascii_lowercase().replace('1', "l").replace('0', "o").as_bytes()
                .chunks(group).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
            let read = ActivationCode::parse(&typed.join("- ")).expect("reads");
            prop_assert_eq!(read.expose_symbols(), code.expose_symbols());
            let id = read.id();
            prop_assert_eq!(id.as_str(), &body[..7]);
        }
    }

    #[test]
    fn the_example_of_the_protocol_page() {
        let code = ActivationCode::parse("ABCD-EFGH-JKMN-PQRS-TVWX-YZ02").expect("reads");
        assert_eq!(code.expose_symbols(), "ABCDEFGHJKMNPQRSTVWXYZ02");
        assert_eq!(code.id().as_str(), "ABCDEFG");
        assert_eq!(format!("{code:?}"), "ActivationCode(ABCDEFG, secret not shown)");
    }

    #[test]
    fn lengths_and_foreign_symbols_are_told_apart() {
        assert_eq!(ActivationCode::parse("").err(), Some(CodeError::Length));
        assert_eq!(ActivationCode::parse(&"0".repeat(23)).err(), Some(CodeError::Length));
        assert_eq!(ActivationCode::parse(&"0".repeat(25)).err(), Some(CodeError::Length));
        assert!(ActivationCode::parse(&"0".repeat(24)).is_ok());
        assert_eq!(ActivationCode::parse(&"U".repeat(24)).err(), Some(CodeError::Symbol));
        assert_eq!(ActivationCode::parse(&"ä".repeat(24)).err(), Some(CodeError::Symbol));
        assert!(ActivationCode::with_check_symbol("0").is_err());
    }
}

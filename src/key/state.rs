//! The life cycle of a version of a key (SP 800-57 part 1 rev. 5, §7). [`Life::after`] is the one table; the database repeats it as triggers, and
//! a test compares the two.

use serde::{Deserialize, Serialize};

/// State of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, not in use yet.
    PreActivation,
    /// Protects and processes.
    Active,
    /// Stopped for a while.
    Suspended,
    /// Protects nothing any more; processes what it protected.
    Deactivated,
    /// Somebody else may have it: nothing it vouches for counts.
    Compromised,
    /// Gone from the token.
    Destroyed,
}

/// What a use does with a key (SP 800-57 part 1 §7): a key that no longer protects may still process what it protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Sign, MAC, encrypt, wrap: only while the version is active. Counted against the limit of uses.
    Protect,
    /// Verify, decrypt, unwrap: also when it is deactivated.
    Process,
}

/// What can be done to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// Take it into use, or back into use.
    Activate,
    /// Stop every use for a while.
    Suspend,
    /// End protecting.
    Deactivate,
    /// Somebody else may have it.
    ReportCompromise,
    /// Begin the waiting period before its destruction: every use stops at once.
    ScheduleDestruction,
    /// Call the destruction off.
    Restore,
    /// Destroy it, after the waiting period.
    Destroy,
}

/// What decides about a version: its state, and what is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The state.
    pub state: KeyState,
    /// Whether it was ever deactivated: then it never protects again, whatever came in between.
    pub was_deactivated: bool,
    /// Whether it waits for its destruction.
    pub waits: bool,
}

/// A move that the life cycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key that is {} cannot be {}", .from.words(), .to.done())]
pub struct NoMove {
    /// As it is.
    pub from: Life,
    /// What was asked for.
    pub to: Move,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::PreActivation, Self::Active, Self::Suspended, Self::Deactivated, Self::Compromised, Self::Destroyed];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreActivation => "pre-activation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 7] =
        [Self::Activate, Self::Suspend, Self::Deactivate, Self::ReportCompromise, Self::ScheduleDestruction, Self::Restore, Self::Destroy];

    fn done(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Suspend => "suspended",
            Self::Deactivate => "deactivated",
            Self::ReportCompromise => "reported as compromised",
            Self::ScheduleDestruction => "scheduled for destruction",
            Self::Restore => "restored",
            Self::Destroy => "destroyed",
        }
    }
}

impl Life {
    /// A version that was just made.
    pub const NEW: Self = Self { state: KeyState::PreActivation, was_deactivated: false, waits: false };

    /// The table: what is left after a move, if the life cycle has it.
    ///
    /// # Errors
    /// [`NoMove`] for everything that is not a row of the table.
    pub fn after(self, to: Move) -> Result<Self, NoMove> {
        use KeyState as S;
        let at = |state| Self { state, ..self };
        match (to, self.state, self.waits) {
            (Move::Activate, S::PreActivation | S::Suspended, false) if !self.was_deactivated => Ok(at(S::Active)),
            (Move::Suspend, S::PreActivation | S::Active | S::Deactivated, false) => Ok(at(S::Suspended)),
            (Move::Deactivate, S::Active | S::Suspended, false) => Ok(Self { was_deactivated: true, ..at(S::Deactivated) }),
            // A key that waits for its destruction can turn out to be known to others, and goes on waiting.
            (Move::ReportCompromise, S::PreActivation | S::Active | S::Suspended | S::Deactivated, _) => Ok(at(S::Compromised)),
            // Not from active: what still protects something is deactivated first, so that nobody destroys a key in use by one step.
            (Move::ScheduleDestruction, S::PreActivation | S::Suspended | S::Deactivated | S::Compromised, false) => {
                Ok(Self { waits: true, ..self })
            }
            // To suspended and never to active: that it shall work again is a decision of its own.
            (Move::Restore, S::PreActivation | S::Suspended | S::Deactivated, true) => Ok(Self { waits: false, ..at(S::Suspended) }),
            (Move::Restore, S::Compromised, true) => Ok(Self { waits: false, ..self }),
            (Move::Destroy, S::PreActivation | S::Suspended | S::Deactivated | S::Compromised, true) => Ok(at(S::Destroyed)),
            _ => Err(NoMove { from: self, to }),
        }
    }

    /// Whether it may be used so. A suspended, compromised or waiting key is not used at all: SP 800-57 lets such keys process under conditions
    /// that a service cannot see.
    pub fn allows(self, asked: Use) -> bool {
        match (self.state, self.waits) {
            (KeyState::Active, false) => true,
            (KeyState::Deactivated, false) => asked == Use::Process,
            _ => false,
        }
    }

    /// For people: `suspended`, `deactivated and waits for its destruction`.
    pub fn words(self) -> String {
        let once = if self.was_deactivated && self.state == KeyState::Suspended { " and was deactivated before" } else { "" };
        let waits = if self.waits && self.state != KeyState::Destroyed { " and waits for its destruction" } else { "" };
        format!("{}{once}{waits}", self.state.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives() -> impl Iterator<Item = Life> {
        KeyState::ALL.into_iter().flat_map(|state| {
            [(false, false), (false, true), (true, false), (true, true)].map(|(was_deactivated, waits)| Life {
                state,
                was_deactivated,
                waits,
            })
        })
    }

    #[test]
    fn the_whole_matrix_of_states() {
        let mut pairs = std::collections::BTreeSet::new();
        for from in lives() {
            for to in Move::ALL {
                if let Ok(after) = from.after(to)
                    && after.state != from.state
                {
                    pairs.insert(format!("{}->{}", from.state.name(), after.state.name()));
                }
            }
        }
        let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
        assert_eq!(
            pairs,
            [
                "active->compromised",
                "active->deactivated",
                "active->suspended",
                "compromised->destroyed",
                "deactivated->compromised",
                "deactivated->destroyed",
                "deactivated->suspended",
                "pre-activation->active",
                "pre-activation->compromised",
                "pre-activation->destroyed",
                "pre-activation->suspended",
                "suspended->active",
                "suspended->compromised",
                "suspended->deactivated",
                "suspended->destroyed",
            ]
        );
    }

    #[test]
    fn what_was_deactivated_never_protects_again() {
        let mut open = vec![Life { state: KeyState::Deactivated, was_deactivated: true, waits: false }];
        let mut seen = Vec::new();
        while let Some(life) = open.pop() {
            assert!(!life.allows(Use::Protect), "{}", life.words());
            seen.push(life);
            open.extend(Move::ALL.into_iter().filter_map(|to| life.after(to).ok()).filter(|next| !seen.contains(next)));
        }
        assert!(seen.len() > 5);
    }

    #[test]
    fn what_waits_is_not_used_and_what_is_destroyed_stays() {
        for life in lives() {
            if life.waits {
                assert!(!life.allows(Use::Protect) && !life.allows(Use::Process));
            }
            if life.state == KeyState::Destroyed {
                assert!(Move::ALL.into_iter().all(|to| life.after(to).is_err()));
            }
        }
    }

    #[test]
    fn nothing_is_destroyed_without_waiting_and_restoring_leads_to_no_use() {
        for life in lives() {
            if let Ok(after) = life.after(Move::Destroy) {
                assert!(life.waits && after.state == KeyState::Destroyed);
            }
            if let Ok(after) = life.after(Move::Restore) {
                assert!(!after.allows(Use::Process) && !after.waits);
            }
        }
    }
}

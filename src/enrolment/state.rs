//! Life cycles of an activation and of a device: every allowed transition stands here, and again as a CHECK or a
//! conditional UPDATE in the database.

use serde::{Deserialize, Serialize};

/// A transition that the life cycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no transition from {from} to {to}")]
pub struct NoTransition {
    /// The present state.
    pub from: &'static str,
    /// The state asked for.
    pub to: &'static str,
}

/// State of an enrolled phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// May attest, be cleared and pay.
    Active,
    /// Stopped by a contraindicated result or by an operator; an operator may resume it.
    Suspended,
    /// Ended for ever: certificate revoked, keys never derived again.
    Retired,
}

impl DeviceState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Retired];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state after a move to `to`, if the life cycle has that move.
    ///
    /// # Errors
    /// [`NoTransition`] for every pair that is not a row of the table.
    pub fn to(self, to: Self) -> Result<Self, NoTransition> {
        match (self, to) {
            (Self::Active, Self::Suspended | Self::Retired) | (Self::Suspended, Self::Active | Self::Retired) => Ok(to),
            _ => Err(NoTransition { from: self.name(), to: to.name() }),
        }
    }
}

/// State of an activation. Expiry is not a state: it is a comparison with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationState {
    /// The code may still be used.
    Open,
    /// A phone was enrolled with it.
    Used,
    /// Five wrong tries.
    Locked,
    /// Taken back, or replaced by a newer one for the same terminal.
    Revoked,
}

impl ActivationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Used, Self::Locked, Self::Revoked];

    /// The name used on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Locked => "locked",
            Self::Revoked => "revoked",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state after a move to `to`: only an open activation moves; a locked one may still be revoked.
    ///
    /// # Errors
    /// [`NoTransition`] for every pair that is not a row of the table.
    pub fn to(self, to: Self) -> Result<Self, NoTransition> {
        match (self, to) {
            (Self::Open, Self::Used | Self::Locked | Self::Revoked) | (Self::Locked, Self::Revoked) => Ok(to),
            _ => Err(NoTransition { from: self.name(), to: to.name() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_device_matrix() {
        let allowed: Vec<_> = DeviceState::ALL
            .into_iter()
            .flat_map(|from| DeviceState::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.to(*to).is_ok())
            .map(|(from, to)| format!("{}->{}", from.name(), to.name()))
            .collect();
        assert_eq!(allowed, ["active->suspended", "active->retired", "suspended->active", "suspended->retired"]);
    }

    #[test]
    fn the_whole_activation_matrix() {
        let allowed: Vec<_> = ActivationState::ALL
            .into_iter()
            .flat_map(|from| ActivationState::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.to(*to).is_ok())
            .map(|(from, to)| format!("{}->{}", from.name(), to.name()))
            .collect();
        assert_eq!(allowed, ["open->used", "open->locked", "open->revoked", "locked->revoked"]);
    }
}

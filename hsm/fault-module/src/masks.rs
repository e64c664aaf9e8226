//! The numbers that the client sees. They are the real module's, until a fault changes them: then they differ in bits that no module uses, so
//! that a number given out before means nothing to the real module, and the real module says so in its own words.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID};

const _: () = assert!(size_of::<cryptoki_sys::CK_ULONG>() == 8, "handles have room for an epoch");

/// One kind of number. What is 0 (`CK_INVALID_HANDLE`) stays 0.
#[derive(Debug)]
struct Mask<const BIT: u32>(AtomicU64);

impl<const BIT: u32> Mask<BIT> {
    /// The same in both directions.
    fn apply(&self, number: u64) -> u64 {
        if number == 0 { 0 } else { number ^ self.0.load(Ordering::SeqCst) << BIT }
    }

    fn change(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Epochs of the handles of objects, of sessions and of the numbers of slots.
#[derive(Debug)]
pub(crate) struct Masks {
    objects: Mask<40>,
    sessions: Mask<40>,
    /// Low bits: clients print slots and some keep them in 32 bits.
    slots: Mask<20>,
}

impl Masks {
    pub(crate) const fn new() -> Self {
        Self { objects: Mask(AtomicU64::new(0)), sessions: Mask(AtomicU64::new(0)), slots: Mask(AtomicU64::new(0)) }
    }

    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        self.objects.apply(handle)
    }

    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> CK_SESSION_HANDLE {
        self.sessions.apply(handle)
    }

    /// Slot 0 is a slot like any other.
    pub(crate) fn slot(&self, slot: CK_SLOT_ID) -> CK_SLOT_ID {
        slot ^ self.slots.0.load(Ordering::SeqCst) << 20
    }

    pub(crate) fn change_objects(&self) {
        self.objects.change();
    }

    pub(crate) fn change_sessions(&self) {
        self.sessions.change();
    }

    pub(crate) fn change_slots(&self) {
        self.slots.change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_real_ones_until_they_are_changed_and_the_old_ones_mean_nothing_then() {
        let masks = Masks::new();
        assert_eq!((masks.object(7), masks.session(7), masks.slot(7)), (7, 7, 7));
        masks.change_objects();
        masks.change_sessions();
        masks.change_slots();
        for (given, taken) in [(masks.object(7), masks.object(masks.object(7))), (masks.session(7), masks.session(masks.session(7)))] {
            assert_ne!(given, 7);
            assert_eq!(taken, 7);
        }
        assert_eq!(masks.slot(masks.slot(0)), 0);
        assert_ne!(masks.slot(0), 0);
        assert_eq!(masks.object(0), 0);
    }
}

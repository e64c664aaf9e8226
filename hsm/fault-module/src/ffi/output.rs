//! The output of a call: a buffer of the client's and its length.

use cryptoki_sys::{CK_BYTE, CK_ULONG};

use crate::rule::Damage;

/// Where a call writes its output.
pub(crate) struct Output {
    buffer: *mut CK_BYTE,
    length: *mut CK_ULONG,
    /// Room in the buffer, as the client said before the call.
    room: CK_ULONG,
}

impl Output {
    /// # Safety
    /// As PKCS#11 has it for the arguments of the call (3.0 base §5.2): `length` is null or valid, `buffer` is null or has `*length` bytes, both until the call
    /// has returned.
    pub(super) unsafe fn new(buffer: *mut CK_BYTE, length: *mut CK_ULONG) -> Self {
        // SAFETY: not null, so valid for the call.
        let room = if length.is_null() { 0 } else { unsafe { length.read() } };
        Self { buffer, length, room }
    }

    /// Whether the client wants the output itself, not its length.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.buffer.is_null() && !self.length.is_null()
    }

    /// Does the damage to an output that the real module has written.
    pub(crate) fn suffer(&self, damage: Damage, drawn: u64) {
        if self.length.is_null() {
            return;
        }
        // SAFETY: not null, and `new` was promised that it is valid until the call returns.
        let length = unsafe { self.length.read() };
        let changed = match damage {
            // A client that asks for the length first makes its buffer as long as the answer says.
            Damage::Lengthen(bytes) if self.buffer.is_null() => length.saturating_add(bytes),
            _ if self.buffer.is_null() => return,
            Damage::Corrupt => return self.flip(length, drawn),
            Damage::Shorten(bytes) => length.saturating_sub(bytes),
            Damage::Lengthen(bytes) => length.saturating_add(bytes).min(self.room.max(length)),
        };
        if !self.buffer.is_null() {
            for at in length..changed {
                self.write(at, 0);
            }
        }
        // SAFETY: as above.
        unsafe { self.length.write(changed) };
    }

    /// Flips one bit.
    fn flip(&self, length: CK_ULONG, drawn: u64) {
        let Some(bit) = drawn.checked_rem(length.saturating_mul(8)) else { return };
        let Ok(at) = usize::try_from(bit / 8) else { return };
        // SAFETY: `at` lies below `length`, and so many bytes the real module has written.
        let byte = unsafe { self.buffer.add(at).read() };
        self.write(bit / 8, byte ^ 1 << (bit % 8));
    }

    fn write(&self, at: CK_ULONG, byte: CK_BYTE) {
        if at < self.room
            && let Ok(at) = usize::try_from(at)
        {
            // SAFETY: below `room`, which the client has given.
            unsafe { self.buffer.add(at).write(byte) };
        }
    }
}

//! FNV-1a: small state for comparing text that is gone. It must be the same in every build, which
//! the standard hasher does not promise; nothing here is a defence against crafted input.

/// The hash of nothing.
pub(super) const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what `hash` is of, and `text` behind it.
pub(super) fn more(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

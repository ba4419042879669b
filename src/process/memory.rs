//! How the allocator treats this process's large buffers.

/// From this size on a buffer is a mapping of its own, which goes back to the kernel when it is
/// freed. Smaller than the longest string that is kept of a line, larger than any chunk.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: nix::libc::c_int = 1 << 20;

/// Heaps for all threads together. Each keeps what its busiest moment took, and the daemon's
/// threads are seldom busy with memory at the same time.
#[cfg(target_env = "gnu")]
const HEAPS: nix::libc::c_int = 2;

/// Keeps the memory of one long line from staying with the process.
///
/// glibc raises its limit for mappings with the first large buffer that is freed, up to 32 MiB;
/// from then on such buffers lie in the heaps of whatever threads took them, between small ones
/// that keep them there. A limit that was set stays. Call it before there are other threads;
/// where the allocator is another one it does nothing.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (nix::libc::M_MMAP_THRESHOLD, OWN_MAPPING),
        (nix::libc::M_TRIM_THRESHOLD, OWN_MAPPING),
        (nix::libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: sets a number of the allocator's; a refusal leaves things as they were.
        unsafe { nix::libc::mallopt(parameter, value) };
    }
}

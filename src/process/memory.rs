//! What of this process's memory goes back to the kernel, and when.

use nix::libc;

/// From this size on a buffer is a mapping of its own, which goes back to the kernel when it is
/// freed. Smaller than the longest string that is kept of a line, larger than any chunk.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 1 << 20;

/// Heaps for all threads together. Each keeps what its busiest moment took, and the daemon's
/// threads are seldom busy with memory at the same time.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Keeps the memory of one long line from staying with the process.
///
/// glibc raises its limit for mappings with the first large buffer that is freed, up to 32 MiB;
/// from then on such buffers lie in the heaps of whatever threads took them, between small ones
/// that keep them there. A limit that was set stays. Call it before there are other threads;
/// where the allocator is another one it does nothing.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, OWN_MAPPING),
        (libc::M_TRIM_THRESHOLD, OWN_MAPPING),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: sets a number of the allocator's; a refusal leaves things as they were.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Lets go of the program file's pages that this process has touched; those that it touches again
/// come back from the page cache. For a process that has done what it was started for and goes on
/// waiting: relocating a large program reads megabytes of tables that nobody needs afterwards.
pub fn release_program_pages() {
    // SAFETY: the callback takes no data, keeps to the signature and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(release_object), std::ptr::null_mut()) };
}

/// Lets go of one loaded object's pages.
unsafe extern "C" fn release_object(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid object for the time of the call.
    let object = unsafe { &*object };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader's own table of the object, of that length.
    let headers =
        unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    // SAFETY: takes a number and reads nothing else.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = usize::try_from(page)
        .ok()
        .filter(|page| page.is_power_of_two())
    else {
        return 0;
    };
    for header in headers {
        // What may be written holds what was relocated, and is nowhere else.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let Ok(length) = usize::try_from(header.p_memsz) else {
            continue;
        };
        // What was linked for a high address and lies at a low one is moved by less than nothing, as
        // the vdso of a Linux in user mode.
        let Ok(offset) = usize::try_from(object.dlpi_addr.wrapping_add(header.p_vaddr)) else {
            continue;
        };
        let start = offset & !(page - 1);
        // SAFETY: a private mapping of a file that was never written to: what is dropped is read
        // from the file again. Its last page belongs to no other segment.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                offset - start + length,
                libc::MADV_DONTNEED,
            )
        };
    }
    0
}

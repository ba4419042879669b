//! A process's name: what `ps` shows, and what is left to know a dead one by.

use std::ffi::CStr;
use std::fs;
use std::io;

/// The name of every shim. Init knows by it that a child which was killed was one: a zombie has
/// no arguments and no program file any more.
pub const SHIM_NAME: &CStr = c"agent-shim";

/// Names this process; of its threads, the calling one.
pub fn set_own_name(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Whether a process has this name. A zombie has one; a process that is gone has none.
pub fn is_named(pid: i32, name: &CStr) -> bool {
    let path = format!("/proc/{pid}/comm");
    fs::read(path).is_ok_and(|comm| comm.strip_suffix(b"\n") == Some(name.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_set_is_found_and_a_thread_that_is_gone_has_none() {
        // Threads have names like processes do; renaming the test's own process would disturb it.
        let named = || {
            let own = rustix::thread::gettid().as_raw_nonzero().get();
            let before = is_named(own, SHIM_NAME);
            set_own_name(SHIM_NAME).unwrap();
            (own, before, is_named(own, SHIM_NAME))
        };
        let (pid, before, after) = std::thread::spawn(named).join().unwrap();
        assert!(!before);
        assert!(after);
        assert!(!is_named(pid, c"agent"));
    }
}

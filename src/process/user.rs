//! Becoming another user.

use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
};

/// Empties the set of capabilities that a program could ever come by, as far as the kernel lets us:
/// it takes `CAP_SETPCAP`. Where that is missing, denied privileges have to do.
pub fn forget_capabilities() {
    for number in 0..64 {
        let set = CapabilitySet::from_bits_retain(1 << number);
        if capability_is_in_bounding_set(set).is_ok_and(|held| held) {
            let _refused = remove_capability_from_bounding_set(set);
        }
    }
}

/// Gives up being root for good: the groups first, as only root may change them.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    let gid = Gid::from_raw(gid);
    setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid)?;
    Ok(())
}

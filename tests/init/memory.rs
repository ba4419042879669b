//! How much of the machine's memory init takes.

use std::fs;

use crate::harness::{Init, eventually};

/// Once it has nothing to do it lets go of what its start has touched: 3 MiB. A debug build has
/// twice the relocated data and scatters its code.
const LIMIT_KB: u64 = if cfg!(debug_assertions) { 4096 } else { 3072 };

#[test]
fn at_rest_it_is_one_thread_and_small() {
    let init = Init::script(&[], "echo up; sleep 300 & wait");
    init.line();
    let path = format!("/proc/{}/status", init.pid().as_raw_nonzero());
    let field = |name: &str| -> u64 {
        let status = fs::read_to_string(&path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().split_whitespace().next();
        number.unwrap().parse().unwrap()
    };
    assert_eq!(field("Threads:"), 1);
    eventually("it is small", || field("VmRSS:") <= LIMIT_KB);
}

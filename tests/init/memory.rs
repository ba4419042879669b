//! How much of the machine's memory init takes.

use std::fs;

use crate::harness::{Init, eventually};

/// Once it has nothing to do it lets go of what its start has touched: 3 MiB. Of a debug build only
/// what is its own counts: how much of the program's file is mapped with each page that is touched
/// is up to the page cache, and such a build scatters its code over 100 MB.
const LIMIT_KB: u64 = 3072;
const FIELD: &str = if cfg!(debug_assertions) {
    "RssAnon:"
} else {
    "VmRSS:"
};

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
    eventually("it is small", || field(FIELD) <= LIMIT_KB);
}

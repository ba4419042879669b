//! The npm registry that the tests of installing need.

use std::process::Command;
use std::sync::OnceLock;

/// One cache for all tests and runs: the packages are fetched once.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/npm-cache");

/// Whether it can be reached. Where not, a line says that the test is skipped; in CI it fails.
pub(crate) fn is_reachable() -> bool {
    static REACHABLE: OnceLock<bool> = OnceLock::new();
    *REACHABLE.get_or_init(|| {
        let pinned = "@anthropic-ai/claude-code-linux-x64@2.1.197";
        let reachable = Command::new("npm")
            .args(["view", pinned, "version", "--fetch-retries=0"])
            .env("npm_config_cache", CACHE)
            .output()
            .is_ok_and(|output| output.status.success());
        assert!(
            reachable || std::env::var_os("CI").is_none(),
            "npm or its registry cannot be reached"
        );
        if !reachable {
            eprintln!("skipped: npm or its registry cannot be reached");
        }
        reachable
    })
}

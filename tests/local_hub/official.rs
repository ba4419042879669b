//! The official Node client as creator, observer, controller and reader of the event stream.

use std::path::Path;
use std::process::Command;

use crate::support::HubProcess;

#[test]
fn the_official_client_is_served_a_whole_session() {
    drive("hub-test.mjs");
}

#[test]
fn the_official_client_is_served_the_library() {
    drive("library-test.mjs");
}

fn drive(script: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    if !scripts.join("node_modules/@agentuity/core").is_dir() {
        let needs = "needs the official client, get it with scripts/test";
        assert!(std::env::var_os("CI").is_none(), "{needs}");
        println!("skipped: {needs}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(state.path());
    let mut node = Command::new("node");
    node.arg(scripts.join(script)).arg(hub.url());
    for (name, _) in std::env::vars_os() {
        // The client reads its key and its Hub from these.
        if name.to_string_lossy().starts_with("AGENTUITY_") {
            node.env_remove(name);
        }
    }
    let output = node.output().expect("node runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

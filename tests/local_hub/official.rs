//! The official Node client as creator, observer, controller and reader of the event stream.

use std::fs;
use std::path::{Path, PathBuf};
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

/// What the client can ask for, the two scripts above ask for.
#[test]
fn every_call_of_the_official_client_is_made() {
    let Some(scripts) = scripts() else {
        return;
    };
    let read = |name: &str| fs::read_to_string(scripts.join(name)).unwrap();
    let client = read("node_modules/@agentuity/core/dist/services/coder/client.js");
    let calls = client.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("    async ")?.split_once('(')?;
        (!name.starts_with('#') && name != "getUrl").then_some(name)
    });
    let calls: Vec<&str> = calls.collect();
    assert!(calls.len() > 30, "{calls:?}");
    let made = read("hub-test.mjs") + &read("library-test.mjs");
    let missing: Vec<_> = calls
        .iter()
        .filter(|call| !made.contains(&format!("client.{call}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// And each route that the Hub has is in the table of its page.
#[test]
fn every_route_is_in_the_table() {
    let page = include_str!("../../docs/embedded-hub.md");
    let source = include_str!("../../src/local_hub/server.rs");
    let routes = source.split('"').filter(|text| text.starts_with("/api/"));
    let missing: Vec<_> = routes
        .filter(|route| {
            let route = route.trim_start_matches("/api/hub/");
            !page.contains(&format!("`{route}`"))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Nothing where the official client is not installed.
fn scripts() -> Option<PathBuf> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    if scripts.join("node_modules/@agentuity/core").is_dir() {
        return Some(scripts);
    }
    let needs = "needs the official client, get it with scripts/install-test-tools";
    assert!(std::env::var_os("CI").is_none(), "{needs}");
    println!("skipped: {needs}");
    None
}

fn drive(script: &str) {
    let Some(scripts) = scripts() else {
        return;
    };
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

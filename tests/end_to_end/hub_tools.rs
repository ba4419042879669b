//! Tools of the Hub for an agent that gets at little: another user's, or one under Landlock.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::bench::{Bench, skip};
use crate::gate::run;
use crate::hand_hub::Hub;

const SCRIPT: &str = r#"
[[reply]]
steps = [{ mcp = "coder_hub/memory_recall", input = { query = "heron" } }, { shell = "id -un; cat '{{cwd}}/../../hub-tools/s1/offer.json' || echo closed" }]
[[reply]]
steps = [{ say = "So it was." }]
"#;

/// A session with this in its environment calls the tool once, in both forms; what its agent was
/// told.
fn calls_a_tool(env: &[(&str, &str)], mode: &str) -> Option<String> {
    let bench = Bench::with_claude()?;
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let model = bench.model(SCRIPT);
    run(async {
        let hub = Hub::start().await;
        let repo = format!("file://{}", bench.text("repo"));
        let words = ["daemon", "--output", "jsonl", "--session", "s1"];
        let mut command = bench.agent(&model, &words);
        command.args(["--repo", &repo, "--hub", &hub.url()]);
        command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        command.env("AGENT_RUNNER_MODE", mode);
        command.envs(env.iter().copied());
        let daemon = bench.start(&mut command);
        let mut peer = hub.accept().await;
        let tool = json!({"name": "memory_recall", "description": "Recalls.",
            "parameters": {"type": "object"}});
        peer.send(
            &json!({"type": "init", "role": "lead", "sessionId": "s1", "task": "Recall.",
            "tools": [tool]}),
        )
        .await;
        let mut calls = 0;
        let found = |frame: &Value| {
            let actions = json!([{"action": "RETURN", "result": "grey herons"}]);
            (frame["type"] == "tool").then(|| {
                calls += 1;
                json!({"id": frame["id"], "actions": actions})
            })
        };
        hub.play(&mut peer, found).await;
        assert_eq!(calls, 1, "{:?}", daemon.out.all());
    });
    let told = model.requests().pop().unwrap().to_string();
    assert!(told.contains("grey herons"), "{told}");
    Some(told)
}

#[test]
fn an_agent_of_another_user_calls_the_hubs_tools() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to start an agent as another user");
    }
    for mode in ["exec", "live"] {
        let Some(told) = calls_a_tool(&[("AGENT_RUNNER_AGENT_USER", "nobody")], mode) else {
            return;
        };
        assert!(told.contains("nobody") && told.contains("closed"), "{told}");
    }
}

#[test]
fn an_agent_under_landlock_calls_the_hubs_tools() {
    if !agent_runner::process::can_restrict_files() {
        return skip("this kernel has no Landlock");
    }
    for mode in ["exec", "live"] {
        let _told = calls_a_tool(&[("AGENT_RUNNER_LANDLOCK", "true")], mode);
    }
}

//! What befalls a container with a session in it: no memory left, no network.

use std::process::Command;

use serde_json::json;

use crate::bench::{Bench, CLAUDE, FORMS, is_end};
use crate::engine::{Container, image};

/// The agent makes its own CLI the kernel's first choice, once, and then takes all memory.
const EAT: &str = "[ -e begun ] || { touch begun; for p in /proc/[0-9]*; do \
    grep -qx claude $p/comm && echo 1000 >$p/oom_score_adj; done; tail /dev/zero & tail /dev/zero & tail /dev/zero; sleep 300; }";

#[test]
fn an_agent_inside_that_is_killed_for_want_of_memory_is_told_and_resumed() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        runs_out_of_memory(&image, form);
    }
}

fn runs_out_of_memory(image: &str, form: &str) {
    let bench = Bench::new(EAT);
    let session = bench.create_session(&json!({"task": "Go on."}));
    let session = format!("AGENT_RUNNER_SESSION={session}");
    let variable_of_form = format!("AGENT_RUNNER_MODE={form}");
    let more = [
        "--env",
        &session,
        "--env",
        &variable_of_form,
        "--memory",
        "700m",
        "--memory-swap",
        "700m",
    ];
    let container = bench.start_with(image, &CLAUDE, &more);
    let events = container.follow();
    let mut all = Vec::new();
    let end = events.event(|event| {
        all.push(event.clone());
        is_end(event)
    });
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    let all = serde_json::Value::from(all).to_string();
    assert!(all.contains("memory"), "{all}");
    assert_eq!(end["outcome"], "completed", "{form}: {end}");
    assert_eq!(end["attempt"], 2, "{form}: {end}");
    assert_eq!(
        container.state("Restarting"),
        "false",
        "the container itself went on"
    );
}

/// The only way between this machine and a container: cut and restored like a cable.
struct Cable {
    name: String,
    address: String,
}

impl Cable {
    /// None where this machine does not let us.
    fn new(number: u8) -> Option<Self> {
        let name = format!("arc{}-{number}", std::process::id() % 100_000);
        let cable = Self {
            address: format!("10.213.{number}.1"),
            name,
        };
        let far = format!("{}b", cable.name);
        let made = ip(&[
            "link",
            "add",
            &cable.name,
            "type",
            "veth",
            "peer",
            "name",
            &far,
        ]);
        assert!(
            made || std::env::var_os("CI").is_none(),
            "a cable needs root"
        );
        let address = format!("{}/30", cable.address);
        // A cable goes with its container; Hub and model stay to be asked.
        let stays = format!("{}/32", cable.address);
        let ready = made
            && ip(&["addr", "add", &stays, "dev", "lo"])
            && ip(&["addr", "add", &address, "dev", &cable.name])
            && cable.set("up");
        ready.then_some(cable)
    }

    /// Plugs the far end into a container.
    fn plug(&self, container: &Container) {
        let pid = container.state("Pid");
        let far = format!("{}b", self.name);
        assert!(ip(&["link", "set", &far, "netns", &pid]));
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["--target", &pid, "--net", "ip"]).args(words);
            assert!(command.status().unwrap().success(), "{words:?}");
        };
        let address = format!("{}.2/30", self.address.strip_suffix(".1").unwrap());
        inside(&["addr", "add", &address, "dev", &far]);
        inside(&["link", "set", &far, "up"]);
    }

    fn set(&self, state: &str) -> bool {
        ip(&["link", "set", &self.name, state])
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["addr", "del", &format!("{}/32", self.address), "dev", "lo"]);
        // Gone already where its container is.
        ip(&["link", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> bool {
    let output = Command::new("ip").args(words).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_session_inside_outlives_a_cut_of_its_network() {
    let Some(image) = image("claude") else { return };
    for (number, form) in (77..).zip(FORMS) {
        outlives_a_cut(&image, number, form);
    }
}

fn outlives_a_cut(image: &str, number: u8, form: &str) {
    let Some(cable) = Cable::new(number) else {
        return;
    };
    let bench = Bench::at(
        &cable.address,
        "touch begun; until [ -e go ]; do sleep 0.05; done",
    );
    let session = bench.create_session(&json!({"task": "Go on."}));
    let variable = format!("AGENT_RUNNER_SESSION={session}");
    let variable_of_form = format!("AGENT_RUNNER_MODE={form}");
    let more = ["--env", &variable, "--env", &variable_of_form];
    let container = bench.start_in("none", image, &CLAUDE, &more);
    cable.plug(&container);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    assert!(cable.set("down"));
    container.exec(&["touch", "/workspace/go"]);
    // What happens meanwhile is in the journal, and on its stdout.
    let during = events.event(|event| event["type"] == "tool_end");
    assert!(
        during.is_some(),
        "no end of the tool; {}",
        container.errors()
    );
    assert!(cable.set("up"));
    let end = events.event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(crate::engine::docker(&["wait", container.id()]), "0");
    let history = bench.history(&session);
    for part in ["tool_call", "tool_result", "I am done."] {
        assert!(history.contains(part), "the Hub has {part}: {history}");
    }
}

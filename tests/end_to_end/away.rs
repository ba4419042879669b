//! A Hub that is away for a moment while a session begins.

use serde_json::json;

use crate::bench::Bench;
use crate::gate::run;
use crate::ground::config_with_work;
use crate::hand_hub::Hub;

#[test]
fn a_hub_that_hangs_up_while_a_session_is_made_is_asked_again() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "", "");
    run(async {
        let hub = Hub::start().await;
        let mut command = bench.command(&["daemon", "--once", "--session", "s1"]);
        command.args(["--config", &config, "--hub", &hub.url()]);
        command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        let _daemon = bench.start(&mut command);
        let mut peer = hub.accept().await;
        let init = json!({"type": "init", "role": "lead", "sessionId": "s1", "task": "Do it."});
        peer.send(&init).await;
        for _ in 0..2 {
            hub.hang_up_once().await;
        }
        hub.play(&mut peer, |_| None).await;
    });
}

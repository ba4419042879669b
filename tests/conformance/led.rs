//! Sessions of the real CLIs at a Hub that the test plays by hand.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::bench::Bench;
use crate::hand_hub::{Hub, Peer, Said};
use crate::in_time;
use crate::running::{Finished, Running};

/// The overall limit of one test.
const LIMIT: Duration = Duration::from_mins(3);

/// A daemon that is led by a hand-played Hub.
pub(crate) struct Led {
    pub(crate) bench: Bench,
    pub(crate) hub: Hub,
    pub(crate) daemon: Running,
    pub(crate) peer: Peer,
    init: Value,
    env: &'static [(&'static str, &'static str)],
    prompts: usize,
}

impl Led {
    /// Nothing where the CLI is not installed. `init` is what the Hub says to whoever joins.
    pub(crate) async fn start(
        agent: &'static Agent,
        mode: &'static str,
        script: &str,
        init: Value,
        env: &'static [(&'static str, &'static str)],
    ) -> Option<Self> {
        let bench = Bench::playing(agent, mode, script)?;
        let hub = Hub::start().await;
        let daemon = Running::start(&mut Self::command(&bench, &hub, env));
        let peer = Self::join(&hub, &init).await;
        Some(Self {
            bench,
            hub,
            daemon,
            peer,
            init,
            env,
            prompts: 0,
        })
    }

    fn command(bench: &Bench, hub: &Hub, env: &[(&str, &str)]) -> std::process::Command {
        let here = bench.path("here");
        let here = here.to_str().unwrap();
        let mut command = bench.agent_command(&["daemon", "--session", "s1"], false);
        command.args(["--hub", &hub.url(), "--workspace-dir", here]);
        command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        command.envs(env.iter().copied());
        command
    }

    async fn join(hub: &Hub, init: &Value) -> Peer {
        let mut peer = hub.accept().await;
        peer.send(init).await;
        peer
    }

    /// The daemon is killed, and another goes on.
    pub(crate) async fn replace(&mut self) {
        self.daemon.signal(nix::sys::signal::Signal::SIGKILL);
        let again = Running::start(&mut Self::command(&self.bench, &self.hub, self.env));
        drop(std::mem::replace(&mut self.daemon, again));
        self.rejoin().await;
    }

    /// The Hub hangs up, and takes nobody in.
    pub(crate) async fn leave(&mut self) {
        self.peer.close(1012).await;
    }

    /// The lead, which has lost its Hub, comes again.
    pub(crate) async fn rejoin(&mut self) {
        self.peer = Self::join(&self.hub, &self.init).await;
    }

    pub(crate) async fn prompt(&mut self, text: &str) {
        self.prompts += 1;
        let id = format!("a-unique-prompt-{}", self.prompts);
        let command = json!({"type": "prompt", "id": id, "message": text});
        let frame = json!({"type": "rpc_command", "command": command});
        self.peer.send(&frame).await;
    }

    /// The next that the lead says, as one form: events with `id`, `event` and `data`.
    pub(crate) async fn hears(&mut self) -> Value {
        loop {
            let said = tokio::select! {
                said = self.peer.said() => said,
                () = self.hub.answer_rest() => continue,
            };
            match said {
                Said::Event(event) => {
                    return json!({"id": event.id, "event": event.name, "data": event.data});
                }
                Said::Other(frame) => return frame,
                end => panic!("the lead left: {end:?}; {:?}", self.daemon.err.all()),
            }
        }
    }

    /// Plays the Hub until the run is over. `says` gives what it says to a frame: a whole frame, or
    /// a list of actions in answer to it; without a word events are acknowledged, and null is no
    /// word at all. What it heard.
    pub(crate) async fn play(&mut self, says: impl FnMut(&Value) -> Option<Value>) -> Vec<Value> {
        self.play_beside(says, |_, _| {}).await
    }

    /// The same, with something that is done when the Hub has said its word.
    pub(crate) async fn play_beside(
        &mut self,
        mut says: impl FnMut(&Value) -> Option<Value>,
        mut then: impl FnMut(&Self, &Value),
    ) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let frame = self.hears().await;
            let is_event = frame.get("event").is_some();
            match says(&frame) {
                Some(Value::Array(actions)) => self.answer(&frame, actions.into()).await,
                Some(Value::Null) => {}
                Some(said) => self.peer.send(&said).await,
                None if is_event => {
                    self.answer(&frame, json!([{"action": "ACK"}])).await;
                }
                None => {}
            }
            then(self, &frame);
            let is_over = frame["event"] == "agent_end";
            heard.push(frame);
            if is_over {
                return heard;
            }
        }
    }

    /// `agent-runner approve` with these words.
    pub(crate) fn approve(&self, words: &[&str]) -> Finished {
        let words = [&["approve"], words].concat();
        Running::start(&mut self.bench.command(&words)).finish()
    }

    /// Who said what to each request, in order.
    pub(crate) fn answers(&self) -> Vec<String> {
        let word = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let said = self.events("permission_response");
        let said = said
            .iter()
            .map(|event| format!("{} {}", word(event, "decision"), word(event, "by")));
        said.collect()
    }

    pub(crate) async fn answer(&mut self, frame: &Value, actions: Value) {
        let answer = json!({"id": frame["id"], "actions": actions});
        self.peer.send(&answer).await;
    }

    /// All that the model was told.
    pub(crate) fn told(&self) -> String {
        Value::from(self.bench.requests()).to_string()
    }

    pub(crate) fn made(&self, name: &str) -> bool {
        self.bench.path("here").join(name).exists()
    }

    /// The session's events of that type, as far as they were put out.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.daemon.out.all();
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["type"] == kind).collect()
    }
}

/// Runs a test within its time.
pub(crate) fn run(test: impl Future<Output = ()>) {
    in_time::run(LIMIT, test);
}

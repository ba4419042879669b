//! Whoever dies while a setting changes, and when: what the session says of the setting is what the
//! next turn has, it is told once, and no turn is lost. With the real CLIs, by `agent-runner set`
//! and by a Hub's controller.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agents::{Agent, CLAUDE, CODEX, GEMINI, OPENCODE};
use crate::bench::Bench;
use crate::live::{HELLO, WAIT, Watched, of};
use crate::running::{Running, eventually, made};
use crate::settings::{asked_for, model_asked, other_model, set};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Model,
    Effort,
    Consent,
}

/// A setting, and what it is by now.
#[derive(Debug)]
struct Setting {
    kind: Kind,
    values: [&'static str; 2],
    now: usize,
}

impl Setting {
    /// Those that the CLI takes while it runs.
    fn all(agent: &Agent) -> Vec<Self> {
        let setting = |kind, values| Self {
            kind,
            values,
            now: 0,
        };
        let mut all = vec![setting(Kind::Model, [agent.model, other_model(agent)])];
        if agent.name != "gemini" {
            all.push(setting(Kind::Effort, ["low", "high"]));
        }
        if matches!(agent.name, "claude" | "codex") {
            all.push(setting(Kind::Consent, ["auto", "ask"]));
        }
        all
    }

    fn value(&self) -> &'static str {
        self.values[self.now]
    }

    fn other(&self) -> &'static str {
        self.values[1 - self.now]
    }

    fn changed(&mut self) {
        self.now = 1 - self.now;
    }

    /// What `agent-runner set` calls it, and shows it as.
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Model => "model",
            Kind::Effort => "effort",
            Kind::Consent => "approve",
        }
    }

    /// Asks for the other value; the answer is not waited for.
    fn ask(&self, bench: &Bench, watched: &Watched) -> Running {
        let flag = format!("--{}", self.name());
        let mut command = bench.command(&["set", &flag, self.other()]);
        Running::start(command.arg("--session").arg(&watched.session.id))
    }

    /// The same, as a controller of the Hub does; false where the Hub has no command for it.
    async fn ask_by_hub(&self, watched: &mut Watched) -> bool {
        let command = match self.kind {
            Kind::Model => json!({"type": "set_model", "modelId": self.other(), "id": "4"}),
            Kind::Effort => {
                json!({"type": "set_thinking_level", "level": self.other(), "id": "4"})
            }
            Kind::Consent => return false,
        };
        watched.session.command(command).await;
        true
    }
}

/// A session whose settings change, and what is expected of it.
struct Changing {
    bench: Bench,
    watched: Watched,
    settings: Vec<Setting>,
    turns: usize,
    /// Changes that count.
    told: usize,
    /// Calls that had to wait for consent.
    consents: usize,
}

impl Changing {
    /// A session in its first turn, or after it. The settings are said to be as they are first.
    async fn start(agent: &'static Agent, task: &str) -> Option<Self> {
        let bench = Bench::live(agent)?;
        fs::write(bench.path("here/go"), "").unwrap();
        let settings = Setting::all(agent);
        let watched = Watched::start(&bench, HELLO).await;
        let mut changing = Self {
            bench,
            watched,
            settings,
            turns: 1,
            told: 0,
            consents: 0,
        };
        changing.watched.end(1);
        for setting in &changing.settings {
            if setting.kind == Kind::Effort {
                let words = ["--effort", setting.value()];
                assert_eq!(set(&changing.bench, &changing.watched, &words).code(), 0);
                changing.told += 1;
            }
        }
        if task != HELLO {
            changing.turns += 1;
            fs::remove_file(changing.bench.path("here/go")).unwrap();
            changing.watched.session.prompt(task).await;
            made(&changing.bench.path("here/begun"));
        }
        Some(changing)
    }

    /// The daemon goes, and the next one dies at that point.
    fn arm(&mut self, point: &'static str) {
        self.bench.crash = Some(point);
        self.watched.session.kill_daemon(&self.bench);
    }

    /// Asks for the other value of that setting; the daemon dies of it, and the next one, which dies
    /// at `next`, leads the session.
    async fn dies(&mut self, index: usize, by_hub: bool, next: Option<&'static str>) {
        let setting = &self.settings[index];
        self.shows(setting);
        if !(by_hub && setting.ask_by_hub(&mut self.watched).await) {
            let unheard = setting.ask(&self.bench, &self.watched).finish();
            assert_ne!(unheard.code(), 0, "{setting:?}: {unheard:#?}");
        }
        made(&self.bench.path("crash.crashed"));
        fs::remove_file(self.bench.path("crash.crashed")).unwrap();
        self.bench.crash = next;
        self.watched.session.start_daemon(&self.bench);
    }

    fn counts(&mut self, index: usize) {
        self.settings[index].changed();
        self.told += 1;
    }

    /// What the session says of the setting is what it is.
    fn shows(&self, setting: &Setting) {
        let mut shown = None;
        eventually("the daemon is back", || {
            let finished = set(&self.bench, &self.watched, &[]);
            let value = |line: &String| Some(line.strip_prefix(setting.name())?.trim().to_owned());
            shown = finished.out.iter().find_map(value);
            finished.status.success()
        });
        assert_eq!(shown.as_deref(), Some(setting.value()), "{setting:?}");
    }

    /// And so it is in the next turn.
    async fn holds(&mut self, index: usize) {
        self.shows(&self.settings[index]);
        let setting = &self.settings[index];
        let asks = setting.kind == Kind::Consent && setting.value() == "ask";
        let calls = setting.kind == Kind::Consent;
        let prompt = if calls { WAIT } else { HELLO };
        self.watched.session.prompt(prompt).await;
        if asks {
            self.consent();
        }
        self.turns += 1;
        assert_eq!(self.watched.end(self.turns)["outcome"], "completed");
        self.is_at_the_model(index);
    }

    fn consent(&mut self) {
        let before = self.consents;
        let requests = std::cell::Cell::new(0);
        let request = self.watched.events.event("request", |event| {
            let is_request = event["type"] == "permission_request";
            requests.set(requests.get() + usize::from(is_request));
            is_request && requests.get() > before
        });
        self.consents += 1;
        let id = request["request_id"].as_str().unwrap();
        let mut command = self.bench.command(&["approve", id, "--session"]);
        command.arg(&self.watched.session.id);
        assert_eq!(Running::start(&mut command).finish().code(), 0);
    }

    fn is_at_the_model(&self, index: usize) {
        let setting = &self.settings[index];
        match setting.kind {
            Kind::Model => assert_eq!(model_asked(&self.bench), setting.value()),
            Kind::Effort => assert_eq!(asked_for(&self.bench).1, setting.value()),
            Kind::Consent => {}
        }
    }

    fn finish(self, processes: Option<usize>) {
        let events = self.watched.finish(&self.bench);
        let changes = of(&events, "notice").into_iter();
        let changes = changes.filter(|event| event["code"] == "settings_changed");
        assert_eq!(changes.count(), self.told, "each is told once: {events:#?}");
        let asked = of(&events, "permission_request").len();
        assert_eq!(asked, self.consents, "{events:#?}");
        let completed = |end: &&Value| end["outcome"] == "completed";
        let ends = of(&events, "end");
        assert_eq!(
            ends.iter().copied().filter(|end| completed(end)).count(),
            self.turns
        );
        assert_eq!(
            ends.len(),
            self.turns,
            "no turn is lost, none is told twice"
        );
        if let Some(processes) = processes {
            assert_eq!(self.bench.clis().len(), processes);
        }
        eventually("no stray process", || self.bench.strays().is_empty());
    }
}

/// Where the daemon dies over a setting, and whether that counts then.
const DEATHS: [(&str, bool); 4] = [
    ("session.choice_accepted:1", false),
    ("live.setting_sent:1", false),
    ("session.choice_answered:1", false),
    ("session.choices_stored:1", true),
];

/// Between two turns.
async fn survives_the_daemon(agent: &'static Agent) {
    let Some(mut changing) = Changing::start(agent, HELLO).await else {
        return;
    };
    changing.arm(DEATHS[0].0);
    for index in 0..changing.settings.len() {
        for (nth, (_, counts)) in DEATHS.iter().enumerate() {
            let last = nth + 1 == DEATHS.len();
            let next = DEATHS[(nth + 1) % DEATHS.len()].0;
            let over = last && index + 1 == changing.settings.len();
            changing
                .dies(index, nth % 2 == 1, (!over).then_some(next))
                .await;
            if *counts {
                changing.counts(index);
            }
            changing.holds(index).await;
        }
    }
    changing.finish(Some(1));
}

/// In the middle of a turn, which goes on.
async fn survives_the_daemon_in_a_turn(agent: &'static Agent) {
    let Some(mut changing) = Changing::start(agent, WAIT).await else {
        return;
    };
    let sent = DEATHS[1].0;
    changing.arm(sent);
    let settings = changing.settings.len();
    for index in 0..settings {
        let next = (index + 1 < settings).then_some(sent);
        changing.dies(index, index == 0, next).await;
    }
    fs::write(changing.bench.path("here/go"), "").unwrap();
    assert_eq!(changing.watched.end(changing.turns)["outcome"], "completed");
    for index in 0..settings {
        changing.holds(index).await;
    }
    changing.finish(Some(1));
}

/// The CLI dies with the change unanswered: the next one is started with it.
async fn survives_the_cli(agent: &'static Agent) {
    let Some(mut changing) = Changing::start(agent, HELLO).await else {
        return;
    };
    let settings = changing.settings.len();
    for index in 0..settings {
        changing.bench.signal(Signal::SIGSTOP);
        let said = changing.bench.said();
        let asking = changing.settings[index].ask(&changing.bench, &changing.watched);
        eventually("it is asked", || changing.bench.said() > said);
        changing.bench.signal(Signal::SIGKILL);
        assert_eq!(asking.finish().code(), 0);
        changing.counts(index);
        changing.holds(index).await;
    }
    changing.finish(Some(1 + settings));
}

/// The next process has not come to answer yet: what is chosen then, the next turn has.
async fn chosen_while_it_opens(agent: &'static Agent) {
    let Some(mut changing) = Changing::start(agent, HELLO).await else {
        return;
    };
    let hold = changing.bench.path("hold");
    fs::write(&hold, "").unwrap();
    changing.bench.signal(Signal::SIGKILL);
    eventually("the next process", || changing.bench.clis().len() == 2);
    for index in 0..changing.settings.len() {
        let asking = changing.settings[index].ask(&changing.bench, &changing.watched);
        assert_eq!(asking.finish().code(), 0);
        changing.counts(index);
    }
    changing.watched.session.prompt(HELLO).await;
    let nth = changing.turns;
    let prompts = std::cell::Cell::new(0);
    changing.watched.events.event("the turn", |event| {
        prompts.set(prompts.get() + usize::from(event["type"] == "prompt"));
        prompts.get() > nth
    });
    fs::remove_file(hold).unwrap();
    changing.turns += 1;
    assert_eq!(changing.watched.end(changing.turns)["outcome"], "completed");
    for index in 0..changing.settings.len() {
        changing.is_at_the_model(index);
    }
    changing.finish(None);
}

macro_rules! deaths {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_setting_that_is_chosen_survives_the_daemon() {
                survives_the_daemon(&$agent).await;
            }

            #[tokio::test]
            async fn a_setting_that_is_chosen_survives_the_cli() {
                survives_the_cli(&$agent).await;
            }

            #[tokio::test]
            async fn a_setting_that_is_chosen_while_the_cli_opens_is_the_next_turns() {
                chosen_while_it_opens(&$agent).await;
            }

            #[tokio::test]
            async fn a_turn_survives_a_daemon_that_dies_over_a_setting() {
                survives_the_daemon_in_a_turn(&$agent).await;
            }
        }
    )*};
}

deaths! {
    claude: CLAUDE,
    codex: CODEX,
    opencode: OPENCODE,
    gemini: GEMINI,
}

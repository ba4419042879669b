//! Sessions that between them pass every crash point, each with a fresh prompt and an orderly end
//! at last.

use agent_runner::process::{Identity, PidFd};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::hub::Record;
use crate::ledger::{self, Run};
use crate::place::{Fault, Place};
use crate::rounds::AGENTS;

/// The prompt that must work after all faults.
pub(crate) const FRESH: &str = "And once more.";
/// A message in the middle of a turn.
pub(crate) const STEER: &str = "Use tabs.";
/// A prompt that waits and is cancelled.
pub(crate) const LATER: &str = "Later, this.";
/// Steps of the first process before anything happens to it.
const MIDDLE: u32 = 7;

/// What happens in a session besides the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nothing.
    Plain,
    /// The CLI dies in the middle.
    CliDies,
    /// The CLI dies, and a message comes while its turn waits for the next attempt.
    MessageBetween,
    /// The daemon is killed in the middle; the point is in the next one.
    TakeOver,
    /// The daemon is killed before there is a shim; the point is in the next one.
    NoShim,
    /// The daemon is told to go in the middle, and comes back.
    Pause,
    /// A message in the middle, a prompt that waits, and an end to both.
    Orders,
    /// Nothing, in live form.
    Live,
    /// As `TakeOver`, in live form.
    LiveTakeOver,
    /// As `Orders`, in live form, and another model in the middle.
    LiveOrders,
    /// A turn, then another model and a new conversation.
    Choices,
}

impl Scenario {
    pub(crate) const ALL: [Self; 11] = [
        Self::Plain,
        Self::CliDies,
        Self::MessageBetween,
        Self::TakeOver,
        Self::NoShim,
        Self::Pause,
        Self::Orders,
        Self::Live,
        Self::LiveTakeOver,
        Self::LiveOrders,
        Self::Choices,
    ];

    /// What `--mode` is.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::Live | Self::LiveTakeOver | Self::LiveOrders => "live",
            _ => "exec",
        }
    }

    /// Whether its point is in the next daemon.
    pub(crate) fn takes_over(self) -> bool {
        matches!(self, Self::TakeOver | Self::LiveTakeOver)
    }

    /// Whose manner the fake agent has.
    pub(crate) fn agents(self) -> &'static [&'static str] {
        match self.mode() {
            "live" => &AGENTS[..1],
            _ => &AGENTS,
        }
    }

    /// The fake agent's orders.
    pub(crate) fn orders(self) -> Value {
        match self {
            Self::CliDies | Self::MessageBetween => {
                json!({"steps": 15, "pause_ms": 4, "die_at": MIDDLE})
            }
            // Long enough that what is to happen in its middle does.
            Self::TakeOver | Self::Pause | Self::Orders | Self::LiveTakeOver | Self::LiveOrders => {
                json!({"steps": 45, "pause_ms": 15})
            }
            Self::Plain | Self::NoShim | Self::Live | Self::Choices => {
                json!({"steps": 24, "pause_ms": 4})
            }
        }
    }

    /// Whether every turn must complete.
    pub(crate) fn completes(self) -> bool {
        !matches!(self, Self::Orders | Self::LiveOrders)
    }

    /// Plays it with `point` armed, to the session's orderly end.
    pub(crate) fn play(self, place: &mut Place, point: Option<&str>) -> Result<(), Fault> {
        let arm = |place: &mut Place| {
            place.armed = point.map(str::to_owned);
            // Only what is passed from here on counts.
            drop(std::fs::remove_file(place.path("passed")));
        };
        match self {
            Self::Plain | Self::CliDies | Self::Live => {
                arm(place);
                place.start();
            }
            Self::MessageBetween => {
                arm(place);
                place.start();
                let waits = |record: &Record| record.count("session_error") > 0;
                place.until("the death of the CLI", waits)?;
                place.ask(&json!({"type": "steer", "message": STEER}))?;
            }
            Self::TakeOver | Self::LiveTakeOver => {
                place.start();
                in_the_middle(place)?;
                place.signal(Signal::SIGKILL);
                place.end()?;
                arm(place);
                place.start();
            }
            Self::NoShim => {
                place.armed = Some("sandbox.plan_written:1".to_owned());
                place.start();
                place.end()?;
                drop(std::fs::remove_file(place.path("passed.crashed")));
                arm(place);
                place.start();
            }
            Self::Pause => {
                arm(place);
                place.start();
                in_the_middle(place)?;
                place.signal(Signal::SIGTERM);
                place.end()?;
                if place.crashed() {
                    place.armed = None;
                }
                place.start();
            }
            Self::Orders | Self::LiveOrders => {
                arm(place);
                place.start();
                self.give_orders(place)?;
            }
            Self::Choices => {
                arm(place);
                place.start();
                settle(place, 1)?;
                until_answered(place, &json!({"type": "set_model", "modelId": "another"}))?;
                until_answered(place, &json!({"type": "new_session"}))?;
            }
        }
        settle(place, 1)?;
        finish(place)
    }

    /// In the middle of the first turn.
    fn give_orders(self, place: &mut Place) -> Result<(), Fault> {
        in_the_middle(place)?;
        if self == Self::LiveOrders {
            let other = json!({"type": "set_model", "modelId": "another"});
            until_answered(place, &other)?;
        }
        place.ask(&json!({"type": "follow_up", "message": LATER}))?;
        place.ask(&json!({"type": "steer", "message": STEER}))?;
        until_answered(place, &json!({"type": "abort"}))
    }
}

/// Asks again, however often the daemon dies over it.
fn until_answered(place: &mut Place, command: &Value) -> Result<(), Fault> {
    while place.ask(command)?.is_none() {}
    Ok(())
}

/// Whether that process lives.
pub(crate) fn is_alive(process: Identity) -> bool {
    matches!(PidFd::open(process), Ok(Some(_)))
}

fn in_the_middle(place: &mut Place) -> Result<(), Fault> {
    place.seen("the middle of the turn", |place| {
        let runs = runs(place);
        runs.iter().any(|run| run.wrote >= MIDDLE)
    })
}

pub(crate) fn runs(place: &Place) -> Vec<Run> {
    ledger::read(&place.text("ledger.jsonl"))
}

/// Waits until at least so many prompts were taken and all of them have ended.
pub(crate) fn settle(place: &mut Place, prompts: usize) -> Result<usize, Fault> {
    let mut known = prompts;
    loop {
        place.until("the turns' ends", |record| {
            record.count("agent_end") >= known
        })?;
        let state = place.state()?;
        let taken = place.taken();
        let idle = state["isStreaming"] == false && state["pendingMessageCount"] == 0;
        // Its last frame may be on its way.
        if idle && taken >= prompts && place.hub.record().count("agent_end") >= taken {
            return Ok(taken);
        }
        known = known.max(taken);
    }
}

/// A fresh prompt completes, and the daemon leaves in order.
pub(crate) fn finish(place: &mut Place) -> Result<(), Fault> {
    let mut taken = settle(place, 1)?;
    let (daemon, descriptors) = (place.pid(), place.descriptors());
    // A live process that the prompt starts is kept, and with it what the daemon holds of it. One
    // that is being made warm just now is not held yet.
    let is_kept = || place.processes().1.is_some_and(is_alive);
    let comparable = place.mode == "exec" || (is_kept() && place.is_in_hand(&descriptors));
    let wanted = taken + 1;
    while taken < wanted {
        place.ask(&json!({"type": "prompt", "message": FRESH}))?;
        // Where there was no answer, the count says whether it was taken.
        place.state()?;
        taken = place.taken();
    }
    settle(place, wanted)?;
    if comparable && place.pid() == daemon {
        // The first frame to a process that was warm makes the connection that frames go over.
        let most = descriptors.len() + usize::from(place.mode != "exec");
        // The last of a run's may be closing.
        let no_more = place.seen("as many descriptors as before", |place| {
            place.pid() != daemon || place.descriptors().len() <= most
        });
        no_more.map_err(|fault| {
            let now = place.descriptors();
            format!("{fault}: there were {descriptors:?}, and there are {now:?}")
        })?;
    }
    loop {
        place.signal(Signal::SIGTERM);
        let status = place.end()?;
        if status.success() {
            return Ok(());
        }
        // A crash point on the way out; the next one has to do better.
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        if !killed {
            return Err(format!("the daemon did not leave in order: {status}"));
        }
        let before = place.hub.record().connections;
        place.daemon_deaths += 1;
        place.armed = None;
        place.start();
        place.until("the next daemon", |record| record.connections > before)?;
        place.state()?;
    }
}

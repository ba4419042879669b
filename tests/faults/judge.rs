//! Holds what the Hub has against what the fake agent says it wrote.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use agent_runner::journal::Journal;
use agent_runner::spool::{Phase, RunDir, Status};
use serde_json::Value;

use crate::hub::{Delivery, SESSION};
use crate::ledger::Run;
use crate::leftovers;
use crate::payload::{Step, payload};
use crate::place::{Fault, Place};
use crate::scenario::{FRESH, Scenario, runs};

/// What a round came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    /// Steps that the fake agent wrote.
    pub(crate) steps: usize,
    /// Of those, how many died in the kernel together with a killed shim.
    pub(crate) unread: usize,
    /// Deliveries that came more than once on the wire.
    pub(crate) repeats: usize,
    /// Processes of the fake agent for the first turn.
    pub(crate) runs: usize,
    /// From a CLI's death to the Hub's word of it.
    pub(crate) noticed: Option<Duration>,
}

/// A step that the Hub heard of, in the order of first arrival.
type Heard = BTreeMap<String, Vec<u32>>;

/// Judges a round after its orderly end.
pub(crate) fn judge(
    runtime: &tokio::runtime::Handle,
    place: &Place,
    scenario: Scenario,
) -> Result<Figures, Fault> {
    let deliveries = place.hub.record().deliveries.clone();
    let runs = runs(place);
    let (unique, repeats) = once_by_id(&deliveries)?;
    let heard = heard(&unique)?;
    let mut figures = Figures {
        repeats,
        runs: runs.iter().filter(|run| run.prompt != FRESH).count(),
        noticed: noticed(place, &deliveries),
        ..Figures::default()
    };
    let spools = spools(place);
    for run in &runs {
        let empty = Vec::new();
        let steps = heard.get(&run.name).unwrap_or(&empty);
        figures.steps += run.wrote as usize;
        figures.unread += conserved(run, steps, &spools)?;
    }
    told_once(&runs, &heard)?;
    talked_once(&runs)?;
    let events = runtime.block_on(events(place))?;
    stored_once(&events, scenario)?;
    completed(&events, scenario)?;
    leftovers::none(place)?;
    Ok(figures)
}

/// How soon the Hub heard of a CLI's death, where a daemon was there to see it and to tell it.
fn noticed(place: &Place, deliveries: &[Delivery]) -> Option<Duration> {
    let connected = place.hub.record().connections == 1;
    let killed = place.cli_killed.filter(|_| connected)?;
    let crash = |told: &&Delivery| told.event == "session_error" && told.at >= killed;
    let told = deliveries.iter().find(crash)?;
    Some(told.at.saturating_duration_since(killed))
}

/// The deliveries without repeats, which must be the same; how many repeats there were.
fn once_by_id(deliveries: &[Delivery]) -> Result<(Vec<&Delivery>, usize), Fault> {
    let mut known: HashMap<&str, &Delivery> = HashMap::new();
    let mut unique = Vec::new();
    for told in deliveries {
        let Some(before) = known.insert(&told.id, told) else {
            unique.push(told);
            continue;
        };
        // Deltas are joined as they come.
        let delta = told.event == "message_update" || told.event == "tool_execution_update";
        if !delta && (before.event != told.event || before.data != told.data) {
            return Err(format!("two frames have one id: {before:#?} and {told:#?}"));
        }
    }
    let repeats = deliveries.len() - unique.len();
    Ok((unique, repeats))
}

/// The steps that frames show, whole and each once.
fn heard(unique: &[&Delivery]) -> Result<Heard, Fault> {
    let mut heard = Heard::new();
    for told in unique {
        let (kind, shown) = match told.event.as_str() {
            "message_end" if told.data["message"]["role"] == "assistant" => {
                (Step::Text, text_of(&told.data["message"]["content"]))
            }
            "tool_execution_start" => (Step::ToolStart, told.data["args"].to_string()),
            "tool_execution_end" => (Step::ToolEnd, told.data["result"].to_string()),
            _ => continue,
        };
        for (run, step, text) in payloads(&shown)? {
            if payload(&run, step) != text {
                return Err(format!("step {step} of {run} is altered: {text}"));
            }
            if Step::of(step) != kind {
                return Err(format!("step {step} of {run} came as {kind:?}"));
            }
            heard.entry(run).or_default().push(step);
        }
    }
    Ok(heard)
}

fn text_of(content: &Value) -> String {
    let blocks = content.as_array().into_iter().flatten();
    blocks.filter_map(|block| block["text"].as_str()).collect()
}

/// Every payload in a text: who, which step, and the words as they are.
fn payloads(text: &str) -> Result<Vec<(String, u32, String)>, Fault> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("ev:") {
        let cut = || format!("a step is cut: {}", &text[at..]);
        let rest = &text[at..];
        let whole = &rest[..=rest.find(';').ok_or_else(cut)?];
        let name = whole[3..].split(':').next().ok_or_else(cut)?;
        let (run, step) = name.split_once('/').ok_or_else(cut)?;
        let step = step.parse().map_err(|_| cut())?;
        found.push((run.to_owned(), step, whole.to_owned()));
    }
    Ok(found)
}

/// All that the run wrote was heard, in order, once; how many steps were lost with the shim.
fn conserved(run: &Run, steps: &[u32], spools: &[Spool]) -> Result<usize, Fault> {
    let name = &run.name;
    let expected = (0..).take(steps.len());
    if !expected.eq(steps.iter().copied()) {
        return Err(format!("{name}: heard out of order, or twice: {steps:?}"));
    }
    let heard = u32::try_from(steps.len()).unwrap();
    // It may have died between a record and its ledger's line.
    if heard > run.wrote + 1 {
        return Err(format!(
            "{name}: wrote {} and {heard} were heard",
            run.wrote
        ));
    }
    let Some(missing) = run.wrote.checked_sub(heard).filter(|missing| *missing > 0) else {
        return Ok(0);
    };
    // Its own: that of the process after it names it, too, in what it was told of the one before.
    let spool = spools
        .iter()
        .find(|spool| spool.text.contains(&payload(name, 0)));
    let read = spool.map_or(0, |spool| spool.lines_of(name));
    if spool.is_some_and(|spool| spool.ended) || read > heard {
        return Err(format!(
            "{name}: {missing} of {} steps are lost; {read} of them are in the spool",
            run.wrote
        ));
    }
    Ok(missing as usize)
}

/// The bytes that a shim read, and whether it lived to the end.
struct Spool {
    text: String,
    ended: bool,
}

impl Spool {
    /// How many of the run's steps stand in whole lines.
    fn lines_of(&self, run: &str) -> u32 {
        let whole = self.text.rfind('\n').map_or(0, |end| end + 1);
        let holds = |step: &u32| self.text[..whole].contains(&payload(run, *step));
        let count = (0..u32::MAX).take_while(|step| holds(step)).count();
        u32::try_from(count).unwrap()
    }
}

fn spools(place: &Place) -> Vec<Spool> {
    let read = |folder: PathBuf| {
        let dir = RunDir::new(&folder);
        let bytes = fs::read(dir.spool()).unwrap_or_default();
        let phase = Status::read(&dir).ok().flatten().map(|status| status.phase);
        Spool {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            ended: matches!(phase, Some(Phase::Exited(_))),
        }
    };
    place.runs().into_iter().map(read).collect()
}

/// A prompt is told again only where the process that had it before showed nothing.
fn told_once(runs: &[Run], heard: &Heard) -> Result<(), Fault> {
    let mut worked: HashSet<&str> = HashSet::new();
    for run in runs {
        // A message of a person's is told together with the word that the turn was cut off.
        for prompt in run.prompt.split("\n\n") {
            if worked.contains(prompt) && !prompt.starts_with("Your previous turn") {
                return Err(format!("told again after it was taken up: {prompt}"));
            }
        }
        if heard.contains_key(&run.name) {
            worked.extend(run.prompt.split("\n\n"));
        }
    }
    Ok(())
}

/// In live form a message reaches a turn once, and a request has one answer, which is its own.
fn talked_once(runs: &[Run]) -> Result<(), Fault> {
    for run in runs {
        let name = &run.name;
        let mut heard = HashSet::from([run.prompt.as_str()]);
        if let Some(again) = run.heard.iter().find(|text| !heard.insert(text)) {
            return Err(format!("{name}: heard twice in one turn: {again}"));
        }
        let mut open: HashSet<&String> = run.asked.iter().collect();
        if let Some(stray) = run.answered.iter().find(|id| !open.remove(id)) {
            return Err(format!("{name}: an answer twice, or to nothing: {stray}"));
        }
    }
    Ok(())
}

async fn events(place: &Place) -> Result<Vec<Value>, Fault> {
    let fault = |error: &dyn std::fmt::Display| format!("the journal: {error}");
    let journal = Journal::open(&place.path("state/journal.db")).map_err(|error| fault(&error))?;
    let session = SESSION.parse().unwrap();
    let mut tail = journal.tail(&session, 0);
    let mut events = Vec::new();
    while let Some(batch) = tail.try_next().await.map_err(|error| fault(&error))? {
        let parse = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap();
        events.extend(batch.lines().map(parse));
    }
    drop(tail);
    journal.close().await;
    Ok(events)
}

/// `seq` without holes, ids once, one `end` a turn, one `agent_crashed` for a dead attempt.
fn stored_once(events: &[Value], scenario: Scenario) -> Result<(), Fault> {
    let mut ids = HashSet::new();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let mut crashes: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    let mut attempts: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if event["seq"] != index + 1 {
            return Err(format!("a hole before {event}"));
        }
        if !ids.insert(event["event_id"].as_str().unwrap()) {
            return Err(format!("stored twice: {event}"));
        }
        let Some(turn) = event["turn_id"].as_str() else {
            continue;
        };
        // A prompt that never ran has no attempt.
        let attempt = event["attempt"].as_u64().unwrap_or_default();
        let ended = *ends.entry(turn).or_default();
        if ended > 0 {
            return Err(format!("after the turn's end: {event}"));
        }
        attempts.insert(turn, attempt);
        match event["type"].as_str() {
            Some("end") => *ends.entry(turn).or_default() += 1,
            Some("agent_crashed") => *crashes.entry((turn, attempt)).or_default() += 1,
            _ if crashes.contains_key(&(turn, attempt)) && event["type"] != "prompt" => {
                return Err(format!("after the attempt's death: {event}"));
            }
            _ => {}
        }
    }
    if let Some((turn, count)) = ends.iter().find(|(_, count)| **count != 1) {
        return Err(format!("turn {turn} has {count} ends"));
    }
    if let Some((attempt, count)) = crashes.iter().find(|(_, count)| **count > 1) {
        return Err(format!("attempt {attempt:?} died {count} times"));
    }
    // Pauses and messages end attempts as well.
    let only_deaths = !matches!(
        scenario,
        Scenario::Pause | Scenario::Orders | Scenario::LiveOrders | Scenario::MessageBetween
    );
    for (turn, last) in attempts.into_iter().filter(|_| only_deaths) {
        let silent = (1..last).find(|attempt| !crashes.contains_key(&(turn, *attempt)));
        if let Some(attempt) = silent {
            return Err(format!(
                "attempt {attempt} of {turn} was followed by another without a word"
            ));
        }
    }
    Ok(())
}

/// The turns end well: the fresh prompt at least, and all of them where nobody cancelled any.
fn completed(events: &[Value], scenario: Scenario) -> Result<(), Fault> {
    let ends: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "end")
        .collect();
    let must = if scenario.completes() { ends.len() } else { 1 };
    let fault = ends
        .iter()
        .rev()
        .take(must)
        .find(|end| end["outcome"] != "completed");
    match fault {
        None => Ok(()),
        Some(end) => Err(format!("a turn did not complete: {end}")),
    }
}

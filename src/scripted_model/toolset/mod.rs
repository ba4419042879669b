//! From the script's vendor-neutral tools to the calls of the CLI that asks.
//!
//! Which CLI asks is told by the tools that it offers, not by the wire format: OpenCode and Pi speak
//! several. A tool that a CLI does not have is an error, never a call that it could not make sense
//! of; only `tool`, the CLI's own name, is passed on as it is.

mod claude;
mod codex;
mod gemini;
mod opencode;
mod patch;
mod pi;

pub(super) use codex::{WAIT, wait};

use serde_json::{Value, json};

use super::engine::Performance;
use super::script::{Pace, Step, Tool};

/// A tool call in a CLI's own words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// The group that the tool is in; only the Responses API has such.
    pub(super) namespace: Option<String>,
    /// Its name.
    pub(super) name: String,
    /// Its arguments.
    pub(super) input: Input,
}

/// A call's arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    /// A JSON object.
    Json(Value),
    /// Free text, for the custom tools of the Responses API.
    Text(String),
}

impl Call {
    fn json(name: &str, input: Value) -> Self {
        Self {
            namespace: None,
            name: name.to_owned(),
            input: Input::Json(input),
        }
    }

    fn text(name: &str, input: String) -> Self {
        Self {
            namespace: None,
            name: name.to_owned(),
            input: Input::Text(input),
        }
    }

    fn within(mut self, namespace: String) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// The arguments as JSON, whatever they are.
    pub(super) fn arguments(&self) -> Value {
        match &self.input {
            Input::Json(value) => value.clone(),
            Input::Text(text) => json!({"input": text}),
        }
    }
}

/// The CLIs whose tools are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cli {
    /// Claude Code 2.1.197.
    Claude,
    /// Codex 0.169.0.
    Codex,
    /// OpenCode 1.18.33.
    OpenCode,
    /// Gemini CLI 0.61.0.
    Gemini,
    /// Pi 0.74.2.
    Pi,
}

/// The script's step needs a tool that the CLI does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the script has a step `{step}`, but {cli:?} offers no tool for it; leave the step out or write a scenario for this CLI"
)]
pub(super) struct NoTool {
    step: &'static str,
    cli: Cli,
}

/// What a request offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Toolset {
    cli: Cli,
    offered: Vec<String>,
    /// What tools gave before, the latest last: patches need whole lines, which stand there.
    results: Vec<String>,
}

impl Toolset {
    /// The tools of these names; `usual` asks where they tell nothing.
    pub(super) fn new(offered: Vec<String>, results: Vec<String>, usual: Cli) -> Self {
        let cli = recognized(&offered).unwrap_or(usual);
        Self {
            cli,
            offered,
            results,
        }
    }

    /// Whether there is a tool of this name.
    pub(super) fn offers(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| offered == name)
    }

    /// Puts the steps of a performance into the CLI's words.
    pub(super) fn cast(&self, performance: &Performance) -> Result<Performance<Call>, NoTool> {
        let mut steps = performance
            .steps
            .iter()
            .map(|step| self.step(step))
            .collect::<Result<Vec<_>, _>>()?;
        if self.cli == Cli::Gemini && self.offers(gemini::COMPLETE) {
            gemini::complete(&mut steps);
        }
        Ok(Performance {
            id: performance.id,
            delay: performance.delay,
            steps,
            cut: performance.cut,
            stop: performance.stop,
            usage: performance.usage,
        })
    }

    fn step(&self, step: &Step) -> Result<Step<Call>, NoTool> {
        Ok(match step {
            Step::Say(text, pace) => Step::Say(text.clone(), *pace),
            Step::Think(text, pace) => Step::Think(text.clone(), *pace),
            Step::Call(tool, pace) => Step::Call(self.call(tool)?, *pace),
            Step::Wait(time) => Step::Wait(*time),
        })
    }

    fn call(&self, tool: &Tool) -> Result<Call, NoTool> {
        if let Tool::Native { name, input } = tool {
            return Ok(Call::json(name, input.clone()));
        }
        let call = match self.cli {
            Cli::Claude => claude::call(tool),
            Cli::Codex => codex::call(tool, self),
            Cli::OpenCode => opencode::call(tool, self),
            Cli::Gemini => gemini::call(tool),
            Cli::Pi => pi::call(tool),
        };
        call.ok_or(NoTool {
            step: tool.step(),
            cli: self.cli,
        })
    }
}

/// Tools that only one CLI has; the first match counts, so that those of Pi, which OpenCode has
/// too, come last.
const TELLING: [(Cli, &[&str]); 5] = [
    (Cli::Claude, &["Bash", "Read", "Edit", "Write", "Agent"]),
    (Cli::Codex, &["exec_command", "write_stdin", "exec"]),
    (
        Cli::Gemini,
        &["run_shell_command", "read_file", "write_file", "replace"],
    ),
    (
        Cli::OpenCode,
        &["task", "todowrite", "webfetch", "skill", "glob"],
    ),
    (Cli::Pi, &["bash", "read", "edit", "write"]),
];

fn recognized(offered: &[String]) -> Option<Cli> {
    let has = |name: &&str| offered.iter().any(|offered| offered == name);
    let mut clis = TELLING.iter();
    clis.find(|(_, names)| names.iter().any(has))
        .map(|(cli, _)| *cli)
}

/// A command line's word: as it is where a shell takes it so, else in single quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// For CLIs that read the web by command line.
fn download(url: &str) -> String {
    format!("curl -sSL {}", quoted(url))
}

/// A step's pace where the script has no such step.
const UNPACED: Pace = Pace {
    chunk: None,
    pause: std::time::Duration::ZERO,
};

#[cfg(test)]
mod tests;

//! Chooses the reply to a conversation. Pure: no I/O, no clock, no wire format.
//!
//! The latest prompt that a scenario matches governs, and the number of replies since then is the
//! index of the next one. So a follow-up prompt either starts its own scenario or goes on with the
//! one that is being played, and what a CLI says on its own ("continue", task notices) changes
//! nothing. A scenario without `match` counts from the start of the conversation.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::script::{Cut, Failure, Pace, Reply, Scenario, Script, Step, Stop, Tool, Usage};

/// What a model request shows of its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversation {
    /// Tells conversations apart whose prompts are equal (the CLI's session id).
    pub(super) id: String,
    /// In order.
    pub(super) turns: Vec<Turn>,
    /// The CLI's working directory.
    pub(super) cwd: Option<String>,
    /// A subagent's: only a scenario that matches its prompt applies. A script that starts a
    /// subagent would else start one in it again, without end.
    pub(super) subagent: bool,
}

/// A step of a conversation, as far as scripts care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Text that is not a tool's result.
    Prompt(String),
    /// Whatever the model answered.
    Reply,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// An HTTP error.
    Fail(Failure),
    /// A reply.
    Play(Performance),
}

/// A reply that is ready to be put into a vendor's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Performance<T = Tool> {
    /// The same for the same request of the same conversation, another for each repetition.
    pub(super) id: Uuid,
    /// Time before the first byte.
    pub(super) delay: Duration,
    /// What is sent: steps with their placeholders filled and their paths absolute.
    pub(super) steps: Vec<Step<T>>,
    /// How the stream is cut, when it is.
    pub(super) cut: Option<Cut>,
    /// Why the model stopped.
    pub(super) stop: Stop,
    /// The token counts.
    pub(super) usage: Usage,
}

impl Performance {
    /// A reply of one text.
    pub(super) fn text(id: Uuid, text: String) -> Self {
        Self {
            id,
            delay: Duration::ZERO,
            steps: vec![Step::Say(text, Pace::default())],
            cut: None,
            stop: Stop::EndTurn,
            usage: Usage::default(),
        }
    }
}

/// A reply names the working directory, which the request does not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the script uses {{{{cwd}}}}, but this request does not tell the working directory (the CLI does so in its own system prompt); write relative or absolute paths in {script}"
)]
pub(super) struct NoWorkingDirectory {
    script: String,
}

/// How often each request was made.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<Uuid, u32>);

impl Attempts {
    /// Counts a request; 0 is the first. Past the limit all counts are forgotten: a server that
    /// has seen that many requests plays failures again rather than grow without bound.
    pub(super) fn count(&mut self, request: Uuid) -> u32 {
        if self.0.len() >= ATTEMPTS_KEPT && !self.0.contains_key(&request) {
            self.0.clear();
        }
        let count = self.0.entry(request).or_default();
        let earlier = *count;
        *count = earlier.saturating_add(1);
        earlier
    }
}

/// Requests whose number is remembered: 24 bytes each, so about 2 MiB.
const ATTEMPTS_KEPT: usize = 65_536;

/// Identifies a request: equal for a repetition, different for everything else.
pub(super) fn request_id(conversation: &Conversation) -> Uuid {
    let mut name = conversation.id.clone();
    for turn in &conversation.turns {
        match turn {
            Turn::Prompt(text) => {
                name.push('\n');
                name.push_str(text);
            }
            Turn::Reply => name.push('\0'),
        }
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// What the script answers when this request was made `attempt` times before.
pub(super) fn answer(
    script: &Script,
    conversation: &Conversation,
    request: Uuid,
    attempt: u32,
) -> Result<Answer, NoWorkingDirectory> {
    let id = Uuid::new_v5(&request, &attempt.to_be_bytes());
    let Some(position) = position(script, conversation) else {
        let text = format!(
            "No scenario of {} matches this prompt. No model is behind this: it plays a script.",
            script.name
        );
        return Ok(Answer::Play(Performance::text(id, text)));
    };
    match position.scenario.replies.get(position.index) {
        Some(reply) => position.play(reply, script, conversation, id, attempt),
        None => Ok(Answer::Play(Performance::text(
            id,
            position.closing(script),
        ))),
    }
}

/// Where a conversation stands in a script.
struct Position<'a> {
    scenario: &'a Scenario,
    /// The reply that is next.
    index: usize,
    /// The prompt that chose the scenario.
    prompt: &'a str,
}

fn position<'a>(script: &'a Script, conversation: &'a Conversation) -> Option<Position<'a>> {
    let mut replies = 0;
    for turn in conversation.turns.iter().rev() {
        let Turn::Prompt(prompt) = turn else {
            replies += 1;
            continue;
        };
        let scenario = script.scenarios.iter().find(|scenario| {
            let wanted = scenario.matches.as_deref();
            wanted.is_some_and(|wanted| prompt.contains(wanted))
        });
        if let Some(scenario) = scenario {
            return Some(Position {
                scenario,
                index: replies,
                prompt,
            });
        }
    }
    let any = script.scenarios.iter().find(|s| s.matches.is_none());
    let first = conversation.turns.iter().find_map(|turn| match turn {
        Turn::Prompt(prompt) => Some(prompt.as_str()),
        Turn::Reply => None,
    });
    any.filter(|_| !conversation.subagent)
        .map(|scenario| Position {
            scenario,
            index: replies,
            prompt: first.unwrap_or_default(),
        })
}

impl Position<'_> {
    fn play(
        &self,
        reply: &Reply,
        script: &Script,
        conversation: &Conversation,
        id: Uuid,
        attempt: u32,
    ) -> Result<Answer, NoWorkingDirectory> {
        let failures = reply.failure.as_ref().map_or(Some(0), |f| limit(f.times));
        if let Some(failure) = &reply.failure
            && failures.is_none_or(|failures| attempt < failures)
        {
            return Ok(Answer::Fail(failure.clone()));
        }
        let since = attempt.saturating_sub(failures.unwrap_or(0));
        let cut = reply
            .cut
            .filter(|cut| limit(cut.times).is_none_or(|cuts| since < cuts));
        let filler = Filler {
            cwd: conversation.cwd.as_deref(),
            prompt: self.prompt,
        };
        let steps: Vec<Step> = reply
            .steps
            .iter()
            .map(|step| filler.step(step))
            .collect::<Option<_>>()
            .ok_or_else(|| NoWorkingDirectory {
                script: script.name.clone(),
            })?;
        let calls = steps.iter().any(|step| matches!(step, Step::Call(..)));
        let usual = if calls { Stop::ToolUse } else { Stop::EndTurn };
        Ok(Answer::Play(Performance {
            id,
            delay: reply.delay,
            steps,
            cut,
            stop: reply.stop.unwrap_or(usual),
            usage: reply.usage,
        }))
    }

    fn closing(&self, script: &Script) -> String {
        format!(
            "The script has no more replies for this conversation ({} were played). No model is behind this: it plays {}.",
            self.scenario.replies.len(),
            script.name
        )
    }
}

/// A number of times; none: always.
fn limit(times: Option<NonZeroU32>) -> Option<u32> {
    times.map(NonZeroU32::get)
}

/// Fills placeholders. Only the two names are known: scripts may contain other braces.
struct Filler<'a> {
    cwd: Option<&'a str>,
    prompt: &'a str,
}

impl Filler<'_> {
    /// None: the working directory is needed and not known.
    fn step(&self, step: &Step) -> Option<Step> {
        Some(match step {
            Step::Say(text, pace) => Step::Say(self.text(text)?, *pace),
            Step::Think(text, pace) => Step::Think(self.text(text)?, *pace),
            Step::Call(tool, pace) => Step::Call(self.tool(tool)?, *pace),
            Step::Wait(time) => Step::Wait(*time),
        })
    }

    fn tool(&self, tool: &Tool) -> Option<Tool> {
        Some(match tool {
            Tool::Shell { command } => Tool::Shell {
                command: self.text(command)?,
            },
            Tool::Read { path } => Tool::Read {
                path: self.path(path)?,
            },
            Tool::Write { path, content } => Tool::Write {
                path: self.path(path)?,
                content: self.text(content)?,
            },
            Tool::Edit { path, old, new } => Tool::Edit {
                path: self.path(path)?,
                old: self.text(old)?,
                new: self.text(new)?,
            },
            Tool::Fetch { url, question } => Tool::Fetch {
                url: self.text(url)?,
                question: self.text(question)?,
            },
            Tool::Agent { prompt, title } => Tool::Agent {
                prompt: self.text(prompt)?,
                title: self.text(title)?,
            },
            Tool::Mcp {
                server,
                tool,
                input,
            } => Tool::Mcp {
                server: server.clone(),
                tool: tool.clone(),
                input: self.json(input)?,
            },
            Tool::Native { name, input } => Tool::Native {
                name: name.clone(),
                input: self.json(input)?,
            },
        })
    }

    /// The prompt is filled in last, so that braces in it stay as they are.
    fn text(&self, text: &str) -> Option<String> {
        let text = if text.contains(CWD) {
            text.replace(CWD, self.cwd?)
        } else {
            text.to_owned()
        };
        Some(text.replace(PROMPT, self.prompt))
    }

    /// Tools are described to models as taking absolute paths; scripts are easier to read with
    /// relative ones, which stay as they are where the working directory is not told.
    fn path(&self, path: &str) -> Option<String> {
        let path = self.text(path)?;
        Some(match self.cwd {
            Some(cwd) if !path.starts_with('/') => {
                let relative = path.strip_prefix("./").unwrap_or(&path);
                format!("{}/{relative}", cwd.trim_end_matches('/'))
            }
            _ => path,
        })
    }

    fn json(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => items
                .iter()
                .map(|item| self.json(item))
                .collect::<Option<_>>()?,
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| Some((key.clone(), self.json(value)?)))
                .collect::<Option<serde_json::Map<_, _>>>()?
                .into(),
            other => other.clone(),
        })
    }
}

const CWD: &str = "{{cwd}}";
const PROMPT: &str = "{{prompt}}";

#[cfg(test)]
mod tests;

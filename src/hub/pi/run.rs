//! One prompt's run as viewers see it: model turns, messages and tool calls, always balanced.

use serde_json::{Value, json};

use super::diff;
use super::fields::{AgentEndFields, EndFields, Outcome, ResultFields, Shown, TurnEndFields};
use super::frame::{cut_strings, raw, set};
use super::message::{
    Assistant, Kind, Speaker, Stop, TRANSCRIPT_STRING, ToolMessage, Transcript, share, shortened,
    text_content, user,
};
use super::pending::{Pending, Target};
use super::sink::Sink;
use super::subagent::{self, SubAgents};
use super::text::{Growing, WINDOW, cut, cut_front};
use super::tools::translate;
use crate::event::Usage;
use crate::ids::TurnId;

/// The largest tool output in an event, in bytes and lines (the official lead's own limits).
const MAX_OUTPUT: usize = 200_000;
const MAX_OUTPUT_LINES: usize = 5_000;

/// How much of a text the begin of a tool's message and the turn's end repeat, in bytes: the
/// messages' own ends, which stand between them, say more.
const HINT: usize = 256;

/// What somebody says to the agent, and who, as the event has it.
type Words<'a> = (&'a str, Option<&'a str>);

/// Between `agent_start` and `agent_end`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) turn: Option<TurnId>,
    pub(super) attempt: Option<u32>,
    /// Model turns begun so far.
    turns: u64,
    model_turn: Option<ModelTurn>,
    transcript: Transcript,
    /// The turn's tokens so far, and how many of them messages have told.
    pub(super) total: Usage,
    told: Usage,
    pub(super) subagents: SubAgents,
    /// The crash that ended the run has been reported already.
    pub(super) crash_reported: bool,
    /// How the last message ended.
    last_stop: Option<Stop>,
    stamp: u64,
}

/// One model answer and its tools.
#[derive(Debug)]
struct ModelTurn {
    index: u64,
    open: Option<Assistant>,
    /// The last assistant message that is over, and the CLI's id of it.
    last: Option<(Value, Option<String>)>,
    tools: Vec<Tool>,
    results: Transcript,
}

/// A tool call that is under way.
#[derive(Debug)]
struct Tool {
    call: String,
    name: String,
    args: Value,
    output: Growing,
    /// What it changed in its file, where the CLI tells.
    diff: Option<String>,
}

impl Tool {
    /// The details of its end: of an edit, also what it changed.
    fn shown(&self, details: &Value, is_error: bool) -> Value {
        let mut shown = details.clone();
        let edited = (self.name == "edit" && !is_error)
            .then(|| diff::details(self.diff.as_deref(), &self.args))
            .flatten();
        if let (Some(fields), Some(edited)) = (shown.as_object_mut(), edited) {
            fields.extend(edited);
        }
        shown
    }
}

/// How a tool call ended.
pub(super) struct ToolResult<'a> {
    pub(super) output: &'a str,
    pub(super) is_error: bool,
    pub(super) exit_code: Option<i32>,
    pub(super) duration_ms: Option<u64>,
}

impl ToolResult<'_> {
    /// What viewers are told of it beside its output.
    fn details(&self, truncated: bool) -> Value {
        let mut details = json!({});
        if let Some(code) = self.exit_code {
            set(&mut details, "exitCode", code);
        }
        if let Some(ms) = self.duration_ms {
            set(&mut details, "duration", ms);
        }
        if truncated {
            set(&mut details, "truncated", true);
        }
        details
    }
}

impl Run {
    /// Begins a run; `prompt` is absent when its begin was not seen.
    pub(super) fn start(prompt: Option<Words<'_>>, out: &mut Sink<'_>) -> Self {
        if let Some((prompt, _)) = prompt {
            out.state(
                "before_agent_start",
                &json!({"prompt": prompt, "systemPrompt": "", "systemPromptOptions": {}}),
            );
        }
        out.state("agent_start", &json!({"agentName": "lead"}));
        let mut run = Self {
            turn: None,
            attempt: None,
            turns: 0,
            model_turn: None,
            transcript: Transcript::default(),
            total: Usage::default(),
            told: Usage::default(),
            subagents: SubAgents::default(),
            crash_reported: false,
            last_stop: None,
            stamp: 0,
        };
        if let Some(prompt) = prompt {
            run.user_message(prompt, out);
        }
        run
    }

    /// What a person said: at the run's begin, or in the middle of it (a steer).
    fn user_message(&mut self, (text, author): Words<'_>, out: &mut Sink<'_>) {
        self.model_turn(out);
        let id = out.next_id();
        let message = user(&id, self.next_stamp(out.at), text, author);
        self.transcript.push(shortened(&message));
        out.state("message_start", &Shown { message: &message });
        out.state("message_end", &Shown { message: &message });
    }

    /// A person has said something in the middle of the run. Calls that run go on running.
    pub(super) fn steered(&mut self, words: Words<'_>, by: &Speaker, out: &mut Sink<'_>) {
        self.end_message(by, Stop::Done, None, out);
        let is_answered = |turn: &ModelTurn| turn.tools.is_empty() && turn.last.is_some();
        if self.model_turn.as_ref().is_some_and(is_answered) {
            self.end_model_turn(by, out);
        }
        self.user_message(words, out);
    }

    /// A timestamp that no other message of the run has.
    fn next_stamp(&mut self, at: u64) -> u64 {
        self.stamp = at.max(self.stamp.saturating_add(1));
        self.stamp
    }

    fn model_turn(&mut self, out: &mut Sink<'_>) -> &mut ModelTurn {
        if self.model_turn.is_none() {
            let index = self.turns;
            self.turns += 1;
            let timestamp = self.next_stamp(out.at);
            out.state(
                "turn_start",
                &json!({"turnIndex": index, "timestamp": timestamp}),
            );
        }
        let index = self.turns.saturating_sub(1);
        self.model_turn.get_or_insert_with(|| ModelTurn {
            index,
            open: None,
            last: None,
            tools: Vec::new(),
            results: Transcript::default(),
        })
    }

    /// Whether the open message can take more of the CLI's message `native`.
    pub(super) fn continues(&self, native: Option<&str>) -> bool {
        let open = self.model_turn.as_ref().and_then(|t| t.open.as_ref());
        open.is_some_and(|open| {
            let other = matches!((&open.native, native), (Some(a), Some(b)) if a != b);
            !other && !open.is_full()
        })
    }

    /// Makes sure that a message is open that can take more of `native`.
    fn message(&mut self, native: Option<&str>, by: &Speaker, out: &mut Sink<'_>) {
        if self.continues(native) {
            return;
        }
        self.end_message(by, Stop::Done, None, out);
        // A new answer begins a new model turn, unless tools of the last one still run or it only
        // goes on with the message that it broke off for a tool call.
        let over = self.model_turn.as_ref().is_some_and(|turn| {
            turn.tools.is_empty()
                && turn
                    .last
                    .as_ref()
                    .is_some_and(|(_, last)| last.is_none() || last.as_deref() != native)
        });
        if over {
            self.end_model_turn(by, out);
        }
        self.model_turn(out);
        let id = out.next_id();
        let message = Assistant::new(id, self.next_stamp(out.at), native.map(str::to_owned));
        let so_far = message.so_far(by);
        out.state("message_start", &Shown { message: &so_far });
        self.model_turn(out).open = Some(message);
    }

    /// Adds a piece of the answer; returns what its delta adds to.
    pub(super) fn said(
        &mut self,
        (kind, text): (Kind, &str),
        native: Option<&str>,
        by: &Speaker,
        out: &mut Sink<'_>,
    ) -> Option<Target> {
        self.message(native, by, out);
        let open = self.model_turn.as_mut()?.open.as_mut()?;
        if open.native.is_none() {
            open.native = native.map(str::to_owned);
        }
        let block = open.push(kind, text);
        Some(Target::Message { kind, block })
    }

    /// The text of the CLI's message `native` was a draft.
    pub(super) fn retract(&mut self, native: &str, by: &Speaker, out: &mut Sink<'_>) {
        let open = self.model_turn.as_mut().and_then(|t| t.open.as_mut());
        if let Some(open) = open.filter(|o| o.native.as_deref() == Some(native)) {
            open.retract();
            out.state(
                "message_update",
                &json!({
                    "message": open.so_far(by),
                    "assistantMessageEvent": {"type": "text_end", "contentIndex": 0, "content": ""},
                }),
            );
        }
    }

    /// Ends the open message, if there is one.
    fn end_message(&mut self, by: &Speaker, stop: Stop, error: Option<&str>, out: &mut Sink<'_>) {
        let Some(turn) = self.model_turn.as_mut() else {
            return;
        };
        let Some(open) = turn.open.take() else {
            return;
        };
        let used = share(&self.total, &self.told);
        self.told = self.total.clone();
        self.last_stop = Some(stop);
        let message = open.ended(by, stop, error, &used);
        self.transcript.push(shortened(&message));
        out.state("message_end", &Shown { message: &message });
        turn.last = Some((message, open.native));
    }

    /// A tool call of the lead begins; the message that asks for it ends here.
    pub(super) fn tool_start(
        &mut self,
        call: &str,
        (name, input): (&str, &Value),
        by: &Speaker,
        out: &mut Sink<'_>,
    ) {
        if self.is_running(call) || self.subagents.has_call(call) {
            return;
        }
        let (name, args) = translate(name, input);
        self.message(None, by, out);
        if let Some(open) = self.model_turn.as_mut().and_then(|t| t.open.as_mut()) {
            open.push_tool_call(call, &name, &args);
        }
        self.end_message(by, Stop::ToolUse, None, out);
        out.state(
            "tool_execution_start",
            &json!({"toolCallId": call, "toolName": name, "args": args}),
        );
        out.state(
            "tool_call",
            &json!({"toolCallId": call, "toolName": name, "input": args}),
        );
        if name == "task" {
            self.subagents.start(call, &args, out);
        }
        self.model_turn(out).tools.push(Tool {
            call: call.to_owned(),
            name,
            args,
            output: Growing::default(),
            diff: None,
        });
    }

    /// A tool call of the sub-agent `task` begins.
    pub(super) fn call_start_below(
        &mut self,
        task: &str,
        call: &str,
        (name, input): (&str, &Value),
        out: &mut Sink<'_>,
    ) {
        if self.subagents.has_call(call) || self.is_running(call) {
            return;
        }
        let (name, args) = translate(name, input);
        self.subagents.call_start((task, call), (&name, &args), out);
        if name == "task" {
            self.subagents.start(call, &args, out);
        }
    }

    /// Whether `call` is a running call of the lead itself.
    pub(super) fn is_running(&self, call: &str) -> bool {
        let tools = self.model_turn.as_ref().map(|t| t.tools.as_slice());
        tools.unwrap_or_default().iter().any(|t| t.call == call)
    }

    /// A running call gave more output.
    pub(super) fn tool_output(&mut self, call: &str, text: &str) {
        let tools = self.model_turn.as_mut().map(|t| t.tools.as_mut_slice());
        let tool = tools.and_then(|tools| tools.iter_mut().find(|t| t.call == call));
        if let Some(tool) = tool {
            tool.output.push(text);
        }
    }

    /// A running call has changed a file.
    pub(super) fn changed(&mut self, call: &str, diff: &str) {
        let tools = self.model_turn.as_mut().map(|t| t.tools.as_mut_slice());
        let tool = tools.and_then(|tools| tools.iter_mut().find(|t| t.call == call));
        if let Some(tool) = tool.filter(|tool| tool.diff.is_none()) {
            tool.diff = Some(diff.to_owned());
        }
    }

    /// A running call is over. Its result is a message of its own, so what the agent said while
    /// the call ran ends before it; if the agent goes on with that, it is in a further message.
    pub(super) fn tool_end(
        &mut self,
        call: &str,
        result: &ToolResult<'_>,
        by: &Speaker,
        out: &mut Sink<'_>,
    ) {
        let Some(turn) = self.model_turn.as_mut() else {
            return;
        };
        let Some(at) = turn.tools.iter().position(|t| t.call == call) else {
            return;
        };
        let tool = turn.tools.remove(at);
        self.end_message(by, Stop::Done, None, out);
        self.subagents
            .end(call, result.output, result.is_error, out);
        let output = bounded_output(result.output);
        let details = result.details(output.len() != result.output.len());
        let is_error = result.is_error;
        // The remote TUI shows what the tool's end says. What else repeats it is for the record,
        // or for the outline of what was done: official viewers read no more of it than that.
        let content = text_content(&output);
        let shortened = text_content(&cut(result.output, TRANSCRIPT_STRING));
        let hint = text_content(&cut(result.output, HINT));
        out.state(
            "tool_result",
            &ResultFields {
                tool_call_id: call,
                tool_name: &tool.name,
                input: &tool.args,
                content: &shortened,
                is_error,
                details: &details,
            },
        );
        out.state(
            "tool_execution_end",
            &EndFields {
                tool_call_id: call,
                tool_name: &tool.name,
                is_error,
                result: Outcome {
                    content: &content,
                    details: &tool.shown(&details, is_error),
                },
            },
        );
        let (id, stamp) = (out.next_id(), self.next_stamp(out.at));
        let message = |content| {
            let by = (
                &*cut(call, TRANSCRIPT_STRING),
                &*cut(&tool.name, TRANSCRIPT_STRING),
            );
            raw(&ToolMessage::new(
                (&id, stamp),
                by,
                content,
                (is_error, &details),
            ))
        };
        let (hint, message) = (message(&hint), message(&shortened));
        out.state("message_start", &Shown { message: &hint });
        out.state("message_end", &Shown { message: &message });
        self.transcript.push(message);
        self.model_turn(out).results.push(hint);
    }

    /// Closes all that is open, and the run. That it was aborted is said by a message, as Pi does:
    /// viewers look nowhere else for it.
    pub(super) fn finish(
        mut self,
        by: &Speaker,
        stop: Stop,
        error: Option<&str>,
        out: &mut Sink<'_>,
    ) {
        self.close(by, stop, error, out);
        if stop == Stop::Aborted && self.last_stop != Some(stop) {
            self.message(None, by, out);
            self.end_message(by, stop, None, out);
            self.end_model_turn(by, out);
        }
        self.end(out);
    }

    /// Closes all that is open but the run itself.
    pub(super) fn close(
        &mut self,
        by: &Speaker,
        stop: Stop,
        error: Option<&str>,
        out: &mut Sink<'_>,
    ) {
        let message_open = |run: &Self| run.model_turn.as_ref().is_some_and(|t| t.open.is_some());
        // What went wrong, and tokens that no message has told, need a message to say it.
        let to_say = error.is_some() || self.total != self.told;
        let mut said = message_open(self);
        self.end_message(by, stop, error, out);
        while let Some(tool) = self.model_turn.as_ref().and_then(|t| t.tools.first()) {
            let call = tool.call.clone();
            let output = format!("{}[interrupted]", tool.output.recent());
            let result = ToolResult {
                output: &output,
                is_error: true,
                exit_code: None,
                duration_ms: None,
            };
            self.tool_end(&call, &result, by, out);
        }
        self.subagents.close(out);
        let unanswered = self.model_turn.as_ref().is_some_and(|t| t.last.is_none());
        if unanswered || (to_say && !said) {
            self.message(None, by, out);
            self.end_message(by, stop, error, out);
            said = true;
        }
        if said || self.model_turn.is_some() {
            self.end_model_turn(by, out);
        }
    }

    fn end_model_turn(&mut self, by: &Speaker, out: &mut Sink<'_>) {
        let Some(turn) = self.model_turn.take() else {
            return;
        };
        let mut message = match turn.last {
            Some((message, _)) => message,
            None => Assistant::new(out.next_id(), self.next_stamp(out.at), None).so_far(by),
        };
        // Its own end has said it; viewers look here for what went wrong, which stays.
        if let Some(content) = message.get_mut("content") {
            cut_strings(content, HINT);
        }
        out.state(
            "turn_end",
            &TurnEndFields {
                turn_index: turn.index,
                message: &message,
                tool_results: turn.results.messages(),
            },
        );
    }

    /// Ends the run; everything else is closed before.
    pub(super) fn end(self, out: &mut Sink<'_>) {
        let omitted = self.transcript.omitted();
        out.state(
            "agent_end",
            &AgentEndFields {
                agent_name: "lead",
                messages: self.transcript.messages(),
                omitted_messages: (omitted > 0).then_some(omitted),
            },
        );
    }

    /// The event and fields of joined deltas.
    pub(super) fn delta(&self, pending: &Pending, by: &Speaker) -> Option<(&'static str, Value)> {
        let turn = self.model_turn.as_ref();
        match &pending.target {
            Target::Message { kind, block } => {
                let open = turn?.open.as_ref()?;
                let fields = json!({
                    "message": open.so_far(by),
                    "assistantMessageEvent": {
                        "type": kind.delta(), "contentIndex": block, "delta": pending.text,
                    },
                });
                Some(("message_update", fields))
            }
            Target::Task { task, agent, kind } => Some((
                "agent_progress",
                subagent::delta(task, agent, *kind, &pending.text),
            )),
            Target::Tool { call } => {
                let tool = turn?.tools.iter().find(|t| t.call == *call)?;
                let text = cut_front(&tool.output.recent(), WINDOW + 64);
                let fields = json!({
                    "toolCallId": call, "toolName": tool.name, "args": tool.args,
                    "partialResult": {"content": [{"type": "text", "text": text}]},
                });
                Some(("tool_execution_update", fields))
            }
        }
    }
}

/// Output within the limits of an event: its head, and how much is missing.
fn bounded_output(output: &str) -> String {
    let lines_end = memchr::memchr_iter(b'\n', output.as_bytes()).nth(MAX_OUTPUT_LINES - 1);
    cut(
        output,
        lines_end.map_or(MAX_OUTPUT, |end| MAX_OUTPUT.min(end + 1)),
    )
}

//! The mapper: takes events in order of `seq`, gives frames.

use serde_json::{Value, json};

use super::frame::{Frame, set};
use super::message::{Kind, Speaker, Stop};
use super::pending::{MAX_JOINED, Pending, Target};
use super::run::{Run, ToolResult};
use super::sink::Sink;
use super::text::cut;
use crate::event::{Envelope, Event, Header, NoticeLevel, Outcome, ToolStream, TurnError};
use crate::image::named;

/// The longest line of process output, in bytes.
const MAX_LINE: usize = 4 * 1024;
/// What viewers see of a call that was cut off.
const INTERRUPTED: &str = "interrupted: the agent's process ended before this call did";

/// Maps one session's events. To go on in the middle of a turn, map the turn from its first event
/// and throw away the frames that were sent before.
#[derive(Debug, Default)]
pub struct Mapper {
    speaker: Speaker,
    run: Option<Run>,
    pending: Option<Pending>,
}

impl Mapper {
    /// A mapper that stands before a turn's first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether joined deltas wait for [`Mapper::flush`].
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Appends the frame of the joined deltas, if any. To be called when 30 to 50 ms have passed
    /// since they began, or when nothing follows.
    pub fn flush(&mut self, frames: &mut Vec<Frame>) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let fields = match (&self.run, &pending.target) {
            (Some(run), _) => run.delta(&pending, &self.speaker),
            (None, _) => None,
        };
        if let Some((event, fields)) = fields {
            frames.push(pending.into_frame(event, &fields));
        }
    }

    /// Takes the next event; appends the frames that are due now.
    pub fn map(&mut self, envelope: &Envelope, frames: &mut Vec<Frame>) {
        let Envelope { header, event } = envelope;
        let mut out = Sink::new(header, frames);
        self.enter(header, event, &mut out);
        match event {
            Event::Token {
                text,
                message_id,
                parent_call_id,
            } => self.said(
                Kind::Text,
                text,
                (message_id, parent_call_id),
                header,
                &mut out,
            ),
            Event::Thinking {
                text,
                message_id,
                parent_call_id,
            } => self.said(
                Kind::Thinking,
                text,
                (message_id, parent_call_id),
                header,
                &mut out,
            ),
            Event::ToolDelta {
                call_id,
                stream: ToolStream::Output,
                text,
            } => self.tool_output(call_id, text, &mut out),
            other => {
                self.flush(out.frames);
                self.step(header, other, &mut out);
            }
        }
    }

    /// Everything but streamed pieces.
    fn step(&mut self, header: &Header, event: &Event, out: &mut Sink<'_>) {
        match event {
            Event::Prompt {
                text,
                author,
                images,
                ..
            } => {
                // Without the bytes, which would go to every viewer and into every history.
                let text = named(text, images);
                self.prompt(header, (&text, author.as_deref()), out);
            }
            Event::Session { model, .. } => self.speaker.model.clone_from(model),
            Event::TextRetracted { message_id } => {
                if let Some(run) = &mut self.run {
                    run.retract(message_id, &self.speaker, out);
                }
            }
            Event::ToolStart {
                call_id,
                name,
                input,
                parent_call_id,
                ..
            } => {
                let run = self.run.get_or_insert_with(|| begin(header, out));
                match parent_call_id {
                    None => run.tool_start(call_id, (name, input), &self.speaker, out),
                    Some(task) => run.call_start_below(task, call_id, (name, input), out),
                }
            }
            Event::ToolEnd { .. } => self.tool_end(header, event, out),
            Event::FileChange {
                call_id: Some(call),
                diff: Some(diff),
                ..
            } => {
                if let Some(run) = &mut self.run {
                    run.changed(call, diff);
                }
            }
            Event::Usage(usage) => {
                if let Some(run) = &mut self.run {
                    run.total = usage.clone();
                }
            }
            Event::AgentCrashed {
                message,
                exit_code,
                signal,
                will_resume,
                ..
            } => self.crashed(message, (*exit_code, *signal), *will_resume, out),
            Event::End { outcome, error, .. } => self.ended(*outcome, error.as_ref(), out),
            other => aside(other, out),
        }
    }

    /// Notices a new turn or attempt: what the last one left open is over.
    fn enter(&mut self, header: &Header, event: &Event, out: &mut Sink<'_>) {
        self.speaker.agent.clone_from(&header.agent);
        let Some(run) = &self.run else {
            return;
        };
        let other_turn = header.turn_id.is_some() && header.turn_id != run.turn;
        let other_attempt =
            header.attempt.is_some() && run.attempt.is_some() && header.attempt != run.attempt;
        // A verdict closes what is open by itself, and knows better why.
        let verdict = matches!(event, Event::End { .. } | Event::AgentCrashed { .. });
        if other_turn || (other_attempt && !verdict) {
            self.flush(out.frames);
            if let Some(run) = &mut self.run {
                run.close(&self.speaker, Stop::Aborted, None, out);
            }
        }
        if other_turn && let Some(run) = self.run.take() {
            run.end(out);
        }
        if let Some(run) = &mut self.run {
            run.attempt = header.attempt.or(run.attempt);
        }
    }

    fn prompt(
        &mut self,
        header: &Header,
        (text, author): (&str, Option<&str>),
        out: &mut Sink<'_>,
    ) {
        if let Some(run) = &mut self.run {
            // A steer: the run goes on with what a person just said. One that has interrupted the
            // agent comes with a new attempt, and what was open is closed by now.
            run.steered((text, author), &self.speaker, out);
        } else {
            // The turn's own records say which model it is: nothing may depend on earlier turns.
            self.speaker.model = None;
            let mut run = Run::start(Some((text, author)), out);
            (run.turn, run.attempt) = (header.turn_id, header.attempt);
            self.run = Some(run);
        }
    }

    fn said(
        &mut self,
        kind: Kind,
        text: &str,
        (native, task): (&Option<String>, &Option<String>),
        header: &Header,
        out: &mut Sink<'_>,
    ) {
        if text.is_empty() {
            return;
        }
        let native = native.as_deref();
        let goes_on = self.run.as_ref().is_some_and(|r| r.continues(native));
        if task.is_none() && !goes_on {
            self.flush(out.frames);
        }
        let run = self.run.get_or_insert_with(|| begin(header, out));
        let target = if let Some(task) = task {
            let agent = run.subagents.agent(task);
            let task = task.clone();
            Some(Target::Task { task, agent, kind })
        } else {
            if self.pending.as_ref().is_some_and(|p| !p.is_block(kind)) {
                // The update shows the message as it is when it goes out: before this piece.
                self.flush(out.frames);
            }
            let run = self.run.as_mut();
            run.and_then(|run| run.said((kind, text), native, &self.speaker, out))
        };
        if let Some(target) = target {
            self.join(target, text, out);
        }
    }

    fn tool_output(&mut self, call: &str, text: &str, out: &mut Sink<'_>) {
        if let Some(run) = self.run.as_mut().filter(|r| r.is_running(call)) {
            run.tool_output(call, text);
            let target = Target::Tool {
                call: call.to_owned(),
            };
            self.join(target, text, out);
        }
    }

    fn join(&mut self, target: Target, text: &str, out: &mut Sink<'_>) {
        let id = out.next_id();
        match &mut self.pending {
            Some(pending) if pending.target == target => pending.join(text, id, out.seq),
            _ => {
                self.flush(out.frames);
                self.pending = Some(Pending::new(target, text, id, out.seq));
            }
        }
        if self
            .pending
            .as_ref()
            .is_some_and(|p| p.text.len() >= MAX_JOINED)
        {
            self.flush(out.frames);
        }
    }

    fn tool_end(&mut self, header: &Header, event: &Event, out: &mut Sink<'_>) {
        let Event::ToolEnd {
            call_id,
            name,
            output,
            is_error,
            exit_code,
            duration_ms,
        } = event
        else {
            return;
        };
        let run = self.run.get_or_insert_with(|| begin(header, out));
        if run.subagents.has_call(call_id) {
            let output = output.as_deref().unwrap_or_default();
            run.subagents.end(call_id, output, *is_error, out);
            run.subagents.call_end(call_id, out);
            return;
        }
        if !run.is_running(call_id) {
            // An end whose start was never seen is still worth showing, balanced.
            run.tool_start(call_id, (name, &Value::Null), &self.speaker, out);
        }
        let result = ToolResult {
            output: match output {
                Some(output) => output,
                // Only a call that its process did not live to finish ends like this.
                None if *is_error => INTERRUPTED,
                None => "",
            },
            is_error: *is_error,
            exit_code: *exit_code,
            duration_ms: *duration_ms,
        };
        run.tool_end(call_id, &result, &self.speaker, out);
    }

    fn crashed(
        &mut self,
        message: &str,
        (exit_code, signal): (Option<i32>, Option<i32>),
        will_resume: bool,
        out: &mut Sink<'_>,
    ) {
        if let Some(run) = &mut self.run {
            run.close(&self.speaker, Stop::Error, Some(message), out);
            run.crash_reported = !will_resume;
        }
        let mut fields = json!({"error": message, "willResume": will_resume});
        if let Some(code) = exit_code {
            set(&mut fields, "exitCode", code);
        }
        if let Some(signal) = signal {
            set(&mut fields, "signal", signal);
        }
        out.state("session_error", &fields);
    }

    fn ended(&mut self, outcome: Outcome, error: Option<&TurnError>, out: &mut Sink<'_>) {
        let Some(run) = self.run.take() else {
            return;
        };
        let reported = run.crash_reported;
        let stop = match outcome {
            Outcome::Completed => Stop::Done,
            Outcome::Cancelled => Stop::Aborted,
            _ => Stop::Error,
        };
        let failure = (stop == Stop::Error).then(|| {
            error.map_or_else(|| default_error(outcome).to_owned(), |e| e.message.clone())
        });
        let to_say = failure.as_deref().filter(|_| !reported);
        run.finish(&self.speaker, stop, to_say, out);
        if let Some(failure) = to_say {
            let mut fields = json!({"error": failure, "outcome": outcome});
            if let Some(error) = error {
                set(&mut fields, "class", json!(error.class));
            }
            out.state("session_error", &fields);
        }
    }
}

/// A run whose first event was not seen.
fn begin(header: &Header, out: &mut Sink<'_>) -> Run {
    let mut run = Run::start(None, out);
    (run.turn, run.attempt) = (header.turn_id, header.attempt);
    run
}

const fn default_error(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "the agent completed",
        Outcome::Failed => "the agent failed",
        Outcome::Cancelled => "the agent was interrupted",
        Outcome::TimedOut => "the agent ran out of time",
        Outcome::Crashed => "the agent crashed",
        Outcome::Incomplete => "the agent ended without saying that it had finished",
        Outcome::Unkillable => "the agent could not be stopped",
        Outcome::Unknown => "how the agent ended is not known",
    }
}

/// Events beside the conversation. What is not here has no frame that a viewer would understand.
fn aside(event: &Event, out: &mut Sink<'_>) {
    match event {
        Event::Setup { step, stream, text } => {
            out.state(
                "runtime_process_output",
                &process_output(step, stream, text),
            );
        }
        Event::Raw { stream, text, .. } => {
            let stream = json!(stream);
            let stream = stream.as_str().unwrap_or("stdout");
            out.delta(
                "runtime_process_output",
                &process_output("agent", stream, text),
            );
        }
        Event::Notice { level, code, text } => {
            let event = match level {
                NoticeLevel::Info => "runtime_process_output",
                NoticeLevel::Warning | NoticeLevel::Error => "runtime_process_error",
            };
            out.state(
                event,
                &json!({"message": cut(text, MAX_LINE), "code": code, "level": level}),
            );
        }
        Event::Report {
            path,
            ok,
            error,
            content,
            unchanged,
        } => out.state(
            if *ok {
                "runtime_process_output"
            } else {
                "runtime_process_error"
            },
            &report(path, error.as_deref(), *unchanged, content.as_deref()),
        ),
        Event::Gap {
            from_seq,
            to_seq,
            why,
        } => {
            let message = format!("events {from_seq} to {to_seq} cannot be had: {why}");
            out.state(
                "runtime_process_error",
                &json!({"message": message, "code": "gap"}),
            );
        }
        Event::Compaction {
            trigger,
            before_tokens,
            after_tokens,
        } => {
            let told = compaction(trigger.as_deref(), *before_tokens, *after_tokens);
            out.state("session_compact", &told);
        }
        _ => {}
    }
}

/// The CLI has shortened its conversation.
fn compaction(trigger: Option<&str>, before: Option<u64>, after: Option<u64>) -> Value {
    let mut entry = json!({"type": "compaction", "summary": ""});
    if let Some(before) = before {
        set(&mut entry, "tokensBefore", before);
    }
    if let Some(after) = after {
        set(&mut entry, "tokensAfter", after);
    }
    let why = trigger.map(|trigger| format!(" ({trigger})"));
    let message = format!("context compacted{}", why.unwrap_or_default());
    json!({"compactionEntry": entry, "fromExtension": false, "message": message})
}

/// An expected report, with as much of it as a line shows.
fn report(path: &str, error: Option<&str>, unchanged: bool, content: Option<&str>) -> Value {
    let message = match error {
        Some(error) => format!("the report {path} {error}"),
        None if unchanged => format!("the report {path} is as an earlier turn left it, and fits"),
        None => format!("the report {path} is there and fits"),
    };
    let mut told = json!({"message": cut(&message, MAX_LINE), "code": "report", "path": path});
    if let Some(content) = content {
        set(&mut told, "content", cut(content, MAX_LINE));
    }
    told
}

fn process_output(command: &str, stream: &str, text: &str) -> Value {
    let text = cut(text, MAX_LINE);
    json!({
        "runtime": {"command": command, "stream": stream},
        "stream": stream,
        "text": text,
    })
}

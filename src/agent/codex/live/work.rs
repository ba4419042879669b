//! What the agent does, from the notifications about it: text, calls, tokens.
//!
//! Sub-agents have threads of their own on the same connection; what happens there is told under
//! the call that began it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::items::{Call, calls, output};
use super::wire::{Item, Params, TokenUsage};
use crate::agent::lines::notice;
use crate::event::{Event, NoticeLevel, PlanItem, ToolStream, Usage};

/// How much of turns that are over is remembered because it may still be heard of: more than a turn
/// has open.
const LEFT: usize = 64;

/// The state of the work. All of it is in every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Work {
    /// Sub-agents' threads, with the calls that began them.
    children: BTreeMap<String, String>,
    /// Sub-agents' threads in which a turn runs, with that turn.
    #[serde(default)]
    running: BTreeMap<String, String>,
    /// Threads and items that went on when their turn was cut off: what comes of them is no turn's
    /// any more.
    #[serde(default)]
    left: VecDeque<String>,
    /// Messages that are being written: how much of each was told.
    messages: BTreeMap<String, usize>,
    /// Reasoning that is being streamed.
    thoughts: BTreeSet<String>,
    open: Vec<OpenCall>,
    usage: Usage,
    /// The tokens of each thread so far, to know news from repetition.
    totals: BTreeMap<String, u64>,
    /// The folder that it works in.
    pub(super) cwd: Option<String>,
    /// The agent said or did anything in this turn.
    pub(super) has_output: bool,
    /// The turn is to make the context shorter, and has not yet.
    #[serde(default)]
    shortens: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpenCall {
    item: String,
    /// It may go on when its turn is over: a command in its terminal, a sub-agent.
    #[serde(default)]
    outlives: bool,
    id: String,
    pub(super) name: String,
    pub(super) input: Value,
}

impl Work {
    /// A turn that says something, or one that only makes the context shorter.
    pub(super) fn turn_begins(&mut self, shortens: bool) {
        self.usage = Usage::default();
        self.has_output = false;
        self.shortens = shortens;
    }

    /// What is open will not end any more within the turn, but for what goes on in the background of
    /// one that ended well. What was being said when the turn was `cut` short was said; in a turn
    /// that ended by itself it was a draft.
    pub(super) fn turn_over(&mut self, cut: bool, out: &mut Vec<Event>) {
        self.drop_drafts(cut, out);
        self.thoughts.clear();
        let ends = |call: &OpenCall| cut || !call.outlives;
        let left = self.open.iter().filter(|call| ends(call));
        self.left.extend(left.map(|call| call.item.clone()));
        if cut {
            let threads = std::mem::take(&mut self.running);
            self.left.extend(threads.into_keys());
        }
        self.left.drain(..self.left.len().saturating_sub(LEFT));
        self.close(ends, cut, out);
        let usage = std::mem::take(&mut self.usage);
        if usage != Usage::default() {
            out.push(Event::Usage(usage));
        }
    }

    /// Whether commands and sub-agents go on that the turn has begun.
    pub(super) fn has_background(&self) -> bool {
        !self.running.is_empty() || self.open.iter().any(|call| call.outlives)
    }

    /// Sub-agents' threads in which a turn runs, with that turn.
    pub(super) fn running(&self) -> impl Iterator<Item = (&str, &str)> {
        let running = self.running.iter();
        running.map(|(thread, turn)| (thread.as_str(), turn.as_str()))
    }

    /// A request is made again: what it had begun to say comes again.
    pub(super) fn drop_drafts(&mut self, keep: bool, out: &mut Vec<Event>) {
        for (message_id, told) in std::mem::take(&mut self.messages) {
            if told > 0 && !keep {
                out.push(Event::TextRetracted { message_id });
            }
        }
    }

    /// The open calls of an item: one for each file of a patch, else one.
    pub(super) fn calls(&self, item: &str) -> impl Iterator<Item = &OpenCall> {
        self.open.iter().filter(move |call| call.item == item)
    }

    /// The open call of a tool, by its normalized name: the latest.
    pub(super) fn named(&self, tool: &str) -> Option<&str> {
        let mut open = self.open.iter().rev();
        open.find(|call| call.name == tool)
            .map(|call| call.id.as_str())
    }

    /// A notification about the work in a thread; `main` is the conversation's. The reason is for
    /// the case that no event comes of it; none for a method that is not known.
    pub(super) fn notified(
        &mut self,
        method: &str,
        params: &Params<'_>,
        main: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let thread = params.thread_id.as_deref();
        if thread.is_some_and(|thread| self.left.iter().any(|left| left == thread)) {
            return Some("its turn is over");
        }
        let parent = self.parent(thread.filter(|thread| main != Some(*thread)));
        let parent = parent.as_deref();
        match method {
            "item/agentMessage/delta" => self.token(params, parent, out)?,
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                let item = params.item_id.as_deref()?;
                self.thoughts.insert(item.to_owned());
                thinking(item, params.delta.as_deref()?, parent, out);
            }
            "item/reasoning/summaryPartAdded" => {
                if params.summary_index.is_some_and(|at| at > 0) {
                    thinking(params.item_id.as_deref()?, "\n\n", parent, out);
                }
            }
            "item/commandExecution/outputDelta" => self.output(params, out)?,
            "item/started" => return self.started(params.item.as_ref()?, parent, out),
            "item/completed" => return self.completed(params.item.as_ref()?, parent, out),
            "turn/plan/updated" if parent.is_none() => plan(params, out)?,
            "thread/tokenUsage/updated" => {
                self.tokens(thread?, params.token_usage.as_ref()?, parent.is_none(), out);
            }
            "turn/started" => {
                let turn = params.turn.as_ref()?.id.to_string();
                self.running.insert(thread?.to_owned(), turn);
                return Some("start of a sub-agent's turn");
            }
            "turn/completed" => self.child_ended(thread?, out),
            _ => return None,
        }
        Some("nothing new")
    }

    /// The call that a sub-agent's thread belongs to. One that nothing is known of yet is the
    /// latest that was begun.
    fn parent(&self, thread: Option<&str>) -> Option<String> {
        let thread = thread?;
        let latest = || {
            let mut tasks = self.open.iter().rev();
            tasks.find(|call| call.name == "task").map(|call| &call.id)
        };
        let known = self.children.get(thread).or_else(latest);
        Some(known.map_or_else(|| thread.to_owned(), Clone::clone))
    }

    fn token(
        &mut self,
        params: &Params<'_>,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<()> {
        let (item, text) = (params.item_id.as_deref()?, params.delta.as_deref()?);
        *self.messages.entry(item.to_owned()).or_default() += text.len();
        self.said(item, text, parent, out);
        Some(())
    }

    fn said(&mut self, item: &str, text: &str, parent: Option<&str>, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        self.has_output |= parent.is_none();
        out.push(Event::Token {
            text: text.to_owned(),
            message_id: Some(item.to_owned()),
            parent_call_id: parent.map(str::to_owned),
        });
    }

    /// Output of a command that its turn left running is nobody's any more.
    fn output(&self, params: &Params<'_>, out: &mut Vec<Event>) -> Option<()> {
        let Some(call) = self.calls(params.item_id.as_deref()?).next() else {
            return Some(());
        };
        out.push(Event::ToolDelta {
            call_id: call.id.clone(),
            stream: ToolStream::Output,
            text: params.delta.as_deref()?.to_owned(),
        });
        Some(())
    }

    fn started(
        &mut self,
        item: &Item<'_>,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        match &*item.kind {
            "userMessage" | "agentMessage" | "reasoning" | "contextCompaction" | "hookPrompt" => {
                return Some("start of an item: its end tells");
            }
            "subAgentActivity" if item.activity.as_deref() == Some("started") => {
                let thread = item.agent_thread_id.as_deref()?;
                self.children.insert(thread.to_owned(), item.id.to_string());
            }
            _ => {}
        }
        for call in calls(item, self.cwd.as_deref())? {
            self.begin(item, call, parent, out);
        }
        Some("an activity without a call")
    }

    fn completed(
        &mut self,
        item: &Item<'_>,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        match &*item.kind {
            "agentMessage" => {
                let text = item.text.as_deref().unwrap_or_default();
                let told = self.messages.remove(&*item.id).unwrap_or_default();
                self.said(&item.id, text.get(told..).unwrap_or_default(), parent, out);
                return Some("it was streamed already");
            }
            "contextCompaction" => {
                let asked = std::mem::take(&mut self.shortens);
                self.has_output |= asked;
                out.push(Event::Compaction {
                    trigger: asked.then(|| "manual".to_owned()),
                    before_tokens: None,
                    after_tokens: None,
                });
                return Some("");
            }
            "reasoning" => {
                if !self.thoughts.remove(&*item.id) {
                    let text = item.summary.as_ref()?.join("\n\n");
                    thinking(&item.id, &text, parent, out);
                }
                return Some("it was streamed already");
            }
            "userMessage" | "hookPrompt" | "subAgentActivity" => {
                return Some("it was told already");
            }
            _ => {}
        }
        if let Some(at) = self.left.iter().position(|left| *left == *item.id) {
            self.left.remove(at);
            return Some("its turn is over");
        }
        for thread in item.receiver_thread_ids.iter().flatten() {
            self.children.insert(thread.clone(), item.id.to_string());
        }
        for call in calls(item, self.cwd.as_deref())? {
            self.finish(item, call, parent, out);
        }
        // files that the patch began with and did not come to
        self.close(|open| open.item == *item.id, true, out);
        Some("")
    }

    fn begin(&mut self, item: &Item<'_>, call: Call, parent: Option<&str>, out: &mut Vec<Event>) {
        if self.open.iter().any(|open| open.id == call.id) {
            return;
        }
        self.has_output = true;
        self.open.push(OpenCall {
            item: item.id.to_string(),
            outlives: matches!(&*item.kind, "commandExecution" | "subAgentActivity"),
            id: call.id.clone(),
            name: call.name.clone(),
            input: call.input.clone(),
        });
        out.push(Event::ToolStart {
            call_id: call.id,
            name: call.name,
            native_name: call.native,
            input: call.input,
            parent_call_id: parent.map(str::to_owned),
        });
    }

    fn finish(
        &mut self,
        item: &Item<'_>,
        mut call: Call,
        parent: Option<&str>,
        out: &mut Vec<Event>,
    ) {
        let is_error = item
            .status
            .as_deref()
            .is_some_and(|status| status != "completed")
            || item.exit_code.is_some_and(|code| code != 0);
        let (call_id, name, change) = (call.id.clone(), call.name.clone(), call.change.take());
        self.begin(item, call, parent, out);
        self.open.retain(|open| open.id != call_id);
        if !is_error {
            out.extend(change);
        }
        out.push(Event::ToolEnd {
            call_id,
            name,
            output: output(item),
            is_error,
            exit_code: item.exit_code,
            duration_ms: item.duration_ms,
        });
    }

    /// A sub-agent that was only seen at work has ended.
    fn child_ended(&mut self, thread: &str, out: &mut Vec<Event>) {
        self.running.remove(thread);
        let Some(id) = self.children.get(thread) else {
            return;
        };
        if let Some(at) = self.open.iter().position(|call| call.id == *id) {
            let call = self.open.remove(at);
            out.push(ended(call, false));
        }
    }

    fn close(&mut self, which: impl Fn(&OpenCall) -> bool, is_error: bool, out: &mut Vec<Event>) {
        let closed = self.open.extract_if(.., |open| which(open));
        out.extend(closed.map(|call| ended(call, is_error)));
    }

    /// Each request to the model tells its own tokens, and sometimes tells them again.
    fn tokens(&mut self, thread: &str, usage: &TokenUsage, in_main: bool, out: &mut Vec<Event>) {
        let known = self.totals.insert(thread.to_owned(), usage.total.total);
        if known == Some(usage.total.total) {
            return;
        }
        let last = Usage::from(usage.last);
        let to = &mut self.usage;
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut to.input_tokens, last.input_tokens);
        add(&mut to.output_tokens, last.output_tokens);
        add(&mut to.cache_read_tokens, last.cache_read_tokens);
        add(&mut to.cache_write_tokens, last.cache_write_tokens);
        if in_main && usage.last.total > 0 {
            out.push(Event::Context {
                used_tokens: usage.last.total,
                max_tokens: usage.model_context_window,
            });
        }
    }
}

fn ended(call: OpenCall, is_error: bool) -> Event {
    Event::ToolEnd {
        call_id: call.id,
        name: call.name,
        output: None,
        is_error,
        exit_code: None,
        duration_ms: None,
    }
}

fn thinking(item: &str, text: &str, parent: Option<&str>, out: &mut Vec<Event>) {
    if !text.is_empty() {
        out.push(Event::Thinking {
            text: text.to_owned(),
            message_id: Some(item.to_owned()),
            parent_call_id: parent.map(str::to_owned),
        });
    }
}

fn plan(params: &Params<'_>, out: &mut Vec<Event>) -> Option<()> {
    let items = params.plan.as_ref()?.iter().map(|step| PlanItem {
        text: step.step.clone(),
        status: match step.status.as_str() {
            "inProgress" => "in_progress".to_owned(),
            other => other.to_owned(),
        },
    });
    out.push(Event::Plan {
        items: items.collect(),
    });
    Some(())
}

/// What the CLI wants a person to know.
pub(super) fn warning(text: &str) -> Event {
    notice(NoticeLevel::Warning, "agent_warning", text.to_owned())
}

//! `system` records: what the CLI says about itself, not about the work.

use super::record::{CompactBoundary, Init, RateLimitEvent, Retry, Task};
use super::{Claude, Session, calls};
use crate::agent::json::typed;
use crate::agent::lines::notice;
use crate::event::{Event, NoticeLevel, ToolStream};

impl Claude {
    /// `None` for a subtype that is not known, or not of the known shape.
    pub(super) fn system(
        &mut self,
        subtype: Option<&str>,
        line: &str,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        match subtype? {
            "init" => self.init(line, out),
            "api_retry" => retry(line, out),
            "compact_boundary" => compaction(line, out),
            "task_started" => {
                let task: Task<'_> = serde_json::from_str(line).ok()?;
                let owner = task.tool_use_id.map(|id| id.to_string());
                self.tasks.insert(task.task_id.to_string(), owner);
                Some("start of a task: its tool call tells")
            }
            "task_progress" => progress(line, out),
            "task_updated" => {
                let task: Task<'_> = serde_json::from_str(line).ok()?;
                let status = task.patch.and_then(|patch| patch.status);
                let over = ["completed", "failed", "killed", "stopped"];
                if status.is_some_and(|status| over.contains(&&*status)) {
                    self.tasks.remove(&*task.task_id);
                }
                Some("state of a task")
            }
            "task_notification" => {
                let task: Task<'_> = serde_json::from_str(line).ok()?;
                self.tasks.remove(&*task.task_id);
                Some("end of a task: its tool call tells")
            }
            "status" | "session_state_changed" => Some("status"),
            "thinking_tokens" => Some("estimate of tokens"),
            _ => None,
        }
    }

    /// Live form: in the middle of a turn it goes on with another model, and says nothing more of it.
    pub(super) fn switched(&self, model: &str) -> Option<Event> {
        let session = self.session.as_ref()?;
        Some(Event::Session {
            id: session.id.clone(),
            model: Some(model.to_owned()),
            cwd: session.cwd.clone(),
            tools: None,
            at_work: false,
        })
    }

    /// Written at the start, and again before each round: a turn of its own, or one that background
    /// work begins.
    pub(super) fn init(&mut self, line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
        let init: Init<'_> = serde_json::from_str(line).ok()?;
        self.terminal = None;
        self.api_error = None;
        self.has_answer = false;
        let known = self.introduced
            && self.session.as_ref().is_some_and(|session| {
                session.id == *init.session_id
                    && session.model.as_deref() == init.model.as_deref()
                    && session.cwd.as_deref() == init.cwd.as_deref()
            });
        if !known {
            let session = Session {
                id: init.session_id.to_string(),
                model: init.model.as_deref().map(str::to_owned),
                cwd: init.cwd.as_deref().map(str::to_owned),
            };
            out.push(Event::Session {
                id: session.id.clone(),
                model: session.model.clone(),
                cwd: session.cwd.clone(),
                tools: typed(init.tools),
                at_work: false,
            });
            self.session = Some(session);
            self.introduced = true;
        }
        Some("the same session goes on")
    }
}

fn progress(line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
    let task: Task<'_> = serde_json::from_str(line).ok()?;
    if let (Some(call), Some(text)) = (task.tool_use_id, task.description) {
        out.push(Event::ToolDelta {
            call_id: call.to_string(),
            stream: ToolStream::Output,
            text: format!("{}\n", &*text),
        });
    }
    Some("sign of life of a task")
}

fn retry(line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
    let retry: Retry<'_> = serde_json::from_str(line).ok()?;
    let error = retry.error.as_deref().unwrap_or("unknown");
    let status = retry.error_status.map(|status| format!(", HTTP {status}"));
    let text = format!(
        "the request to the model failed ({error}{}); retry {} of {} in {} ms",
        status.unwrap_or_default(),
        retry.attempt.unwrap_or(1),
        retry.max_retries.unwrap_or(1),
        calls::whole(retry.retry_delay_ms.unwrap_or(0.0)),
    );
    out.push(notice(NoticeLevel::Warning, "api_retry", text));
    Some("")
}

fn compaction(line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
    let record: CompactBoundary = serde_json::from_str(line).ok()?;
    out.push(Event::Compaction {
        trigger: record.compact_metadata.trigger,
        before_tokens: record.compact_metadata.pre_tokens,
        after_tokens: record.compact_metadata.post_tokens,
    });
    Some("")
}

/// `rate_limit_event`; the CLI tells seconds, events tell milliseconds.
pub(super) fn rate_limit(line: &str, out: &mut Vec<Event>) -> Option<&'static str> {
    let record: RateLimitEvent = serde_json::from_str(line).ok()?;
    let info = record.rate_limit_info;
    out.push(Event::RateLimit {
        status: info.status,
        resets_at: info.resets_at.map(|seconds| seconds.saturating_mul(1000)),
        window: info.rate_limit_type,
    });
    Some("")
}

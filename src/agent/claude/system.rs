//! `system` records: what the CLI says about itself, not about the work.

use super::record::{CompactBoundary, Init, RateLimitEvent, Record, Retry, Task};
use super::{Claude, Session, calls};
use crate::agent::lines::notice;
use crate::event::{Event, NoticeLevel, ToolStream};

impl Claude {
    /// `None` for a subtype that is not known, or not of the known shape.
    pub(super) fn system(
        &mut self,
        record: &Record<'_>,
        bytes: &[u8],
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        match record.subtype.as_deref()? {
            "init" => self.init(bytes, out),
            "api_retry" => retry(bytes, out),
            "compact_boundary" => compaction(bytes, out),
            "task_started" => {
                let task: Task<'_> = serde_json::from_slice(bytes).ok()?;
                let owner = task.tool_use_id.map(|id| id.to_string());
                self.tasks.insert(task.task_id.to_string(), owner);
                Some("start of a task: its tool call tells")
            }
            "task_progress" => progress(bytes, out),
            "task_updated" => {
                let task: Task<'_> = serde_json::from_slice(bytes).ok()?;
                let status = task.patch.and_then(|patch| patch.status);
                let over = ["completed", "failed", "killed", "stopped"];
                if status.is_some_and(|status| over.contains(&&*status)) {
                    self.tasks.remove(&*task.task_id);
                }
                Some("state of a task")
            }
            "task_notification" => {
                let task: Task<'_> = serde_json::from_slice(bytes).ok()?;
                self.tasks.remove(&*task.task_id);
                Some("end of a task: its tool call tells")
            }
            "status" | "session_state_changed" => Some("status"),
            "thinking_tokens" => Some("estimate of tokens"),
            _ => None,
        }
    }

    /// Written at the start, and again before each round that background work begins.
    fn init(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Option<&'static str> {
        let init: Init<'_> = serde_json::from_slice(bytes).ok()?;
        let session = Session {
            id: init.session_id.to_string(),
            model: init.model.as_deref().map(str::to_owned),
            cwd: init.cwd.as_deref().map(str::to_owned),
        };
        self.terminal = None;
        self.api_error = None;
        self.has_answer = false;
        if self.session.as_ref() != Some(&session) {
            out.push(Event::Session {
                id: session.id.clone(),
                model: session.model.clone(),
                cwd: session.cwd.clone(),
                tools: init.tools,
            });
            self.session = Some(session);
        }
        Some("the same session goes on")
    }
}

fn progress(bytes: &[u8], out: &mut Vec<Event>) -> Option<&'static str> {
    let task: Task<'_> = serde_json::from_slice(bytes).ok()?;
    if let (Some(call), Some(text)) = (task.tool_use_id, task.description) {
        out.push(Event::ToolDelta {
            call_id: call.to_string(),
            stream: ToolStream::Output,
            text: format!("{}\n", &*text),
        });
    }
    Some("sign of life of a task")
}

fn retry(bytes: &[u8], out: &mut Vec<Event>) -> Option<&'static str> {
    let retry: Retry<'_> = serde_json::from_slice(bytes).ok()?;
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

fn compaction(bytes: &[u8], out: &mut Vec<Event>) -> Option<&'static str> {
    let record: CompactBoundary = serde_json::from_slice(bytes).ok()?;
    out.push(Event::Compaction {
        trigger: record.compact_metadata.trigger,
        before_tokens: record.compact_metadata.pre_tokens,
        after_tokens: record.compact_metadata.post_tokens,
    });
    Some("")
}

/// `rate_limit_event`; the CLI tells seconds, events tell milliseconds.
pub(super) fn rate_limit(bytes: &[u8], out: &mut Vec<Event>) -> Option<&'static str> {
    let record: RateLimitEvent = serde_json::from_slice(bytes).ok()?;
    let info = record.rate_limit_info;
    out.push(Event::RateLimit {
        status: info.status,
        resets_at: info.resets_at.map(|seconds| seconds.saturating_mul(1000)),
        window: info.rate_limit_type,
    });
    Some("")
}

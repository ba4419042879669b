//! What Claude Code is told: requests of ours, answers to its own, messages.

use serde_json::{Map, Value, json};

use super::{ClaudeLive, HOOK, Owed, Reply, STOP_TASK, control};
use crate::agent::live::{Answer, Message, Phase, Refused};

impl ClaudeLive {
    pub(super) fn initialize(&self) -> Vec<u8> {
        let mut request = Map::new();
        request.insert("subtype".to_owned(), "initialize".into());
        if self.spec.asks {
            let hooks = json!({"PreToolUse": [{"hookCallbackIds": [HOOK]}]});
            request.insert("hooks".to_owned(), hooks);
        }
        if let Some(text) = &self.spec.system_prompt {
            request.insert("appendSystemPrompt".to_owned(), text.clone().into());
        }
        self.request(0, &Value::Object(request))
    }

    /// The `ahead`-th request from here on.
    pub(super) fn request(&self, ahead: u64, request: &Value) -> Vec<u8> {
        let id = format!("runner-{}", self.frames + ahead);
        let frame = json!({"type": "control_request", "request_id": id, "request": request});
        frame.to_string().into_bytes()
    }

    /// The turn, and the commands that it left in the background.
    pub(super) fn interrupt(&self) -> Result<Vec<Vec<u8>>, Refused> {
        let mut requests = Vec::new();
        let is_asked = self.ours.values().any(|what| what == "interrupt");
        if self.phase == Phase::Working && !is_asked {
            requests.push(json!({"subtype": "interrupt"}));
        }
        for task in self.claude.tasks.keys() {
            requests.push(json!({"subtype": STOP_TASK, "task_id": task}));
        }
        if requests.is_empty() && self.phase == Phase::Resting {
            return Err(Refused::Resting);
        }
        let numbered = (0..).zip(&requests);
        Ok(numbered
            .map(|(at, request)| self.request(at, request))
            .collect())
    }

    pub(super) fn answer(
        &self,
        request_id: &str,
        answer: &Answer,
    ) -> Result<Vec<Vec<u8>>, Refused> {
        let mut asked = self.asked.iter();
        let waiting = asked
            .find(|waiting| waiting.asked.request_id == request_id)
            .ok_or(Refused::NotAsked)?;
        let response = match answer {
            Answer::Allow { input } => {
                let input = input.as_ref().unwrap_or(&waiting.native_input);
                json!({"behavior": "allow", "updatedInput": input})
            }
            Answer::Deny { message } => json!({"behavior": "deny", "message": message}),
            Answer::Stop => json!({
                "behavior": "deny", "message": "The turn was ended.", "interrupt": true,
            }),
        };
        Ok(vec![control::success(request_id, &response)])
    }
}

impl Owed {
    pub(super) fn frame(&self) -> Vec<u8> {
        let decision = match &self.reply {
            Reply::Unknown(subtype) => return control::refusal(&self.request_id, subtype),
            Reply::Ask => "ask",
            Reply::Allow => "allow",
        };
        control::success(
            &self.request_id,
            &json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse", "permissionDecision": decision,
            }}),
        )
    }
}

pub(super) fn spoken(message: &Message) -> Vec<u8> {
    let images = message.images.iter().map(|image| {
        let source = json!({
            "type": "base64", "media_type": image.note().media_type, "data": image.base64(),
        });
        json!({"type": "image", "source": source})
    });
    let words = json!({"type": "text", "text": message.text});
    let content: Vec<Value> = images.chain([words]).collect();
    let frame = json!({
        "type": "user",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": null,
        "session_id": "",
        "uuid": message.id,
    });
    frame.to_string().into_bytes()
}

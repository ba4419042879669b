//! Frames and close codes of the Coder Hub's WebSocket, as both of its ends need them.
//!
//! Source: the public client packages `@agentuity/core` and `@agentuity/coder-tui` 2.0.21.
//! Unknown fields are tolerated everywhere and unknown frame types are never an error: the
//! official clients are just as lenient. Optional fields are absent, never null.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The header by which a lead tells a Hub on its own machine where it keeps its state, so that
/// it can be started again there. No part of the public protocol; browsers cannot send it.
pub const HOME_HEADER: &str = "x-agent-runner-state-dir";

/// Who a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    Lead,
    Observer,
    Controller,
    SubAgent,
}

/// The first frame that a client may send: credentials, with no `type`.
#[derive(Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AuthFrame {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
}

/// An event request: `{id, type: "event", event, data}`.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct EventFrame<'a> {
    pub id: &'a str,
    pub r#type: &'a str,
    pub event: &'a str,
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// The Hub's first frame to a lead or controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Init {
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<InitResume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<InitConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<String>,
    /// Everything else that the Hub says (`tools`, `agents`, `commands`, `model`, `label`, …).
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Where an earlier lead's session file lies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct InitResume {
    pub session_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pi_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// What the Hub adds to every run's system prompt.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct InitConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt_suffix: Option<String>,
}

/// A refusal before `init`, or an informational complaint after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Rejection {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// A WebSocket close code in the Hub's own range, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

#[allow(missing_docs)]
impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    pub const BAD_REQUEST: Self = Self(4400);
    pub const AUTH_REQUIRED: Self = Self(4401);
    pub const FORBIDDEN: Self = Self(4403);
    pub const SESSION_NOT_FOUND: Self = Self(4404);
    pub const UNAVAILABLE: Self = Self(4408);
    pub const SESSION_ACTIVE: Self = Self(4409);
    pub const STALE_DRIVER: Self = Self(4410);
    pub const RATE_LIMITED: Self = Self(4429);
    pub const INTERNAL_ERROR: Self = Self(4500);

    /// Whether a client must not simply reconnect: all of 4000–4999 but 4408 and 4429.
    pub const fn is_terminal(self) -> bool {
        matches!(self.0, 4000..=4999) && self.0 != 4408 && self.0 != 4429
    }

    /// Whether another driver leads the session.
    pub const fn is_fenced(self) -> bool {
        matches!(self.0, 4409 | 4410)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1000 => "normal",
            1001 => "going away",
            1006 => "connection lost",
            4400 => "bad request",
            4401 => "authentication required",
            4403 => "forbidden",
            4404 => "session not found",
            4408 => "unavailable",
            4409 => "session already has a lead",
            4410 => "superseded by another driver",
            4429 => "rate limited",
            4500 => "internal error",
            _ => return write!(f, "{}", self.0),
        };
        write!(f, "{} ({name})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hubs_own_codes_but_two_are_terminal() {
        for code in [4400, 4401, 4403, 4404, 4409, 4410, 4500, 4000, 4999] {
            assert!(CloseCode(code).is_terminal(), "{code}");
        }
        for code in [1000, 1001, 1006, 1011, 1012, 4408, 4429, 3999, 5000] {
            assert!(!CloseCode(code).is_terminal(), "{code}");
        }
    }

    #[test]
    fn an_init_keeps_what_it_does_not_know() {
        let init: Init = serde_json::from_str(
            r#"{"type":"init","role":"lead","sessionId":"s","task":"t","tools":[],"future":1}"#,
        )
        .unwrap();
        assert_eq!(init.session_id.as_deref(), Some("s"));
        assert_eq!(init.rest.get("future"), Some(&Value::from(1)));
    }
}

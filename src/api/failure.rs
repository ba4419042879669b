//! Why a request was not honoured: what, and what to do next.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::host::{CreateError, EndError};
use super::wire::Problem;
use crate::ids::SessionId;
use crate::journal::JournalError;
use crate::session::SessionError;

/// A request that was not honoured.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    status: StatusCode,
    problem: Box<Problem>,
}

impl Failure {
    pub(super) fn new(
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let problem = Problem {
            code: code.to_owned(),
            message: message.into(),
            hint: hint.into(),
            last_seq: None,
        };
        Self {
            status,
            problem: Box::new(problem),
        }
    }

    /// A part of the request that cannot be read.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let hint = "the API is described by GET /v1/openapi.json";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message, hint)
    }

    pub(super) fn unknown_session(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_session",
            format!("this daemon holds no session `{id}`"),
            "GET /v1/sessions lists those that it holds",
        )
    }

    pub(super) fn unknown_turn(session: &SessionId, turn: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_turn",
            format!("session {session} has no turn `{turn}`"),
            format!("GET /v1/sessions/{session}/turns lists those that it has"),
        )
    }

    pub(super) fn unknown_request(session: &SessionId, request: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_request",
            format!(
                "in session {session} no request `{request}` waits for an answer; it may have \
                 been answered or withdrawn"
            ),
            format!("GET /v1/sessions/{session}/requests lists those that wait"),
        )
    }

    pub(super) fn ahead(after: u64, last: u64) -> Self {
        let mut failure = Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "cursor_ahead",
            format!("the cursor {after} is beyond the session's last event, {last}"),
            format!("go on after {last}"),
        );
        failure.problem.last_seq = Some(last);
        failure
    }

    /// The daemon cannot do it now, and a client may ask again.
    pub(super) fn later(code: &str, message: impl Into<String>) -> Self {
        let hint = "ask again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, hint)
    }

    /// Nothing can be stored until there is room.
    fn no_room(message: impl Into<String>) -> Self {
        let hint = "ask again when there is room; `GET /v1/daemon` says how much there is";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_room", message, hint)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&*self.problem)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let second = header::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Closed => Self::later("stopping", "the daemon is stopping"),
            JournalError::Full(room) => Self::no_room(room.to_string()),
            error => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "journal",
                error.to_string(),
                "the daemon's log says more",
            ),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::EmptyPrompt => Self::invalid("the prompt is empty: say what to do"),
            SessionError::Journal(error) => error.into(),
            SessionError::Unfit(why) => Self::invalid(why),
            SessionError::NeedsLive => Self::new(
                StatusCode::CONFLICT,
                "needs_live",
                error.to_string(),
                "a session's form stays what it was started in",
            ),
            SessionError::NotSet { .. } => Self::new(
                StatusCode::CONFLICT,
                "not_set",
                error.to_string(),
                "GET the session's settings for what counts",
            ),
            error => Self::later("stopping", error.to_string()),
        }
    }
}

impl From<EndError> for Failure {
    fn from(error: EndError) -> Self {
        match error {
            EndError::Stopping => Self::later("stopping", error.to_string()),
            EndError::Journal(error) => error.into(),
        }
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        let (status, code, hint) = match &error {
            CreateError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_settings", SETTINGS),
            CreateError::Repo(_) => (StatusCode::UNPROCESSABLE_ENTITY, "repo", REPO),
            CreateError::Agent(_) => (StatusCode::UNPROCESSABLE_ENTITY, "agent", AGENT),
            CreateError::HubUnreachable(_) => (StatusCode::BAD_GATEWAY, "hub_unreachable", HUB),
            CreateError::HubRefused(_) => (StatusCode::BAD_GATEWAY, "hub_refused", HUB),
            CreateError::NoRoom(_) => return Self::no_room(error.to_string()),
            CreateError::Stopping => return Self::later("stopping", error.to_string()),
            CreateError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", LOG),
        };
        Self::new(status, code, error.to_string(), hint)
    }
}

const SETTINGS: &str = "settings have the keys of the config file";
const REPO: &str = "check the repository's address, branch and token";
const AGENT: &str = "`agent-runner doctor` says what is missing";
const HUB: &str = "check the daemon's Hub address, key and organization";
const LOG: &str = "the daemon's log says more";

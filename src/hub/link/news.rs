//! What the Hub says besides commands: what it makes of an event, what people answer, who comes.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::hub::inbound::Actions;
use crate::hub::pi::Frame;
use crate::hub::protocol::Role;

/// Frames of one connection whose answer decides something. More than the window holds: then the
/// Hub has long not answered the oldest.
const MAX_POINTS: usize = 1024;

/// Something that the Hub says.
#[derive(Debug)]
pub enum News {
    /// It answered an event: one that it may decide about, or with more than an acknowledgement.
    /// May come twice for one event. Where it is more, the event counts as delivered when
    /// [`super::LinkHandle::carried_out`] says so; until then it is sent again after a loss.
    Answered {
        /// The request's id, `<event_id>/<n>`.
        frame: String,
        /// What it may decide.
        point: Option<Point>,
        /// What it says.
        actions: Actions,
    },
    /// A controller answered a question; null where it has no answer.
    UiResponse {
        /// Which question.
        id: String,
        /// Its answer.
        result: Value,
    },
    /// Somebody has joined the session.
    Joined(Role),
    /// Somebody has given the session another name.
    Renamed(String),
}

/// A point at which the Hub may decide how the agent goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// A run is about to begin.
    Run,
    /// A tool was called.
    Call {
        /// The call.
        call_id: String,
    },
    /// A tool has given its result: nothing of the call can be held any more.
    Result {
        /// The call.
        call_id: String,
    },
}

/// A question to the session's controllers, or something that they are to show.
#[derive(Debug, Clone, PartialEq)]
pub struct UiRequest {
    /// By which it is answered.
    pub id: String,
    /// `confirm`, `select`, `input`, `notify`, `setStatus`.
    pub method: &'static str,
    /// As the method has them.
    pub params: Value,
}

/// The points that were sent on a connection and are not decided.
#[derive(Debug, Default)]
pub(super) struct Points(HashMap<String, Point>);

#[derive(Deserialize)]
struct Call {
    #[serde(rename = "toolCallId")]
    call_id: String,
}

fn called(frame: &Frame) -> Option<String> {
    let call: Call = serde_json::from_str(&frame.data).ok()?;
    Some(call.call_id)
}

impl Points {
    /// Notes a frame that goes out.
    pub(super) fn sent(&mut self, frame: &Frame) {
        let point = match frame.event {
            "before_agent_start" => Some(Point::Run),
            "tool_call" => called(frame).map(|call_id| Point::Call { call_id }),
            "tool_result" => called(frame).map(|call_id| Point::Result { call_id }),
            _ => None,
        };
        if let Some(point) = point {
            if self.0.len() >= MAX_POINTS {
                self.0.clear();
            }
            self.0.insert(frame.id.clone(), point);
        }
    }

    /// What an answer says, if it is more than an acknowledgement of something told.
    pub(super) fn answered(&mut self, frame: String, actions: Actions) -> Option<News> {
        let point = self.0.remove(&frame);
        (point.is_some() || !actions.is_plain()).then_some(News::Answered {
            frame,
            point,
            actions,
        })
    }
}

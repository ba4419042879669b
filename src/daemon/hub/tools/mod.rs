//! The Hub's own tools for the agent: an MCP server of the CLI's, answered by the Hub.
//!
//! ```text
//! CLI ── MCP ──► agent-runner hub-tools ── one request a connection ──► socket ──► Hub ──► RETURN
//! ```
//!
//! Only the agent's user is answered. A call is sent to the Hub once: where the connection is lost
//! meanwhile the model is told that it is not known whether the tool was run.

mod consent;
mod mcp;
mod relay;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::consent::People;
use self::mcp::{Asked, Call};
pub use self::relay::relay;
use crate::clock::Clock;
use crate::files;
use crate::hub::HubTool;
use crate::hub::link::{LinkHandle, ToolAnswer, ToolCall};
use crate::ids::SessionId;
use crate::private_socket::{Caller, PrivateSocket};
use crate::turn::TurnContext;

/// The name of the hidden command that is the server.
pub const HUB_TOOLS: &str = "hub-tools";

/// The server's name among the CLI's.
pub(in crate::daemon) const SERVER: &str = "coder_hub";
/// What the CLI's clients wait for an answer: as long as the slowest tool and the people who are
/// asked about what it has given.
pub(in crate::daemon) const TIMEOUT: Duration = Duration::from_mins(15);

/// The socket's name within its folder.
const SOCKET: &str = "tools.sock";
/// The longest request and answer, in bytes.
const LONGEST: u64 = 4 << 20;
/// Connections that are served at once; more wait to be taken.
const AT_ONCE: usize = 64;
/// How long a daemon that goes waits until it has told that nobody is asked any more: the next one
/// tells it else.
const PARTING: Duration = Duration::from_secs(1);

/// Answers the agent's CLI.
pub(in crate::daemon) struct HubTools {
    socket: PrivateSocket,
    tools: Vec<HubTool>,
    link: Arc<LinkHandle>,
    clock: Clock,
}

impl HubTools {
    /// Makes the socket in `folder`, for the agent's user.
    pub(in crate::daemon) fn open(
        folder: &Path,
        tools: Vec<HubTool>,
        link: Arc<LinkHandle>,
        clock: Clock,
        uid: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: PrivateSocket::open(folder, SOCKET, uid)?,
            tools,
            link,
            clock,
        })
    }

    /// Answers until `going`, in this session.
    pub(in crate::daemon) async fn serve(self, context: &TurnContext, going: &CancellationToken) {
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                () = going.cancelled() => break,
                caller = self.socket.accept(), if at_work.len() < AT_ONCE => {
                    at_work.push(self.answer(caller, context, going));
                }
                Some(answered) = at_work.next() => {
                    if let Err(error) = answered {
                        tracing::debug!(%error, "a call of a tool of the Hub got no answer");
                    }
                }
            }
        }
        let ends = async { while at_work.next().await.is_some() {} };
        if tokio::time::timeout(PARTING, ends).await.is_err() {
            tracing::warn!("calls of the Hub's tools are left without an end");
        }
    }

    /// Answers a request. Where the daemon goes, nothing is answered any more: whoever called
    /// hears from the connection's end that it is not known what became of it.
    async fn answer(
        &self,
        mut caller: Caller,
        context: &TurnContext,
        going: &CancellationToken,
    ) -> io::Result<()> {
        if !caller.is_own() {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let gone = || io::Error::from(io::ErrorKind::Interrupted);
        let request = going.run_until_cancelled(caller.request(LONGEST)).await;
        let answer = match mcp::read(&request.ok_or_else(gone)??, &self.tools) {
            Asked::Answer(answer) => answer,
            Asked::Call(call) => self.call(call, context, going).await.ok_or_else(gone)?,
            Asked::Nothing => return Ok(()),
        };
        let mut text = answer.to_string();
        text.push('\n');
        let answering = going.run_until_cancelled(caller.answer(text.as_bytes()));
        answering.await.ok_or_else(gone)?
    }

    /// What a call has come to; nothing where the daemon goes meanwhile.
    async fn call(
        &self,
        call: Call,
        context: &TurnContext,
        going: &CancellationToken,
    ) -> Option<Value> {
        let Call {
            id,
            name,
            told_as,
            params,
        } = call;
        let tool = self.tools.iter().find(|tool| tool.name == name);
        let limit = tool.map_or(Duration::ZERO, HubTool::limit);
        let call = ToolCall {
            id: self.clock.new_uuid().to_string(),
            name,
            told_as,
            params,
        };
        let calling = self.link.call_tool(call.clone(), limit);
        let result = match going.run_until_cancelled(calling).await? {
            Ok(ToolAnswer::Done(value)) => Ok(value),
            Ok(ToolAnswer::Refused(why)) => Err(why),
            Ok(ToolAnswer::Confirm(confirm, value)) => {
                let people = People {
                    context,
                    clock: self.clock,
                };
                let consented = people.consent(&call, confirm, going).await;
                consented.map(|()| value)
            }
            Err(error) => Err(error.to_string()),
        };
        Some(match result {
            Ok(value) => mcp::result(&id, &shown(value), false),
            Err(why) => mcp::result(&id, &why, true),
        })
    }
}

/// What an earlier daemon's calls have left is ended, as far as the journal takes it.
pub(in crate::daemon) async fn end_left(context: &TurnContext) {
    if let Err(error) = consent::end_left(context, context.clock).await {
        tracing::warn!(%error, "requests for consent of an earlier daemon are left without an end");
    }
}

/// A result as the official lead gives it to its model.
fn shown(value: Option<Value>) -> String {
    match value {
        None => "Done".to_owned(),
        Some(Value::String(text)) => text,
        Some(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
    }
}

/// The folder of a session's socket.
pub(in crate::daemon) fn folder(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("hub-tools").join(session.as_str())
}

/// Makes it, so that the agent's user gets through.
pub(in crate::daemon) fn make_folder(
    state_root: &Path,
    folder: &Path,
    is_other_user: bool,
) -> io::Result<()> {
    files::create_private_dir(folder)?;
    if is_other_user {
        files::let_pass(state_root, folder)?;
    }
    files::create_passable_dir(folder)
}

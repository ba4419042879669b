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

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use self::consent::People;
use self::mcp::{Asked, Call};
pub use self::relay::relay;
use crate::clock::Clock;
use crate::files;
use crate::hub::HubTool;
use crate::hub::link::{LinkHandle, ToolAnswer, ToolCall};
use crate::turn::TurnContext;

/// The name of the hidden command that is the server.
pub const HUB_TOOLS: &str = "hub-tools";

/// The server's name among the CLI's.
pub(super) const SERVER: &str = "coder_hub";
/// What the CLI's clients wait for an answer: as long as the slowest tool and the people who are
/// asked about what it has given.
pub(super) const TIMEOUT: Duration = Duration::from_mins(15);

/// The socket's name within its folder: an address holds 107 bytes only, so that it is reached by
/// way of a descriptor of the folder.
const SOCKET: &str = "tools.sock";
/// The longest request and answer, in bytes.
const LONGEST: u64 = 4 << 20;
/// Whoever asks writes at once.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Connections that are served at once; more wait to be taken.
const AT_ONCE: usize = 64;

/// Answers the agent's CLI.
pub(super) struct HubTools {
    listener: UnixListener,
    /// Held so that the socket's address stays good.
    _folder: File,
    tools: Vec<HubTool>,
    link: Arc<LinkHandle>,
    clock: Clock,
    /// The agent's user.
    uid: u32,
}

impl HubTools {
    /// Makes the socket in `folder`, for the agent's user.
    pub(super) fn open(
        folder: &Path,
        tools: Vec<HubTool>,
        link: Arc<LinkHandle>,
        clock: Clock,
        uid: u32,
    ) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let open = File::open(folder)?;
        let listener = UnixListener::bind(address(&open))?;
        // Who asks is known by the connection.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self {
            listener,
            _folder: open,
            tools,
            link,
            clock,
            uid,
        })
    }

    /// Answers until it is dropped, in this session.
    pub(super) async fn serve(self, context: Arc<TurnContext>) {
        let context = &*context;
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if at_work.len() < AT_ONCE => {
                    if let Ok((stream, _)) = accepted {
                        at_work.push(self.answer(stream, context));
                    }
                }
                Some(answered) = at_work.next() => {
                    if let Err(error) = answered {
                        tracing::debug!(%error, "a call of a tool of the Hub got no answer");
                    }
                }
            }
        }
    }

    async fn answer(&self, mut stream: UnixStream, context: &TurnContext) -> io::Result<()> {
        if stream.peer_cred()?.uid() != self.uid {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let mut request = Vec::new();
        let mut asked = (&mut stream).take(LONGEST);
        tokio::time::timeout(ASK_LIMIT, asked.read_to_end(&mut request)).await??;
        let answer = match mcp::read(&request, &self.tools) {
            Asked::Answer(answer) => answer,
            Asked::Call(call) => self.call(call, context).await,
            Asked::Nothing => return Ok(()),
        };
        let mut text = answer.to_string();
        text.push('\n');
        stream.write_all(text.as_bytes()).await
    }

    async fn call(&self, call: Call, context: &TurnContext) -> Value {
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
        let result = match self.link.call_tool(call.clone(), limit).await {
            Ok(ToolAnswer::Done(value)) => Ok(value),
            Ok(ToolAnswer::Refused(why)) => Err(why),
            Ok(ToolAnswer::Confirm(confirm, value)) => {
                let people = People {
                    context,
                    clock: self.clock,
                };
                people.consent(&call, confirm).await.map(|()| value)
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(value) => mcp::result(&id, &shown(value), false),
            Err(why) => mcp::result(&id, &why, true),
        }
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

fn address(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).into()
}

/// The folder of a session's socket, made so that the agent's user gets through.
pub(super) fn folder(
    state_root: &Path,
    state_dir: &Path,
    session: &str,
    is_other_user: bool,
) -> io::Result<PathBuf> {
    let folder = state_dir.join("hub-tools").join(session);
    files::create_private_dir(&folder)?;
    if is_other_user {
        files::let_pass(state_root, &folder)?;
    }
    files::create_passable_dir(&folder)?;
    Ok(folder)
}

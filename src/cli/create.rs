//! Asks the daemon of a state dir for a session: one request, one answer, one connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{CliError, Exit};
use crate::api::socket_path;
use crate::api::wire::{CreateAnswer, CreateRequest, Problem};

/// The daemon waits for its Hub at most, which its own settings limit; then it answers.
const PATIENCE: Duration = Duration::from_mins(10);

/// The session that the daemon has made.
pub(super) fn create_session(
    state_dir: &Path,
    request: &CreateRequest,
) -> Result<CreateAnswer, CliError> {
    let socket = socket_path(state_dir);
    let lost = |why: &dyn std::fmt::Display| {
        let message = format!(
            "the daemon at {} broke off: {why}; `agent-runner sessions` shows whether the session \
             was made",
            socket.display()
        );
        CliError::new(Exit::TryAgain, message)
    };
    let body = serde_json::to_vec(request).map_err(|error| lost(&error))?;
    let answer = exchange(&socket, &body).map_err(|error| lost(&error))?;
    let (status, body) = parts(&answer).ok_or_else(|| lost(&"its answer is not whole"))?;
    if (200..300).contains(&status) {
        return serde_json::from_slice(body).map_err(|error| lost(&error));
    }
    let problem: Problem = serde_json::from_slice(body).map_err(|error| lost(&error))?;
    let exit = match problem.code.as_str() {
        "invalid_settings" | "invalid_request" => Exit::Usage,
        "repo" => Exit::Repo,
        "agent" => Exit::Agent,
        "hub_unreachable" => Exit::HubUnreachable,
        "hub_refused" => Exit::HubRefused,
        "stopping" | "busy" => Exit::TryAgain,
        _ => Exit::Internal,
    };
    Err(CliError::new(exit, problem.message))
}

fn exchange(socket: &Path, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The status and the body of an answer that ends with its connection.
fn parts(answer: &[u8]) -> Option<(u16, &[u8])> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let at = memchr::memmem::find(answer, BLANK)?;
    let head = std::str::from_utf8(answer.get(..at)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.get(at + BLANK.len()..)?))
}

//! The MCP server that the agent's CLI starts: `agent-runner hub-tools`, which knows nothing.
//!
//! Each request goes over a connection of its own to the daemon's socket, and its answer back, so
//! that a daemon that is started again serves the same CLI: what it was asked while it was away
//! waits for it a while, what it was at work on is lost and told so.

use std::io::{self, BufRead, Read as _, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{LONGEST, SOCKET, TIMEOUT};
use crate::private_socket::{Connection, Door};

/// Requests at once; a further one waits with all behind it.
const AT_ONCE: usize = 32;
/// How long a daemon that is away is waited for, and how often it is looked for.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any tool may take, and people who are asked.
const ANSWER: Duration = TIMEOUT.saturating_add(Duration::from_mins(1));

/// Serves the requests of `input` until it ends; answers go to `out`.
pub fn relay(
    folder: &Path,
    input: &mut dyn BufRead,
    out: &mut (dyn Write + Send),
) -> io::Result<()> {
    let door = Door::open(folder, SOCKET)?;
    let (out, at_work) = (Mutex::new(out), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut *input).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let Some(id) = id_of(&line) else { continue };
            let (request, door, out, at_work) = (line.clone(), &door, &out, &at_work);
            let serve = move || {
                let answer = ask(door, &request).unwrap_or_else(|error| failed(&id, &error));
                at_work.fetch_sub(1, Ordering::SeqCst);
                if let Ok(mut out) = out.lock() {
                    // A client that does not read any more is gone.
                    drop(out.write_all(&answer).and_then(|()| out.flush()));
                }
            };
            if at_work.fetch_add(1, Ordering::SeqCst) < AT_ONCE {
                scope.spawn(serve);
            } else {
                serve();
            }
        }
    })
}

/// The id of a request; none for what wants no answer.
fn id_of(line: &[u8]) -> Option<Value> {
    let request: Value = serde_json::from_slice(line).ok()?;
    request.get("id").filter(|id| !id.is_null()).cloned()
}

fn ask(door: &Door, request: &[u8]) -> io::Result<Vec<u8>> {
    let answer = connect(door)?.ask(request, LONGEST, ANSWER)?;
    if answer.ends_with(b"\n") {
        return Ok(answer);
    }
    let why = "agent-runner was ended meanwhile: whether the tool was run is not known";
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
}

fn connect(door: &Door) -> io::Result<Connection> {
    let mut tries = 0;
    loop {
        match door.connect() {
            Err(_) if tries < PATIENCE => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                let why = format!("agent-runner is not there ({error}): the tool was not run");
                return Err(io::Error::new(error.kind(), why));
            }
            connected => return connected,
        }
    }
}

fn failed(id: &Value, error: &io::Error) -> Vec<u8> {
    let error = json!({"code": -32000, "message": error.to_string()});
    format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "error": error})).into_bytes()
}

//! What the daemon asks for over the control socket.

use base64::Engine as _;
use rustix::process::Signal;

use super::Shim;
use crate::ids::SpoolOffset;
use crate::shim::control::{Growth, Slot};
use crate::shim::stdin::StdinPipe;
use crate::spool::CONTRACT;
use crate::spool::control::{Command, Notice, Request};

/// What came of a request.
enum Outcome {
    Done,
    State(Growth),
    /// A frame was recorded: how long the output was then, and where its record ends.
    Sent {
        at: SpoolOffset,
        end: SpoolOffset,
    },
}

impl Shim {
    pub(super) fn obey(&mut self, slot: Slot, request: Result<Request, String>) {
        let request = match request {
            Ok(request) => request,
            Err(reason) => {
                return self
                    .control
                    .answer(slot, &Notice::Refused { id: 0, reason });
            }
        };
        crash_point!("shim.before_request");
        let id = request.id;
        let notice = match self.carry_out(slot, request.command) {
            Ok(Outcome::Done) => Notice::Done { id },
            Ok(Outcome::State(growth)) => Notice::State {
                id,
                spool_bytes: growth.bytes,
                held: growth.held,
            },
            Ok(Outcome::Sent { at, end }) => Notice::Sent {
                id,
                spool_bytes: at.get(),
                input_bytes: end.get(),
            },
            Err(reason) => Notice::Refused { id, reason },
        };
        self.control.answer(slot, &notice);
    }

    fn carry_out(&mut self, slot: Slot, command: Command) -> Result<Outcome, String> {
        match command {
            Command::Hello { contract: CONTRACT } => {
                let growth = self.growth();
                self.control.watch(slot, growth);
                return Ok(Outcome::State(growth));
            }
            Command::Hello { contract } => {
                return Err(format!(
                    "contract {contract} is unknown; this shim speaks {CONTRACT}"
                ));
            }
            Command::Stat => return Ok(Outcome::State(self.growth())),
            Command::Stop(how) => self.stop(how),
            Command::Signal { number } => {
                let signal = Signal::from_named_raw(number)
                    .ok_or_else(|| format!("{number} is not a signal"))?;
                self.send(signal, false);
            }
            Command::Stdin { data } => {
                let frame = base64::engine::general_purpose::STANDARD
                    .decode(data)
                    .map_err(|error| format!("the frame is not base64: {error}"))?;
                let at = SpoolOffset::new(self.output.bytes());
                let end = self.stdin_pipe()?.send(&frame, at)?;
                return Ok(Outcome::Sent { at, end });
            }
            Command::Sweep { since } => self.kill_since(since),
            Command::CloseStdin => self.stdin_pipe()?.close(),
            Command::Quota { bytes } => {
                self.output.set_quota(bytes);
                self.pump();
            }
        }
        Ok(Outcome::Done)
    }

    fn stdin_pipe(&mut self) -> Result<&mut StdinPipe, String> {
        self.stdin
            .as_mut()
            .ok_or_else(|| "stdin of this CLI is not a pipe".to_owned())
    }
}

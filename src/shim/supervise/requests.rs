//! What the daemon asks for over the control socket.

use base64::Engine as _;
use rustix::process::Signal;

use super::Shim;
use crate::ids::SpoolOffset;
use crate::shim::control::{Growth, Slot};
use crate::shim::stdin::StdinPipe;
use crate::spool::CONTRACT;
use crate::spool::control::{Command, Notice, Request};

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
            Ok(None) => Notice::Done { id },
            Ok(Some(growth)) => Notice::State {
                id,
                spool_bytes: growth.bytes,
                held: growth.held,
            },
            Err(reason) => Notice::Refused { id, reason },
        };
        self.control.answer(slot, &notice);
    }

    fn carry_out(&mut self, slot: Slot, command: Command) -> Result<Option<Growth>, String> {
        match command {
            Command::Hello { contract: CONTRACT } => {
                let growth = self.growth();
                self.control.watch(slot, growth);
                return Ok(Some(growth));
            }
            Command::Hello { contract } => {
                return Err(format!(
                    "contract {contract} is unknown; this shim speaks {CONTRACT}"
                ));
            }
            Command::Stat => return Ok(Some(self.growth())),
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
                self.stdin_pipe()?.send(&frame, at)?;
            }
            Command::CloseStdin => self.stdin_pipe()?.close(),
            Command::Quota { bytes } => {
                self.output.set_quota(bytes);
                self.pump();
            }
        }
        Ok(None)
    }

    fn stdin_pipe(&mut self) -> Result<&mut StdinPipe, String> {
        self.stdin
            .as_mut()
            .ok_or_else(|| "stdin of this CLI is not a pipe".to_owned())
    }
}

//! A PTY whose tty changes nothing on its way: raw from the start, sized before anyone looks.
//!
//! Only opened through portable-pty. Its `spawn_command` puts all three descriptors on the tty,
//! and its writer types a newline and an end-of-file into it when dropped (0.9.0): neither is used.

use std::io;
use std::os::fd::OwnedFd;

use portable_pty::{PtySize, native_pty_system};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::process::duplicate;
use crate::spool::Window;

/// Both ends of a PTY, closed on exec.
#[derive(Debug)]
pub(super) struct Pty {
    /// What the shim reads.
    pub(super) master: OwnedFd,
    /// What the CLI writes.
    pub(super) slave: OwnedFd,
}

impl Pty {
    pub(super) fn open(window: Window) -> io::Result<Self> {
        let pair = native_pty_system()
            .openpty(PtySize {
                rows: window.rows,
                cols: window.columns,
                pixel_width: 0,
                pixel_height: 0,
            })
            .map_err(io::Error::other)?;
        let master = pair.master.as_raw_fd().ok_or(io::ErrorKind::Unsupported)?;
        let master = duplicate(master)?;
        // portable-pty does not give out its slave end. Opened through the master it is the right
        // one even where /dev/pts is not mounted.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        // Cooked, the tty would echo input, cut lines at 4,096 bytes and write \n as \r\n.
        let mut termios = tcgetattr(&slave)?;
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios)?;
        Ok(Self { master, slave })
    }
}

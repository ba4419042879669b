//! What is there of a run's raw output when another daemon goes on with the run. Nobody but its shim
//! writes to it: where less is there than was read, somebody else took it, and that is told.

use std::path::Path;

use crate::ids::SpoolOffset;
use crate::spool::Tail;

/// What is left of it.
pub(in crate::turn) struct Left {
    /// Reads on; none where it cannot be read.
    pub(in crate::turn) tail: Option<Tail>,
    /// From where on.
    pub(in crate::turn) offset: SpoolOffset,
    /// What is missing, in words.
    pub(in crate::turn) lost: Option<String>,
}

impl Left {
    /// Looks for the output at `path`, which was read up to `read`. `runs`: its shim is there, and
    /// has made it.
    pub(in crate::turn) fn of(path: &Path, read: SpoolOffset, runs: bool) -> Self {
        let (mut tail, mut offset) = (None, read);
        let lost = match Tail::open(path, read).and_then(|tail| Ok((tail.lacks()?, tail))) {
            Ok((0, found)) => {
                tail = Some(found);
                None
            }
            Ok((bytes, mut found)) => {
                offset = SpoolOffset::new(read.get().saturating_sub(bytes));
                found.go_to(offset);
                tail = Some(found);
                Some(format!(
                    "the last {bytes} bytes that were read of it are gone; it is read on from its end"
                ))
            }
            // A shim that was killed early has made none.
            Err(error) => {
                (runs || read > SpoolOffset::START).then(|| format!("it cannot be read: {error}"))
            }
        };
        let path = path.display();
        let lost = lost.map(|what| {
            format!(
                "the agent's raw output {path} was cut, removed or replaced while no daemon was \
                 there: {what}. What the agent said meanwhile may be missing here"
            )
        });
        Self { tail, offset, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Appender;

    #[test]
    fn what_is_missing_is_told_and_what_is_there_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.raw");
        let at = SpoolOffset::new;
        assert!(Left::of(&path, SpoolOffset::START, false).lost.is_none());
        assert!(Left::of(&path, SpoolOffset::START, true).lost.is_some());
        let mut spool = Appender::open(&path).unwrap();
        spool.append(b"one two").unwrap();
        let mut whole = Left::of(&path, at(4), true);
        assert_eq!(whole.tail.as_mut().unwrap().read().unwrap(), b"two");
        assert!(whole.lost.is_none());
        let mut cut = Left::of(&path, at(9), true);
        assert_eq!(cut.offset, at(7));
        assert!(cut.lost.unwrap().contains("the last 2 bytes"));
        spool.append(b"three").unwrap();
        assert_eq!(cut.tail.as_mut().unwrap().read().unwrap(), b"three");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let replaced = Left::of(&path, at(4), false);
        assert!(replaced.tail.is_none() && replaced.lost.is_some());
    }
}

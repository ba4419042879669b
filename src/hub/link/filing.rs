//! The session file on the link: taken over from the Hub when the session is joined, and what of it
//! the Hub needs first on a connection.

use std::path::PathBuf;

use crate::hub::file::{Driver, MAX_FILE, SessionFile};
use crate::hub::outbox::{Filing, First};
use crate::hub::protocol::InitResume;
use crate::hub::rest::RestClient;
use crate::ids::{Seq, SessionId};

/// A file up to this size is sent whole where its delivery is not known; of a larger one, the lines
/// that may be missing are sent again.
const MAX_WHOLE: u64 = 1 << 20;

/// Where session files are kept, and whom to ask for one that is not there.
#[derive(Debug, Clone)]
pub struct SessionFiles {
    /// Their folder.
    pub folder: PathBuf,
    /// The Hub.
    pub rest: RestClient,
}

/// The session's file, from one connection to the next.
#[derive(Debug)]
pub(super) struct Kept {
    file: SessionFile,
    first: First,
}

impl Kept {
    /// Opens the file, and takes over what the Hub has of it.
    pub(super) async fn open(
        files: &SessionFiles,
        session: &SessionId,
        resume: Option<&InitResume>,
    ) -> std::io::Result<Self> {
        let mut file = SessionFile::open(&files.folder, session)?;
        let first = match resume {
            None if file.bytes() <= MAX_WHOLE => First::Whole,
            None => First::Beyond,
            Some(resume) => match found(files, session, resume).await {
                Some((path, content)) => First::Lines(file.adopt(path, &content)?),
                None => First::Beyond,
            },
        };
        Ok(Self { file, first })
    }

    /// Who led the session last.
    pub(super) fn driver(&self) -> Option<Driver> {
        self.file.driver().cloned()
    }

    /// For a connection to a Hub that has everything up to `acked`.
    pub(super) fn connect(&mut self, acked: Option<Seq>) -> Filing<'_> {
        let mut first = std::mem::take(&mut self.first);
        if matches!(first, First::Nothing) && self.file.through() > acked {
            first = if self.file.bytes() <= MAX_WHOLE {
                First::Whole
            } else {
                First::Beyond
            };
        }
        Filing {
            file: &mut self.file,
            first,
        }
    }
}

/// The file as the Hub has it; else as it lies where the Hub says.
async fn found(
    files: &SessionFiles,
    session: &SessionId,
    resume: &InitResume,
) -> Option<(String, String)> {
    match files.rest.session_file(session).await {
        Ok(Some(file)) => return Some((file.path, file.content)),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the Hub does not give the session file"),
    }
    let path = PathBuf::from(&resume.session_file);
    let size = path
        .metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)?
        .len();
    let fits = usize::try_from(size).is_ok_and(|size| size <= MAX_FILE);
    let content = fits
        .then(|| std::fs::read_to_string(&path).ok())
        .flatten()?;
    Some((resume.session_file.clone(), content))
}

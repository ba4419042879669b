//! A push by ssh: the same words as over HTTP, in one call.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use super::PushError;
use super::local::WorkerPush;
use super::receive::{self, NONE};
use crate::workspace::ssh::{Call, SshAddress};

/// The service that takes pushes.
const SERVICE: &str = "git-receive-pack";
/// As much as a server may say of its refs.
const LARGEST_ANSWER: u64 = 64 << 20;

/// The refs of a repository, by name.
pub(super) fn refs(address: &SshAddress) -> io::Result<Vec<(String, String)>> {
    let mut call = Call::begin(address, SERVICE)?;
    let refs = advertised(&mut call)?;
    // There is nothing to change.
    call.write_all(b"0000")?;
    Ok(refs)
}

/// Sends the pack, and has the branch moved.
pub(super) fn push(address: &SshAddress, job: &WorkerPush) -> io::Result<()> {
    let mut call = Call::begin(address, SERVICE)?;
    advertised(&mut call)?;
    let old = job.old.as_deref().unwrap_or(NONE);
    call.write_all(&receive::command(old, &job.new, &job.reference))?;
    let mut pack = File::open(&job.bundle)?;
    pack.seek(SeekFrom::Start(job.pack_at))?;
    io::copy(&mut pack, &mut call)?;
    call.flush()?;
    call.finish_writing();
    let mut answer = Vec::new();
    (&mut call).take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    receive::verdict(&answer, &job.reference).map_err(|error| words(&error))
}

/// What the other side begins with, up to its end.
fn advertised(call: &mut Call) -> io::Result<Vec<(String, String)>> {
    let mut said = Vec::new();
    loop {
        let mut digits = [0; 4];
        call.read_exact(&mut digits)?;
        said.extend_from_slice(&digits);
        let length = std::str::from_utf8(&digits).ok();
        let length = length.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match length {
            Some(0) => break,
            Some(length @ 4..) if (said.len() as u64) < LARGEST_ANSWER => {
                let read = call.take(length - 4).read_to_end(&mut said)?;
                if read as u64 != length - 4 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            _ => return Err(io::Error::other("its answer is none of git's")),
        }
    }
    let refs = receive::refs_in(&said)
        .map_err(|error| words(&error))?
        .into_iter();
    Ok(refs.map(|found| (found.name, found.commit)).collect())
}

fn words(error: &PushError) -> io::Error {
    io::Error::other(error.to_string())
}

//! A content of Git LFS on its way out of the workspace: read with the rights of its owner, and checked
//! against its pointer before anyone else gets it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::pointer::{ContentRequest, Pointer};
use super::receive::CHUNK;
use super::{PushError, apart, remove};
use crate::files;

/// Where contents come from, and where one is while it is sent.
#[derive(Debug, Clone)]
pub(super) struct Contents<'a> {
    pub(super) workspace: &'a Path,
    pub(super) temporary: PathBuf,
}

impl Contents<'_> {
    /// The content as its pointer says, and nothing else; it lies in the temporary file.
    pub(super) async fn checked(&self, pointer: &Pointer) -> Result<File, PushError> {
        remove(&self.temporary);
        let request = ContentRequest {
            workspace: self.workspace.to_owned(),
            pointer: pointer.clone(),
        };
        let file = files::create_private(&self.temporary)?;
        let copied = apart::content_apart(&request, file).await;
        copied.map_err(|error| PushError::Lfs(error.to_string()))?;
        let mut content = File::open(&self.temporary)?;
        let mut digest = Context::new(&SHA256);
        let mut chunk = vec![0; CHUNK];
        let mut size = 0;
        loop {
            let count = content.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            digest.update(chunk.get(..count).unwrap_or_default());
            // Others go on in between.
            tokio::task::yield_now().await;
        }
        if size != pointer.size || hex(digest.finish().as_ref()) != pointer.oid {
            return Err(refused(
                pointer,
                "the workspace holds something else under that name",
            ));
        }
        io::Seek::rewind(&mut content)?;
        Ok(content)
    }
}

/// What was brought along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Files of Git LFS that the other side did not have.
    pub files: u64,
    /// All of them together.
    pub bytes: u64,
}

impl Uploaded {
    /// One more, if all of them together may be so large.
    pub(super) fn and(self, pointer: &Pointer, most: u64) -> Result<Self, PushError> {
        let bytes = self.bytes.saturating_add(pointer.size);
        if bytes > most {
            let most = most >> 20;
            let why = format!("more than {most} MiB; where that is meant, raise git.max_size");
            return Err(PushError::Lfs(why));
        }
        let files = self.files + 1;
        Ok(Self { files, bytes })
    }
}

/// Why one of them is not brought along.
pub(super) fn refused(pointer: &Pointer, why: &str) -> PushError {
    PushError::Lfs(format!("{}: {why}", pointer.oid))
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

//! Images that go with a task or a prompt, from files.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{CliError, Exit};
use crate::image::{self, Image};

/// What commands take that give an agent something to do.
#[derive(Debug, clap::Args)]
pub(super) struct Images {
    /// PNG, JPEG, GIF or WebP image that goes with it; up to 8, of at most 5 MiB in all
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
}

impl Images {
    /// The images.
    pub(super) fn read(&self) -> Result<Vec<Image>, CliError> {
        let mut images = Vec::new();
        for path in &self.images {
            let refused = |why: String| {
                let message = format!("`--image {}`: {why}", path.display());
                CliError::new(Exit::Usage, message)
            };
            let data = read_at_most(path).map_err(|error| refused(error.to_string()))?;
            let image = Image::new(data).map_err(|error| refused(error.to_string()))?;
            images.push(image);
        }
        image::all(images)
            .map_err(|error| CliError::new(Exit::Usage, format!("`--image`: {error}")))
    }

    /// The images, in base64.
    pub(super) fn base64(&self) -> Result<Vec<String>, CliError> {
        Ok(self.read()?.iter().map(Image::base64).collect())
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

/// A file's bytes, and no more of them than show that it is too large.
fn read_at_most(path: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let limit = image::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_end(&mut data)?;
    Ok(data)
}

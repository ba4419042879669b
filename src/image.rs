//! Images that go with a prompt: what is taken as one, and how many.
//!
//! An [`Image`] is one of the four kinds that every vendor's model reads, by its first bytes and
//! whatever its sender called it. An [`ImageNote`] says which it is; the bytes themselves are in the
//! journal until the turn is over, and in no event, log or message of ours.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The most images that one prompt takes.
pub const MAX_IMAGES: usize = 8;
/// The most bytes of all images of one prompt. In base64 they fit into one frame of a Hub (8 MiB),
/// and in base64 twice into one of a shim's socket (16 MiB), with room for the words.
pub const MAX_BYTES: usize = 5 << 20;

/// Kinds of images, by what their files begin with.
const KINDS: [(&str, &[u8]); 4] = [
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF8"),
    ("image/webp", b"RIFF"),
];

/// Which image it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNote {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    pub media_type: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// An image.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    note: ImageNote,
    data: Arc<[u8]>,
}

/// Why something is not taken as an image of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It is no base64.
    #[error("an image must be in base64 (RFC 4648, with padding)")]
    NotBase64,
    /// It begins like none that is known.
    #[error("it is no PNG, JPEG, GIF or WebP image; convert it to one of these")]
    Unknown,
    /// There are more than one prompt takes.
    #[error("{0} images; a prompt takes at most {MAX_IMAGES}")]
    TooMany(usize),
    /// Together they are larger than one prompt takes.
    #[error(
        "{0} bytes of images; a prompt takes at most {limit} MiB in all: send smaller ones, or have \
         the agent read them from files",
        limit = MAX_BYTES >> 20
    )]
    TooLarge(usize),
}

impl Image {
    /// An image of these bytes.
    pub fn new(data: Vec<u8>) -> Result<Self, ImageError> {
        if data.len() > MAX_BYTES {
            return Err(ImageError::TooLarge(data.len()));
        }
        let kind = KINDS.iter().find(|(_, begin)| data.starts_with(begin));
        let is_whole = |name: &str| name != "image/webp" || data.get(8..12) == Some(b"WEBP");
        let (name, _) = kind
            .filter(|(name, _)| is_whole(name))
            .ok_or(ImageError::Unknown)?;
        Ok(Self {
            note: ImageNote {
                media_type: (*name).to_owned(),
                bytes: data.len() as u64,
                sha256: sha256(&data),
            },
            data: data.into(),
        })
    }

    /// An image in base64, or as a `data:` URL.
    pub fn from_base64(text: &str) -> Result<Self, ImageError> {
        let data = match text.strip_prefix("data:") {
            Some(url) => url.split_once(";base64,").ok_or(ImageError::NotBase64)?.1,
            None => text,
        };
        if data.len() / 4 * 3 > MAX_BYTES + 2 {
            return Err(ImageError::TooLarge(data.len() / 4 * 3));
        }
        Self::new(STANDARD.decode(data).map_err(|_| ImageError::NotBase64)?)
    }

    /// The bytes of a known image, as they were kept; none where they are not that image any more.
    pub fn kept(note: &ImageNote, data: Vec<u8>) -> Option<Self> {
        (sha256(&data) == note.sha256).then(|| Self {
            note: note.clone(),
            data: data.into(),
        })
    }

    /// Which it is.
    pub const fn note(&self) -> &ImageNote {
        &self.note
    }

    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Its bytes in base64.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.data)
    }

    /// The image as a `data:` URL.
    pub fn data_url(&self) -> String {
        format!("data:{};base64,{}", self.note.media_type, self.base64())
    }
}

/// The images of one prompt, if it takes them all.
pub fn all(images: Vec<Image>) -> Result<Vec<Image>, ImageError> {
    let bytes = images.iter().map(|image| image.data.len()).sum();
    if images.len() > MAX_IMAGES {
        Err(ImageError::TooMany(images.len()))
    } else if bytes > MAX_BYTES {
        Err(ImageError::TooLarge(bytes))
    } else {
        Ok(images)
    }
}

/// Which images they are.
pub fn notes(images: &[Image]) -> Vec<ImageNote> {
    images.iter().map(|image| image.note.clone()).collect()
}

/// The words of a prompt with its images named behind them, for whoever sees no images.
pub fn named(text: &str, images: &[ImageNote]) -> String {
    let mut named = text.to_owned();
    for image in images {
        named.push_str("\n[");
        named.push_str(&image.to_string());
        named.push(']');
    }
    named
}

impl fmt::Display for ImageNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes", self.media_type, self.bytes)
    }
}

/// Without the bytes: this goes to logs.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.note, f)
    }
}

fn sha256(data: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, data).as_ref() {
        // Into a string: this cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn an_image_is_known_by_its_bytes_whatever_it_is_called() {
        let of = |data: &[u8]| Image::new(data.to_vec()).map(|image| image.note.media_type);
        assert_eq!(of(PNG).unwrap(), "image/png");
        assert_eq!(of(b"\xff\xd8\xff\xe0").unwrap(), "image/jpeg");
        assert_eq!(of(b"GIF89a").unwrap(), "image/gif");
        assert_eq!(of(b"RIFF\0\0\0\0WEBPVP8 ").unwrap(), "image/webp");
        for other in [&b"RIFF\0\0\0\0WAVE"[..], b"%PDF-1.7", b"<svg/>", b""] {
            assert_eq!(of(other), Err(ImageError::Unknown));
        }
        let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(PNG));
        let image = Image::from_base64(&url).unwrap();
        assert_eq!(image.data_url(), url.replace("jpeg", "png"));
    }

    #[test]
    fn what_is_too_much_or_no_base64_is_refused_with_the_reason() {
        let mut large = PNG.to_vec();
        large.resize(MAX_BYTES, 0);
        let whole = Image::new(large.clone()).unwrap();
        assert!(Image::from_base64(&whole.base64()).is_ok());
        large.push(0);
        let error = Image::from_base64(&STANDARD.encode(&large)).unwrap_err();
        assert!(error.to_string().contains("at most 5 MiB in all"));
        let small = Image::new(PNG.to_vec()).unwrap();
        let error = all(vec![small.clone(); 9]).unwrap_err().to_string();
        assert_eq!(error, "9 images; a prompt takes at most 8");
        assert!(matches!(
            all(vec![whole, small]),
            Err(ImageError::TooLarge(_))
        ));
        for bad in ["iVBOR", "data:image/png,abc", "é"] {
            assert_eq!(Image::from_base64(bad), Err(ImageError::NotBase64));
        }
    }

    #[test]
    fn bytes_that_a_disk_has_turned_are_no_image_and_logs_have_none() {
        let image = Image::new(PNG.to_vec()).unwrap();
        let kept = Image::kept(image.note(), PNG.to_vec()).unwrap();
        assert_eq!(kept, image);
        assert!(Image::kept(image.note(), b"\x89PNG\r\n\x1a\nRest".to_vec()).is_none());
        assert!(!format!("{image:?}").contains("rest"));
        assert_eq!(
            named("look", &[image.note().clone()]),
            "look\n[image/png, 12 bytes]"
        );
    }
}

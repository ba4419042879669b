//! What is stored of a live process and its turn beside each batch of events, so that another
//! daemon goes on from exactly there. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::course::Course;
use crate::ids::SpoolOffset;

/// The version of what is stored; another one is not guessed at.
const VERSION: u32 = 1;

/// As it is stored. Its first field tells it from an exec-form adapter's state.
#[derive(Debug, Serialize, Deserialize)]
struct Blob<R> {
    live: u32,
    /// How much of the record of the input the reader's state holds.
    input: SpoolOffset,
    course: Course,
    reader: R,
}

/// A stored state, taken apart.
#[derive(Debug)]
pub(in crate::turn) struct Saved {
    /// How much of the record of the input the reader's state holds.
    pub(super) input: SpoolOffset,
    /// What was known of the turn.
    pub(super) course: Course,
    /// The reader's own snapshot.
    pub(super) reader: Vec<u8>,
}

/// The state as bytes. `reader` is JSON.
pub(super) fn save(input: SpoolOffset, course: &Course, reader: &[u8]) -> Vec<u8> {
    let blob = serde_json::from_slice::<&RawValue>(reader).and_then(|reader| {
        serde_json::to_vec(&Blob {
            live: VERSION,
            input,
            course: course.clone(),
            reader,
        })
    });
    // a reader's snapshot is JSON: this cannot fail
    blob.unwrap_or_default()
}

impl Saved {
    /// The state; none where the bytes are no live process's of this version.
    pub(in crate::turn) fn load(bytes: &[u8]) -> Option<Self> {
        let blob: Blob<&RawValue> = serde_json::from_slice(bytes).ok()?;
        (blob.live == VERSION).then(|| Self {
            input: blob.input,
            course: blob.course,
            reader: blob.reader.get().as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_state_comes_back_and_an_exec_adapters_is_none() {
        let now = Timestamp::from_millis(1);
        let said = ("do it".to_owned(), Vec::new());
        let course = Course::begin("m-1".to_owned(), said, now);
        let bytes = save(SpoolOffset::new(9), &course, br#"{"frames":3}"#);
        let saved = Saved::load(&bytes).unwrap();
        assert_eq!(saved.input, SpoolOffset::new(9));
        assert_eq!(saved.course, course);
        assert_eq!(saved.reader, br#"{"frames":3}"#);
        assert!(Saved::load(br#"{"version":1,"state":{}}"#).is_none());
        assert!(Saved::load(b"").is_none());
    }
}

//! An adapter's state as JSON with a version in it. Another version's state is not guessed at.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::RestoreError;

#[derive(Serialize)]
struct Saved<'a, T> {
    version: u32,
    state: &'a T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Loaded<T> {
    state: T,
}

/// A state of strings, flags and finite numbers, which always has its JSON.
pub(super) fn save<T: Serialize>(version: u32, state: &T) -> Vec<u8> {
    serde_json::to_vec(&Saved { version, state }).unwrap_or_default()
}

/// The state that [`save`] was given.
pub(super) fn load<T: DeserializeOwned>(known: u32, snapshot: &[u8]) -> Result<T, RestoreError> {
    let Version { version: found } = serde_json::from_slice(snapshot)?;
    if found != known {
        return Err(RestoreError::Version { found, known });
    }
    let Loaded { state } = serde_json::from_slice(snapshot)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_another_versions_is_refused_by_name() {
        let saved = save(2, &vec!["a"]);
        assert_eq!(load::<Vec<String>>(2, &saved).unwrap(), ["a"]);
        let other = load::<Vec<String>>(3, &saved).unwrap_err().to_string();
        assert_eq!(
            other,
            "snapshot of version 2, but this program knows version 3"
        );
        assert!(matches!(
            load::<Vec<String>>(2, b"{}"),
            Err(RestoreError::Malformed(_))
        ));
    }
}

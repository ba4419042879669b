//! Containers of ours in the engine's list.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use serde::Deserialize;

use super::engine::{Engine, EngineError, refused};
use super::policy::{LABEL_RUN, LABEL_RUNS};
use crate::clock::Clock;

/// A container that was made just now may not have begun.
const YOUNG: Duration = Duration::from_mins(2);
/// States of a container that has ended; `stopped` is Podman's.
const OVER: [&str; 3] = ["exited", "stopped", "dead"];

/// A container in the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Found {
    pub(super) id: String,
    #[serde(default)]
    labels: HashMap<String, String>,
    /// In seconds since 1970.
    #[serde(default)]
    created: i64,
    #[serde(default)]
    state: String,
}

impl Engine {
    /// Our containers of the runs in that folder.
    pub(super) async fn containers_of(&self, runs: &Path) -> Result<Vec<Found>, EngineError> {
        let label = format!("{LABEL_RUNS}={}", runs.display());
        let filters = [("label".to_owned(), vec![label])].into();
        let which = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let listed = self.client().await?.list_containers(Some(which.build()));
        match listed.await {
            Ok(listed) => Ok(listed.into_iter().map(Found::from).collect()),
            Err(error) => Found::in_answer(&error).ok_or_else(|| refused("list containers")(error)),
        }
    }
}

impl Found {
    /// The list in an answer that the client could not read: one state that it has no name for
    /// spoils the whole of it.
    fn in_answer(error: &Error) -> Option<Vec<Self>> {
        match error {
            Error::JsonDataError { contents, .. } => serde_json::from_str(contents).ok(),
            _ => None,
        }
    }

    /// The folder of its run.
    pub(super) fn run(&self) -> Option<PathBuf> {
        self.labels.get(LABEL_RUN).map(PathBuf::from)
    }

    /// Whether it has ended, or has had time to begin.
    pub(super) fn is_over(&self) -> bool {
        let created = u64::try_from(self.created).unwrap_or(0);
        let now = Clock.wall().millis() / 1000;
        let is_young = now.saturating_sub(created) < YOUNG.as_secs();
        OVER.contains(&self.state.as_str()) || !is_young
    }
}

impl From<ContainerSummary> for Found {
    fn from(summary: ContainerSummary) -> Self {
        Self {
            id: summary.id.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
            state: summary
                .state
                .map(|state| state.to_string())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_only_podman_knows_spoils_no_list() {
        // Of Podman 4.3.1, shortened.
        let contents = r#"[{"Id":"86f083321273","Names":["/elastic_jemison"],"Created":1795261035,
            "Labels":{"com.agentuity.agent-runner.run":"/runs/1"},"State":"stopped",
            "Status":"Exited (0) About a minute ago","Mounts":[]}]"#;
        let source = serde_json::from_str::<Vec<ContainerSummary>>(contents).unwrap_err();
        let error = Error::JsonDataError {
            message: source.to_string(),
            contents: contents.to_owned(),
            column: source.column(),
        };
        let found = Found::in_answer(&error).unwrap();
        let [found] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(found.id, "86f083321273");
        assert_eq!(found.run(), Some(PathBuf::from("/runs/1")));
        assert!(found.is_over());
    }
}

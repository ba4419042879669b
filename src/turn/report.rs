//! Reports that a turn is expected to leave in the workspace: looked at when it ends.
//!
//! A report is a regular file below the workspace, reached without leaving it by any link, and read
//! with the agent's own rights. A turn whose agent says that it is done, and whose reports are not
//! there or do not fit, is `incomplete`: what it was for is missing.

pub mod schema;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use self::schema::Schema;
use super::context::TurnContext;
use crate::config::ExpectedReport;
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::process::as_user;

/// A larger report is not read.
const LARGEST: u64 = 16 << 20;
/// A larger report is checked, and not attached.
const LARGEST_ATTACHED: usize = 1 << 20;
/// A schema is written by hand.
const LARGEST_SCHEMA: u64 = 1 << 20;

/// A report that is expected, with its schema read.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    path: PathBuf,
    schema: Option<Schema>,
}

impl Expected {
    /// Reads the schema; an error says what is wrong with it.
    pub fn read(report: &ExpectedReport) -> Result<Self, String> {
        let schema = report.schema.as_deref().map(|path| {
            let mut text = String::new();
            let file = File::open(path).map(|file| file.take(LARGEST_SCHEMA));
            file.and_then(|mut file| file.read_to_string(&mut text))
                .map_err(|error| error.to_string())
                .and_then(|_| Schema::parse(&text))
                .map_err(|why| format!("the schema {}: {why}", path.display()))
        });
        Ok(Self {
            path: report.path.clone(),
            schema: schema.transpose()?,
        })
    }
}

/// What a report was found to be.
struct Found {
    text: Option<String>,
    error: Option<String>,
}

/// An event for each report that is expected.
pub(super) async fn of_turn(context: &TurnContext) -> Vec<Event> {
    let mut events = Vec::new();
    for expected in &context.expected {
        let (workspace, one) = (context.workspace.clone(), expected.clone());
        let user = context.user.as_ref().map(|user| (user.uid, user.gid));
        let looked = tokio::task::spawn_blocking(move || match user {
            Some(user) => as_user(user, || Ok(look(&workspace, &one))),
            None => Ok(look(&workspace, &one)),
        });
        let failed = |error: &dyn std::fmt::Display| Found {
            text: None,
            error: Some(format!("cannot be looked at: {error}")),
        };
        let found = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        };
        let masked = |text: String| {
            String::from_utf8_lossy(&context.redactor.text(text.as_bytes())).into_owned()
        };
        let text = found.text.filter(|text| text.len() <= LARGEST_ATTACHED);
        events.push(Event::Report {
            path: expected.path.display().to_string(),
            ok: found.error.is_none(),
            error: found.error.map(masked),
            content: text.map(masked),
        });
    }
    events
}

/// What the reports make of a turn's last events.
pub(super) fn judge(reports: &[Event], outcome: &mut Outcome, events: &mut [Event]) {
    let faults: Vec<String> = reports
        .iter()
        .filter_map(|report| match report {
            Event::Report { path, error, .. } => Some(format!("{path} {}", error.as_ref()?)),
            _ => None,
        })
        .collect();
    if faults.is_empty() || *outcome != Outcome::Completed {
        return;
    }
    *outcome = Outcome::Incomplete;
    for event in events {
        if let Event::End { outcome, error, .. } = event {
            *outcome = Outcome::Incomplete;
            let message = format!("the expected report {}", faults.join("; "));
            *error = Some(TurnError::new(ErrorClass::Unknown, message));
        }
    }
}

fn look(workspace: &Path, expected: &Expected) -> Found {
    let bytes = match read(workspace, &expected.path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "is missing".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            return Found {
                text: None,
                error: Some(why),
            };
        }
    };
    let text = String::from_utf8(bytes);
    let error = expected.schema.as_ref().and_then(|schema| {
        let Ok(text) = &text else {
            return Some("is no UTF-8 text".to_owned());
        };
        match serde_json::from_str(text) {
            Ok(value) => schema
                .misfit(&value)
                .map(|why| format!("does not fit its schema: {why}")),
            Err(error) => Some(format!("is no JSON: {error}")),
        }
    });
    Found {
        text: text.ok(),
        error,
    }
}

/// A regular file's content, reached below `workspace` alone.
fn read(workspace: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let folder = File::open(workspace)?;
    let found = openat2(
        &folder,
        path,
        // A pipe is not waited for.
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?;
    let file = File::from(found);
    let metadata = file.metadata()?;
    let refuse = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if !metadata.is_file() {
        return Err(refuse("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(refuse("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn why(workspace: &Path, path: &str, schema: Option<&str>) -> Option<String> {
        let expected = Expected {
            path: path.into(),
            schema: schema.map(|text| Schema::parse(text).unwrap()),
        };
        look(workspace, &expected).error
    }

    #[test]
    fn a_report_is_a_file_of_the_workspace_and_no_link_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("w");
        std::fs::create_dir_all(workspace.join("out/folder")).unwrap();
        std::fs::write(dir.path().join("secret"), "{}").unwrap();
        std::fs::write(workspace.join("out/good.json"), "{}").unwrap();
        symlink("good.json", workspace.join("out/link")).unwrap();
        symlink("../../secret", workspace.join("out/escape")).unwrap();
        symlink(dir.path(), workspace.join("away")).unwrap();
        symlink("/proc/self/environ", workspace.join("magic")).unwrap();
        let private = Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, workspace.join("fifo"), private).unwrap();
        let why = |path| why(&workspace, path, None);
        assert_eq!((why("out/good.json"), why("out/link")), (None, None));
        assert_eq!(why("none.json").as_deref(), Some("is missing"));
        for path in ["out/escape", "away/secret", "magic", "fifo", "out/folder"] {
            let why = why(path).unwrap();
            assert!(why.starts_with("cannot be read"), "{path}: {why}");
        }
    }

    #[test]
    fn a_report_that_does_not_fit_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let schema = r#"{"required": ["passed"], "properties": {"passed": {"type": "boolean"}}}"#;
        for (text, part) in [
            (r#"{"passed": true}"#, None),
            (r#"{"passed": 1}"#, Some("/passed")),
            ("{}", Some("has no `passed`")),
            ("passed", Some("no JSON")),
        ] {
            std::fs::write(dir.path().join("r.json"), text).unwrap();
            let why = why(dir.path(), "r.json", Some(schema));
            assert_eq!(why.is_some(), part.is_some(), "{text}: {why:?}");
            assert!(
                why.unwrap_or_default().contains(part.unwrap_or_default()),
                "{text}"
            );
        }
    }
}

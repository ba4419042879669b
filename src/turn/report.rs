//! Reports that a turn is expected to leave in the workspace: looked at when it ends.
//!
//! A report is a regular file below the workspace, reached without leaving it by any link, and read
//! with the agent's own rights. A turn whose agent says that it is done, and whose reports are not
//! there or do not fit, is `incomplete`: what it was for is missing. So is one whose report was there
//! before the session and that no turn has written to; one of an earlier turn counts, and is told as
//! `unchanged`.

mod freshness;
pub mod schema;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

pub use self::freshness::forget;
use self::freshness::{Freshness, Known, Written};
use self::schema::Schema;
use super::context::TurnContext;
use crate::config::ExpectedReport;
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::ids::TurnId;
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
    written: Option<Written>,
}

/// Does what touches the workspace, with the agent's rights.
async fn within<T: Send + 'static>(
    context: &TurnContext,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let workspace = context.workspace.clone();
    let user = context.user.as_ref().map(|user| (user.uid, user.gid));
    let done = tokio::task::spawn_blocking(move || match user {
        Some(user) => as_user(user, || work(&workspace)),
        None => work(&workspace),
    });
    done.await.map_err(io::Error::other)?
}

/// Notes what the reports are before the turn begins.
pub(super) async fn before_turn(context: &TurnContext, turn: TurnId) {
    if context.expected.is_empty() {
        return;
    }
    let expected = context.expected.clone();
    let looked = within(context, move |workspace| {
        let written = expected.into_iter().filter_map(|expected| {
            let (_, written) = open(workspace, &expected.path).ok()?;
            Some((expected.path, written))
        });
        Ok(written.collect::<BTreeMap<_, _>>())
    });
    let place = freshness::place(&context.state_dir, &context.session);
    let kept = looked.await.and_then(|now| {
        let mut known = Known::read(&place);
        known.begin(turn, now);
        known.keep(&place)
    });
    if let Err(error) = kept {
        tracing::warn!(%turn, %error, "a report that is old may count as the turn's");
    }
}

/// An event for each report that is expected.
pub(super) async fn of_turn(context: &TurnContext, turn: TurnId) -> Vec<Event> {
    let mut events = Vec::new();
    if context.expected.is_empty() {
        return events;
    }
    let place = freshness::place(&context.state_dir, &context.session);
    let mut known = Known::read(&place);
    for expected in &context.expected {
        let one = expected.clone();
        let looked = within(context, move |workspace| Ok(look(workspace, &one))).await;
        let mut found = looked.unwrap_or_else(|error| Found {
            text: None,
            error: Some(format!("cannot be looked at: {error}")),
            written: None,
        });
        let freshness = found
            .written
            .map(|written| known.judge(turn, &expected.path, written));
        if found.error.is_none() && freshness == Some(Freshness::Before) {
            found.error =
                Some("is as it was before the session: no turn has written it".to_owned());
        }
        let masked = |text: String| {
            String::from_utf8_lossy(&context.redactor.text(text.as_bytes())).into_owned()
        };
        let text = found.text.filter(|text| text.len() <= LARGEST_ATTACHED);
        events.push(Event::Report {
            path: expected.path.display().to_string(),
            ok: found.error.is_none(),
            error: found.error.map(masked),
            unchanged: freshness.is_some_and(|freshness| freshness != Freshness::ThisTurn),
            content: text.map(masked),
        });
    }
    if let Err(error) = known.keep(&place) {
        tracing::warn!(%turn, %error, "what the turn has reported may count as old later");
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
    let read = open(workspace, &expected.path);
    let read = read.and_then(|(file, written)| Ok((content(file)?, written)));
    let (bytes, written) = match read {
        Ok(read) => read,
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "is missing".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            return Found {
                text: None,
                error: Some(why),
                written: None,
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
        written: Some(written),
    }
}

/// A regular file, reached below `workspace` alone.
fn open(workspace: &Path, path: &Path) -> io::Result<(File, Written)> {
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
    if !metadata.is_file() {
        return Err(refused("it is no regular file"));
    }
    let written = Written::of(&metadata);
    Ok((file, written))
}

fn content(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(refused("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
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
    fn ten_thousand_crooked_paths_lead_nowhere_out_of_the_workspace() {
        const PARTS: [&str; 14] = [
            "..",
            ".",
            "",
            "in",
            "in.txt",
            "up",
            "away",
            "around",
            "magic",
            "proc",
            "secret",
            "w",
            "a\nb",
            "\u{1b}[2J",
        ];
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("w");
        std::fs::create_dir_all(workspace.join("in/w")).unwrap();
        std::fs::create_dir_all(dir.path().join("in")).unwrap();
        for outside in ["secret", "in.txt", "in/secret", "in/in.txt"] {
            std::fs::write(dir.path().join(outside), "outside").unwrap();
        }
        std::fs::write(workspace.join("in/in.txt"), "inside").unwrap();
        for folder in [workspace.clone(), workspace.join("in")] {
            for (name, target) in [
                ("up", ".."),
                ("away", dir.path().to_str().unwrap()),
                ("around", "../w/../.."),
                ("magic", "/proc/self/cwd"),
                ("proc", "/proc/self/root"),
            ] {
                symlink(target, folder.join(name)).unwrap();
            }
        }
        let (mut state, mut seen) = (7_u64, 0);
        let mut next = |most: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from((state >> 33) % most).unwrap()
        };
        for _ in 0..10_000 {
            let length = 1 + next(7);
            let parts: Vec<&str> = (0..length).map(|_| PARTS[next(14)]).collect();
            let whole = dir.path().display().to_string();
            let path = match next(20) {
                0 => format!("{whole}/{}", parts.join("/")),
                _ => parts.join("/"),
            };
            let found = open(&workspace, Path::new(&path)).and_then(|(file, _)| content(file));
            match found.as_deref() {
                Ok(b"inside") => seen += 1,
                Ok(other) => panic!("{path:?} shows {other:?}"),
                Err(_) => {}
            }
        }
        assert!(seen >= 5, "only {seen} of them led to the file within");
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

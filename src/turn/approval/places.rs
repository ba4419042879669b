//! Where the paths of a request lead, also through `..` and symbolic links.

use std::path::{Component, Path, PathBuf};

use crate::config::PathPattern;

/// The workspace, and how a path is followed.
#[derive(Debug, Clone)]
pub(super) struct Places {
    workspace: PathBuf,
    real: fn(&Path) -> Option<PathBuf>,
}

/// Where a path leads: by its words, and on the disk at this moment.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// None where that cannot be told: a link that leads to nothing, or a name that a CLI may read
    /// as another.
    forms: Option<[PathBuf; 2]>,
    workspaces: [PathBuf; 2],
}

impl Places {
    pub(super) fn new(workspace: &Path) -> Self {
        Self {
            workspace: workspace.to_owned(),
            real,
        }
    }

    /// Where a path leads, taken from the folder `from` or else from the workspace.
    pub(super) fn find(&self, text: &str, from: Option<&str>) -> Place {
        let base = match from {
            Some(from) => self.workspace.join(from),
            None => self.workspace.clone(),
        };
        let path = base.join(text);
        let workspace = plain(&self.workspace);
        let real_workspace = (self.real)(&self.workspace).unwrap_or_else(|| workspace.clone());
        let real = (self.real)(&path).filter(|_| !is_ambiguous(text));
        Place {
            forms: real.map(|real| [plain(&path), real]),
            workspaces: [workspace, real_workspace],
        }
    }
}

impl Place {
    /// Whether every way of naming it is one that `patterns` permit.
    pub(super) fn is_within(&self, patterns: &[&PathPattern]) -> bool {
        let permitted = |form: &PathBuf| patterns.iter().any(|one| self.matches(one, form));
        self.forms
            .as_ref()
            .is_some_and(|forms| forms.iter().all(permitted))
    }

    /// Whether a way of naming it is as the pattern says; none where that cannot be told.
    pub(super) fn touches(&self, pattern: &PathPattern) -> Option<bool> {
        let forms = self.forms.as_ref()?;
        Some(forms.iter().any(|form| self.matches(pattern, form)))
    }

    fn matches(&self, pattern: &PathPattern, form: &Path) -> bool {
        if pattern.is_absolute() {
            return pattern.matches(&folders(form));
        }
        let mut workspaces = self.workspaces.iter();
        let within = workspaces.find_map(|workspace| form.strip_prefix(workspace).ok());
        within.is_some_and(|path| pattern.matches(&folders(path)))
    }
}

/// Whether a CLI may take it for another path than it is: one of the home folder, one without the
/// blanks around it (Claude Code does both), an address.
fn is_ambiguous(path: &str) -> bool {
    let is_odd = path.trim() != path || path.contains("://") || path.contains(char::is_control);
    path.starts_with('~') || is_odd
}

fn folders(path: &Path) -> Vec<&str> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str().unwrap_or("\u{fffd}")),
        _ => None,
    });
    names.collect()
}

/// Without `.` and `..`, by its words alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Where a path leads on the disk; of what is not there yet, the folder that it would be in.
fn real(path: &Path) -> Option<PathBuf> {
    for known in path.ancestors() {
        if let Ok(real) = known.canonicalize() {
            let rest = path.strip_prefix(known).unwrap_or(Path::new(""));
            return Some(plain(&real.join(rest)));
        }
        if known
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink())
        {
            return None;
        }
    }
    Some(plain(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_it_points_and_dots_lead_up_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let (work, other) = (dir.path().join("work"), dir.path().join("other"));
        std::fs::create_dir_all(work.join("src")).unwrap();
        std::fs::create_dir_all(other.join("deep")).unwrap();
        std::os::unix::fs::symlink(other.join("deep"), work.join("src/link")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("none"), work.join("src/dangling")).unwrap();
        let places = Places::new(&work);
        let pattern = PathPattern::parse("src/**").unwrap();
        let is_within = |path: &str| places.find(path, None).is_within(&[&pattern]);
        assert!(is_within("src/a.rs"));
        assert!(is_within("src/new/b.rs"));
        assert!(is_within("src/x/../c.rs"));
        assert!(is_within(work.join("src/a.rs").to_str().unwrap()));
        for path in [
            "a.rs",
            "src/../a.rs",
            "../src/a.rs",
            "/etc/src/a.rs",
            "src/link/a.rs",
            "src/link/../a.rs",
            "src/dangling",
            " src/a.rs",
            "~/src/a.rs",
            "file://src/a.rs",
            "src/dangling/a",
        ] {
            assert!(!is_within(path), "{path}");
        }
        let secret = PathPattern::parse(&format!("{}/**", other.display())).unwrap();
        assert_eq!(
            places.find("src/link/a.rs", None).touches(&secret),
            Some(true)
        );
        assert_eq!(
            places.find("src/link/../a", None).touches(&secret),
            Some(true)
        );
        assert_eq!(places.find("src/dangling", None).touches(&secret), None);
        assert_eq!(
            places.find("deep/a", Some("../other")).touches(&secret),
            Some(true)
        );
    }

    #[test]
    fn a_workspace_behind_a_link_is_the_same_workspace() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let places = Places::new(&dir.path().join("link"));
        let pattern = PathPattern::parse("a").unwrap();
        for path in [dir.path().join("real/a"), dir.path().join("link/a")] {
            let place = places.find(path.to_str().unwrap(), None);
            assert!(place.is_within(&[&pattern]), "{}", path.display());
        }
    }
}

//! Skills: folders with a `SKILL.md`, put where the agent's CLI looks for them in its workspace.
//!
//! A skill's name is one plain word, and its files are regular ones below its folder: neither leads
//! anywhere else. They are written with the rights of the agent's user, through real folders alone. A
//! skill that the workspace has already is left as it is; one that is put there is kept out of the
//! repository's commits.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, statat};
use serde_json::Value;

use super::{DaemonError, Setup};
use crate::hub::rest::SessionDetail;
use crate::process::as_user;

/// Files of one skill.
const MOST_FILES: usize = 500;
/// Bytes of one skill.
const LARGEST: u64 = 16 << 20;
/// Folders within a skill.
const DEEPEST: usize = 8;

/// Where each CLI looks in its workspace: Claude Code 2.1, Codex 0.144, Gemini CLI 0.50, OpenCode
/// 1.17, Pi 0.74.
const PLACES: &[(&str, &str)] = &[
    ("claude", ".claude/skills"),
    ("codex", ".agents/skills"),
    ("gemini", ".gemini/skills"),
    ("opencode", ".opencode/skills"),
    ("pi", ".pi/skills"),
];

/// A skill, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skill {
    name: String,
    /// By their places in its folder.
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// The skills of the settings and of the session.
pub(super) fn wanted(
    setup: &Setup<'_>,
    detail: Option<&SessionDetail>,
) -> Result<Vec<Skill>, DaemonError> {
    let folders = setup.config.skills.iter().map(|folder| {
        of_folder(folder).map_err(|why| {
            DaemonError::Usage(format!(
                "--skill {}: {why}; name a folder with a SKILL.md in it",
                folder.display()
            ))
        })
    });
    let mut skills: Vec<Skill> = folders.collect::<Result<_, _>>()?;
    let sent = detail.and_then(|detail| detail.rest.get("skills")?.as_array());
    for sent in sent.into_iter().flatten() {
        let skill = of_session(sent)
            .map_err(|why| DaemonError::Workspace(format!("a skill that the Hub sent: {why}")))?;
        // The user's own goes before one of the same name.
        let skill = skill.filter(|skill| skills.iter().all(|known| known.name != skill.name));
        skills.extend(skill);
    }
    Ok(skills)
}

/// Puts them into the workspace; which ones are there now and were not before.
pub(super) fn put(
    agent: &str,
    workspace: &Path,
    skills: &[Skill],
    owner: Option<(u32, u32)>,
) -> Result<Vec<String>, DaemonError> {
    let place = PLACES.iter().find(|(name, _)| *name == agent);
    let Some((_, place)) = place.filter(|_| !skills.is_empty()) else {
        return Ok(Vec::new());
    };
    let work = || put_all(workspace, Path::new(place), skills);
    let done = match owner {
        Some(owner) => as_user(owner, work),
        None => work(),
    };
    done.map_err(|error| {
        DaemonError::Workspace(format!(
            "skills cannot be put into {}: {error}",
            workspace.join(place).display()
        ))
    })
}

fn put_all(workspace: &Path, place: &Path, skills: &[Skill]) -> io::Result<Vec<String>> {
    let root = File::open(workspace)?;
    let folder = folder_in(&root, place)?;
    let mut made = Vec::new();
    for skill in skills {
        if statat(&folder, &skill.name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            continue;
        }
        let own = folder_in(&folder, Path::new(&skill.name))?;
        for (path, content) in &skill.files {
            let parent = path.parent().unwrap_or(Path::new(""));
            let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
            let parent = folder_in(&own, parent)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let readable = Mode::from_raw_mode(0o644);
            File::from(openat(&parent, name, flags, readable)?).write_all(content)?;
        }
        exclude(&root, &place.join(&skill.name))?;
        made.push(skill.name.clone());
    }
    Ok(made)
}

/// A folder below another, made where it is missing; a link on the way is refused.
fn folder_in(root: &File, path: &Path) -> io::Result<File> {
    let mut at = root.try_clone()?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = File::from(openat(&at, name, flags, Mode::empty())?);
    }
    Ok(at)
}

/// Keeps it out of what the repository calls untracked, where the workspace is one.
fn exclude(root: &File, path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(git) = openat(root, ".git", flags, Mode::empty()) else {
        return Ok(());
    };
    let info = folder_in(&File::from(git), Path::new("info"))?;
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&info, "exclude", flags, Mode::from_raw_mode(0o644))?;
    // In one write: the agent's git may read it.
    File::from(file).write_all(format!("\n/{}/\n", path.display()).as_bytes())
}

/// A skill's name: one word that is a file name everywhere.
fn name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('.')
        || !text.chars().all(is_plain)
    {
        return Err(format!(
            "`{}` is no name of a skill (letters, digits, `-`, `_` and `.`)",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

fn of_session(sent: &Value) -> Result<Option<Skill>, String> {
    let text = |key: &str| {
        sent.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let Some(id) = text("skillId").or_else(|| text("name")) else {
        return Err("it has no skillId".to_owned());
    };
    let name = name(id)?;
    // One that is only a reference is for those who can fetch it.
    Ok(text("content").map(|content| Skill {
        name,
        files: vec![("SKILL.md".into(), content.as_bytes().to_vec())],
    }))
}

fn of_folder(folder: &Path) -> Result<Skill, String> {
    let base = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut skill = Skill {
        name: name(&base)?,
        files: Vec::new(),
    };
    let mut left = LARGEST;
    gather(folder, Path::new(""), DEEPEST, &mut left, &mut skill.files)?;
    if skill
        .files
        .iter()
        .all(|(path, _)| path != Path::new("SKILL.md"))
    {
        return Err("it has no SKILL.md".to_owned());
    }
    Ok(skill)
}

fn gather(
    root: &Path,
    below: &Path,
    depth: usize,
    left: &mut u64,
    files: &mut Vec<(PathBuf, Vec<u8>)>,
) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("its folders nest too deep")?;
    let failed = |error: io::Error| error.to_string();
    for entry in std::fs::read_dir(root.join(below)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            gather(root, &path, depth, left, files)?;
            continue;
        }
        if !kind.is_file() {
            return Err(format!("{} is neither a file nor a folder", path.display()));
        }
        let mut content = Vec::new();
        let file = File::open(entry.path()).map_err(failed)?;
        file.take(*left + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        *left = left
            .checked_sub(content.len() as u64)
            .ok_or("it is larger than 16 MiB")?;
        files.push((path, content));
        if files.len() > MOST_FILES {
            return Err(format!("it has more than {MOST_FILES} files"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn skill(name: &str) -> Skill {
        Skill {
            name: name.to_owned(),
            files: vec![
                ("SKILL.md".into(), b"---\nname: x\n---\n".to_vec()),
                ("a/b.txt".into(), b"b".to_vec()),
            ],
        }
    }

    #[test]
    fn a_skill_goes_where_its_cli_looks_and_into_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        for (agent, place) in PLACES {
            let made = put(agent, dir.path(), &[skill("tidy")], None).unwrap();
            assert_eq!(made, ["tidy"], "{agent}");
            let file = dir.path().join(place).join("tidy/a/b.txt");
            assert_eq!(std::fs::read(file).unwrap(), b"b");
            assert_eq!(
                put(agent, dir.path(), &[skill("tidy")], None).unwrap(),
                [""; 0]
            );
        }
        let excluded = std::fs::read_to_string(dir.path().join(".git/info/exclude")).unwrap();
        assert_eq!(excluded.matches("/.claude/skills/tidy/\n").count(), 1);
    }

    #[test]
    fn no_name_and_no_link_leads_out_of_the_workspace() {
        for id in [
            "",
            "..",
            "../x",
            "a/b",
            "/x",
            ".hidden",
            "a\nb",
            "a b",
            &"x".repeat(65),
        ] {
            let sent = json!({"skillId": id, "content": "x"});
            assert!(of_session(&sent).is_err(), "{id}");
        }
        let dir = tempfile::tempdir().unwrap();
        let (workspace, away) = (dir.path().join("w"), dir.path().join("away"));
        std::fs::create_dir_all(&away).unwrap();
        for link in [".claude", ".claude/skills"] {
            std::fs::create_dir_all(workspace.join(link).parent().unwrap()).unwrap();
            symlink(&away, workspace.join(link)).unwrap();
            assert!(
                put("claude", &workspace, &[skill("tidy")], None).is_err(),
                "{link}"
            );
            std::fs::remove_dir_all(&workspace).unwrap();
        }
        assert_eq!(std::fs::read_dir(&away).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_is_a_skill_when_it_holds_files_and_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tidy");
        std::fs::create_dir_all(folder.join("a")).unwrap();
        std::fs::write(folder.join("a/b.txt"), "b").unwrap();
        assert!(of_folder(&folder).unwrap_err().contains("SKILL.md"));
        std::fs::write(folder.join("SKILL.md"), "x").unwrap();
        assert_eq!(of_folder(&folder).unwrap().files.len(), 2);
        symlink("/etc/passwd", folder.join("link")).unwrap();
        assert!(of_folder(&folder).unwrap_err().contains("link"));
    }
}

//! Skills: folders with a `SKILL.md`, put where the agent's CLI looks for them in its workspace.
//!
//! A skill's name is one plain word, and its files are regular ones below its folder: neither leads
//! anywhere else. One that the workspace has already is left as it is. Those of ours follow what the
//! session asks for: changed, they are brought up to date, and taken away when they are asked for no
//! more.

mod placing;

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use uuid::Uuid;

use self::placing::Shelf;
pub(in crate::daemon) use self::placing::{Changes, Placed};

use crate::daemon::{DaemonError, Setup};
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
pub(in crate::daemon) struct Skill {
    name: String,
    /// In the order of their places.
    files: Vec<SkillFile>,
    /// Whether the Hub sent it.
    sent: bool,
}

/// A file of a skill.
#[derive(Debug, PartialEq, Eq)]
struct SkillFile {
    /// In its folder.
    path: PathBuf,
    content: Vec<u8>,
    /// Whether it can be run.
    is_program: bool,
}

impl Skill {
    /// To know it again.
    fn digest(&self) -> Uuid {
        let mut all = Vec::new();
        for file in &self.files {
            let path = file.path.as_os_str().as_encoded_bytes();
            for part in [path, &[u8::from(file.is_program)], &file.content] {
                all.extend_from_slice(&(part.len() as u64).to_le_bytes());
                all.extend_from_slice(part);
            }
        }
        Uuid::new_v5(&Uuid::NAMESPACE_OID, &all)
    }
}

/// The skills of the settings and of the session.
pub(in crate::daemon) fn wanted(
    setup: &Setup<'_>,
    detail: Option<&SessionDetail>,
) -> Result<Vec<Skill>, DaemonError> {
    with_sent(typed(setup)?, detail)
}

/// The skills of the settings.
pub(in crate::daemon) fn typed(setup: &Setup<'_>) -> Result<Vec<Skill>, DaemonError> {
    let folders = setup.config.skills.iter().map(|folder| {
        of_folder(folder).map_err(|why| {
            DaemonError::Usage(format!(
                "--skill {}: {why}; name a folder with a SKILL.md in it",
                folder.display()
            ))
        })
    });
    folders.collect()
}

/// The same with those that the Hub sends.
pub(in crate::daemon) fn with_sent(
    mut skills: Vec<Skill>,
    detail: Option<&SessionDetail>,
) -> Result<Vec<Skill>, DaemonError> {
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

/// Makes the workspace hold them, and no others of ours; `placed` are those that were put there
/// before. With `keeps_sent`, those that the Hub sent stay as they are: it was not asked.
pub(in crate::daemon) fn put(
    agent: &str,
    workspace: &Path,
    skills: &[Skill],
    keeps_sent: bool,
    placed: &mut Vec<Placed>,
    owner: Option<(u32, u32)>,
) -> Result<Changes, DaemonError> {
    let place = PLACES.iter().find(|(name, _)| *name == agent);
    let Some((_, place)) = place.filter(|_| !skills.is_empty() || !placed.is_empty()) else {
        return Ok(Changes::default());
    };
    let mut work = || {
        let shelf = Shelf::open(workspace, Path::new(place))?;
        shelf.hold(skills, keeps_sent, placed)
    };
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
        files: vec![SkillFile {
            path: "SKILL.md".into(),
            content: content.as_bytes().to_vec(),
            is_program: false,
        }],
        sent: true,
    }))
}

fn of_folder(folder: &Path) -> Result<Skill, String> {
    let base = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    read(folder, &base)
}

fn read(folder: &Path, base: &str) -> Result<Skill, String> {
    let mut skill = Skill {
        name: name(base)?,
        files: Vec::new(),
        sent: false,
    };
    let mut left = LARGEST;
    gather(folder, Path::new(""), DEEPEST, &mut left, &mut skill.files)?;
    skill.files.sort_by(|a, b| a.path.cmp(&b.path));
    let is_main = |file: &SkillFile| file.path == Path::new("SKILL.md");
    if !skill.files.iter().any(is_main) {
        return Err("it has no SKILL.md".to_owned());
    }
    Ok(skill)
}

fn gather(
    root: &Path,
    below: &Path,
    depth: usize,
    left: &mut u64,
    files: &mut Vec<SkillFile>,
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
        let file = crate::files::open_plain(&entry.path()).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        file.take(*left + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        *left = left
            .checked_sub(content.len() as u64)
            .ok_or("it is larger than 16 MiB")?;
        files.push(SkillFile {
            path,
            content,
            is_program: mode & 0o100 != 0,
        });
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
        let file = |path: &str, content: &str| SkillFile {
            path: path.into(),
            content: content.as_bytes().to_vec(),
            is_program: path == "a/b.sh",
        };
        Skill {
            name: name.to_owned(),
            files: vec![file("SKILL.md", "---\nname: x\n---\n"), file("a/b.sh", "b")],
            sent: false,
        }
    }

    fn put_one(agent: &str, dir: &Path, placed: &mut Vec<Placed>) -> Result<Changes, DaemonError> {
        put(agent, dir, &[skill("tidy")], false, placed, None)
    }

    #[test]
    fn a_skill_goes_where_its_cli_looks_and_into_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        for (agent, place) in PLACES {
            let mut placed = Vec::new();
            let made = put_one(agent, dir.path(), &mut placed).unwrap();
            assert_eq!(made.words(), ["skills for the agent: tidy"], "{agent}");
            let file = dir.path().join(place).join("tidy/a/b.sh");
            assert_eq!(std::fs::read(&file).unwrap(), b"b");
            let bits = file.metadata().unwrap().permissions().mode();
            assert_eq!(bits & 0o111, 0o111);
            let again = put_one(agent, dir.path(), &mut placed).unwrap();
            assert_eq!(again, Changes::default());
        }
        let excluded = std::fs::read_to_string(dir.path().join(".git/info/exclude")).unwrap();
        assert_eq!(excluded.matches("/.claude/skills/tidy/\n").count(), 1);
    }

    #[test]
    fn skills_follow_what_is_asked_for_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(".claude/skills").join(name);
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        std::fs::create_dir_all(path("theirs")).unwrap();
        std::fs::write(path("theirs/SKILL.md"), "theirs").unwrap();
        let sent = Skill {
            sent: true,
            ..skill("sent")
        };
        let mut placed = Vec::new();
        let mut hold = |skills: &[Skill], keeps_sent| {
            let changes = put("claude", dir.path(), skills, keeps_sent, &mut placed, None);
            changes.unwrap().words()
        };
        let all = [skill("old"), skill("kept"), skill("theirs"), sent];
        let words = [
            "skills for the agent: old, kept, sent",
            "skills left as the workspace has them: theirs",
        ];
        assert_eq!(hold(&all, false), words);
        let mut newer = skill("kept");
        newer.files[1].content = b"newer".to_vec();
        let words = ["skills brought up to date: kept", "skills taken away: old"];
        assert_eq!(hold(&[newer], true), words);
        assert_eq!(std::fs::read(path("kept/a/b.sh")).unwrap(), b"newer");
        assert!(!path("old").exists() && path("sent").exists() && path("theirs").exists());
        // One that somebody has worked on is theirs from then on.
        std::fs::write(path("kept/SKILL.md"), "changed").unwrap();
        let words = [
            "skills taken away: sent",
            "skills left as the workspace has them: kept",
        ];
        assert_eq!(hold(&[], false), words);
        assert_eq!(std::fs::read(path("kept/SKILL.md")).unwrap(), b"changed");
        let excluded = std::fs::read_to_string(dir.path().join(".git/info/exclude")).unwrap();
        assert_eq!(excluded.trim(), "/.claude/skills/kept/");
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
                put_one("claude", &workspace, &mut Vec::new()).is_err(),
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

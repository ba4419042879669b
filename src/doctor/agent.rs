//! What an agent's facts mean: program, version, credentials.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::check::{Check, Fatal, Status};
use crate::daemon::FoundBy;

/// What was found of an agent.
#[derive(Debug, Clone)]
pub(super) struct AgentFacts {
    pub(super) name: &'static str,
    /// It is the one that the settings choose: its faults are fatal.
    pub(super) chosen: bool,
    /// The version that this program was tested with.
    pub(super) pinned: Option<&'static str>,
    /// `--version` names the pinned one.
    pub(super) tested: bool,
    pub(super) program: ProgramFacts,
    pub(super) credentials: CredentialFacts,
}

/// What was found of an agent's program.
#[derive(Debug, Clone)]
pub(super) enum ProgramFacts {
    /// It is there.
    Found {
        path: PathBuf,
        by: FoundBy,
        /// What it said to `--version`, or what it did instead.
        version: Result<String, String>,
    },
    /// What the config file names cannot be run.
    Unusable { command: PathBuf },
    /// It is nowhere.
    Missing {
        prefix: PathBuf,
        /// How to install it, or why `install` cannot.
        install: Result<&'static [&'static str], String>,
    },
}

/// What was found of an agent's login.
#[derive(Debug, Clone)]
pub(super) struct CredentialFacts {
    /// The variables that would count.
    pub(super) known: &'static [&'static str],
    /// Those of them that the agent would get.
    pub(super) env: Vec<&'static str>,
    /// Where login files were looked for.
    pub(super) homes: Vec<HomeFacts>,
    /// The CLI's login command.
    pub(super) login: &'static [&'static str],
}

/// A home folder that an agent may see.
#[derive(Debug, Clone)]
pub(super) struct HomeFacts {
    /// Which command uses it.
    pub(super) command: &'static str,
    pub(super) path: PathBuf,
    /// It is made anew each time: nobody can log in there.
    pub(super) fresh: bool,
    /// Login files in it.
    pub(super) files: Vec<PathBuf>,
}

/// All checks of one agent.
pub(super) fn judge(facts: &AgentFacts) -> Vec<Check> {
    let mut checks = vec![program(facts)];
    checks.extend(version(facts));
    checks.push(credentials(facts));
    checks
        .into_iter()
        .map(|check| check.of(facts.name))
        .collect()
}

/// The settings are refused for an agent.
pub(super) fn refused(name: &'static str, chosen: bool, why: String) -> Check {
    let status = if chosen {
        Status::Error(Fatal::Settings)
    } else {
        Status::Info
    };
    let mend = "correct the setting (--print-config shows where each comes from)";
    Check::new("settings", status, why).mend(mend).of(name)
}

fn program(facts: &AgentFacts) -> Check {
    let name = facts.name;
    let (text, mend) = match &facts.program {
        ProgramFacts::Found { path, by, .. } => {
            let (word, words) = match by {
                FoundBy::Config => ("config", format!("named by agents.{name}.command")),
                FoundBy::Prefix => (
                    "installed",
                    "put there by `agent-runner install`".to_owned(),
                ),
                FoundBy::Path => ("path", "on PATH".to_owned()),
            };
            let path = path.display().to_string();
            return Check::new("program", Status::Ok, format!("{path} ({words})"))
                .fact("path", path)
                .fact("found_by", word);
        }
        ProgramFacts::Unusable { command } => (
            format!(
                "{}, which agents.{name}.command names, is no program that can be run",
                command.display()
            ),
            format!("correct agents.{name}.command in the config file"),
        ),
        ProgramFacts::Missing { prefix, install } => (
            format!("not installed: not in {}, not on PATH", prefix.display()),
            match install {
                Ok(commands) => commands.join("   or: "),
                Err(why) => why.clone(),
            },
        ),
    };
    let status = if facts.chosen {
        Status::Error(Fatal::Agent)
    } else {
        Status::Info
    };
    Check::new("program", status, text)
        .mend(mend)
        .fact("path", Value::Null)
        .fact("found_by", Value::Null)
}

fn version(facts: &AgentFacts) -> Option<Check> {
    let ProgramFacts::Found { path, by, version } = &facts.program else {
        return None;
    };
    let check = match version {
        Err(what) => {
            let status = if facts.chosen {
                Status::Error(Fatal::Agent)
            } else {
                Status::Warning
            };
            let path = path.display();
            Check::new("version", status, format!("{path} --version {what}"))
                .mend(format!("run `{path} --version`, and install the CLI anew"))
                .fact("version", Value::Null)
        }
        Ok(said) => {
            let found = number(said);
            let shown = found.unwrap_or(said);
            let check = match facts.pinned {
                Some(_) if facts.tested => {
                    let text = format!("{shown}, which this agent-runner was tested with");
                    Check::new("version", Status::Ok, text)
                }
                Some(pinned) => {
                    let text = format!("{shown}; this agent-runner was tested with {pinned}");
                    Check::new("version", Status::Warning, text).mend(match by {
                        FoundBy::Config => {
                            format!("name {pinned} in agents.{}.command", facts.name)
                        }
                        FoundBy::Prefix | FoundBy::Path => {
                            format!("agent-runner install {}", facts.name)
                        }
                    })
                }
                None => {
                    let text = format!("{shown}; this agent-runner pins no version of it");
                    Check::new("version", Status::Info, text)
                }
            };
            check.fact("version", found)
        }
    };
    let tested = version.is_ok() && facts.tested;
    let check = check.fact("tested_version", facts.pinned);
    Some(check.fact("tested", tested))
}

/// The first word that begins as a version does.
pub(super) fn number(said: &str) -> Option<&str> {
    said.split_whitespace().find(|word| {
        let mut parts = word.split('.');
        let digits = |part: Option<&str>| {
            part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        };
        digits(parts.next()) && digits(parts.next()) && parts.next().is_some()
    })
}

/// Never fatal: a login may also come from a helper program, a gateway or the cloud machine
/// itself, which only the CLI can tell.
fn credentials(facts: &AgentFacts) -> Check {
    let found = &facts.credentials;
    let without: Vec<&HomeFacts> = found
        .homes
        .iter()
        .filter(|home| home.files.is_empty())
        .collect();
    let files: Vec<String> = found
        .homes
        .iter()
        .flat_map(|home| &home.files)
        .map(|file| file.display().to_string())
        .collect();
    let places = |homes: &[&HomeFacts]| {
        let places = homes
            .iter()
            .map(|home| format!("{} (`{}`)", home.path.display(), home.command));
        places.collect::<Vec<_>>().join(" and ")
    };
    let (status, text) = if !found.env.is_empty() {
        (Status::Ok, format!("{} set", found.env.join(", ")))
    } else if without.is_empty() && !files.is_empty() {
        (Status::Ok, files.join(", "))
    } else if files.is_empty() {
        let text = format!("none: no variable set, no login in {}", places(&without));
        (Status::Warning, text)
    } else {
        let text = format!("{}; but none in {}", files.join(", "), places(&without));
        (Status::Warning, text)
    };
    let status = match &facts.program {
        // Whoever does not use an agent has no login for it either.
        ProgramFacts::Missing { .. } if !facts.chosen && status == Status::Warning => Status::Info,
        _ => status,
    };
    let homes: Vec<Value> = found
        .homes
        .iter()
        .map(|home| json!({"command": home.command, "path": home.path, "files": home.files}))
        .collect();
    let check = Check::new("credentials", status, text)
        .fact("present", !found.env.is_empty() || !files.is_empty())
        .fact("env", found.env.clone())
        .fact("homes", homes);
    if status == Status::Ok {
        return check;
    }
    check.mend(login(facts, without.into_iter().find(|home| !home.fresh)))
}

fn login(facts: &AgentFacts, home: Option<&HomeFacts>) -> String {
    let set = format!("set one of {}", facts.credentials.known.join(", "));
    let Some(home) = home else {
        return format!("{set}; or log in, and give --agent-home user");
    };
    let ProgramFacts::Found { path, .. } = &facts.program else {
        return set;
    };
    if facts.credentials.login.is_empty() {
        return set;
    }
    format!(
        "{set}; or log in: HOME={} {} {}",
        home.path.display(),
        path.display(),
        facts.credentials.login.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> AgentFacts {
        let home = |command, path: &str| HomeFacts {
            command,
            path: path.into(),
            fresh: false,
            files: Vec::new(),
        };
        AgentFacts {
            name: "claude",
            chosen: true,
            pinned: Some("2.1.197"),
            tested: true,
            program: ProgramFacts::Found {
                path: "/bin/claude".into(),
                by: FoundBy::Path,
                version: Ok("2.1.197 (Claude Code)".to_owned()),
            },
            credentials: CredentialFacts {
                known: &["ANTHROPIC_API_KEY"],
                env: vec!["ANTHROPIC_API_KEY"],
                homes: vec![home("run", "/home/a"), home("daemon", "/state/claude")],
                login: &["auth", "login"],
            },
        }
    }

    fn check(facts: &AgentFacts, id: &str) -> Check {
        judge(facts)
            .into_iter()
            .find(|check| check.id == id)
            .unwrap()
    }

    #[test]
    fn an_agent_that_has_all_is_fine() {
        for check in judge(&facts()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
            assert_eq!((check.mend, check.agent), (None, Some("claude")));
        }
    }

    #[test]
    fn only_the_chosen_agents_absence_is_fatal_and_the_command_is_named() {
        let missing = AgentFacts {
            program: ProgramFacts::Missing {
                prefix: "/state/bin".into(),
                install: Ok(&["agent-runner install claude", "npm install -g x"]),
            },
            ..facts()
        };
        let program = check(&missing, "program");
        assert_eq!(program.status, Status::Error(Fatal::Agent));
        assert!(
            program
                .mend
                .unwrap()
                .contains("agent-runner install claude")
        );
        let other = AgentFacts {
            chosen: false,
            ..missing
        };
        assert_eq!(check(&other, "program").status, Status::Info);
        assert!(judge(&other).iter().all(|check| check.id != "version"));
    }

    #[test]
    fn another_version_is_a_warning_and_none_is_fatal() {
        let with = |version| AgentFacts {
            tested: false,
            program: ProgramFacts::Found {
                path: "/bin/claude".into(),
                by: FoundBy::Path,
                version,
            },
            ..facts()
        };
        let other = check(&with(Ok("codex-cli 0.170.1\n".to_owned())), "version");
        assert_eq!(other.status, Status::Warning);
        assert_eq!(other.facts["version"], "0.170.1");
        let hangs = with(Err("did not end within 20 s".to_owned()));
        let hangs = check(&hangs, "version");
        assert_eq!(hangs.status, Status::Error(Fatal::Agent));
        assert_eq!(hangs.facts["tested"], false);
    }

    #[test]
    fn a_login_for_one_command_alone_is_said_and_the_other_homes_login_named() {
        let mut partly = facts();
        partly.credentials.env.clear();
        let none = check(&partly, "credentials");
        assert_eq!(none.status, Status::Warning);
        assert_eq!(none.facts["present"], false);

        let file = PathBuf::from("/home/a/.claude/.credentials.json");
        partly.credentials.homes[0].files.push(file);
        let partly = check(&partly, "credentials");
        assert_eq!(partly.status, Status::Warning);
        assert!(partly.text.contains("none in /state/claude (`daemon`)"));
        let mend = partly.mend.unwrap();
        assert!(
            mend.contains("HOME=/state/claude /bin/claude auth login"),
            "{mend}"
        );
    }

    #[test]
    fn a_version_is_found_in_what_clis_print() {
        assert_eq!(number("2.1.197 (Claude Code)"), Some("2.1.197"));
        assert_eq!(number("codex-cli 0.169.0"), Some("0.169.0"));
        assert_eq!(number("1.2 a.b.c none"), None);
    }
}

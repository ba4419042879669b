//! What the facts of the machine mean: tools, network settings, cgroups, user, kernel.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::agent::number;
use super::check::{Check, Fatal, Status};
use super::state::size;
use crate::daemon::RunsAs;

/// A program that agents use.
#[derive(Debug, Clone)]
pub(super) struct ToolFacts {
    pub(super) path: PathBuf,
    pub(super) version: Result<String, String>,
}

/// Git's check: cloning needs none, agents do.
pub(super) fn git(facts: Option<&ToolFacts>) -> Check {
    let install = "install git (apt-get install git, apk add git, dnf install git)";
    match facts {
        None => Check::new(
            "git",
            Status::Warning,
            "not on PATH; repositories are cloned without it, but agents call it",
        )
        .mend(install)
        .fact("path", Value::Null),
        Some(ToolFacts { path, version }) => {
            let path = path.display().to_string();
            let check = match version {
                Ok(said) => Check::new("git", Status::Ok, format!("{said} at {path}"))
                    .fact("version", number(said)),
                Err(why) => {
                    let text = format!("{path} --version {why}");
                    Check::new("git", Status::Warning, text).mend(install)
                }
            };
            check.fact("path", path)
        }
    }
}

/// What was found of Docker.
#[derive(Debug, Clone)]
pub(super) struct DockerFacts {
    /// Where it was looked for, without credentials.
    pub(super) endpoint: String,
    /// `DOCKER_HOST` named it.
    pub(super) named: bool,
    pub(super) answer: Result<(), DockerFault>,
}

/// Why Docker cannot be used.
#[derive(Debug, Clone)]
pub(super) enum DockerFault {
    /// There is none.
    Absent,
    /// Its socket is not ours to use.
    Denied,
    /// Anything else.
    Other(String),
}

/// Docker's check; it is optional.
pub(super) fn docker(facts: &DockerFacts) -> Check {
    let endpoint = &facts.endpoint;
    let (status, text, mend) = match &facts.answer {
        Ok(()) => (Status::Ok, format!("answers at {endpoint}"), None),
        Err(DockerFault::Absent) if !facts.named => {
            (Status::Info, format!("none at {endpoint} (optional)"), None)
        }
        Err(DockerFault::Absent) => (
            Status::Warning,
            format!("none at {endpoint}, which DOCKER_HOST names"),
            Some("start it, or correct DOCKER_HOST"),
        ),
        Err(DockerFault::Denied) => (
            Status::Info,
            format!("{endpoint} is closed to this user (optional)"),
            Some("sudo usermod -aG docker $USER, and log in anew"),
        ),
        Err(DockerFault::Other(why)) => (
            Status::Info,
            format!("{endpoint} does not answer: {why} (optional)"),
            Some("start it (systemctl start docker)"),
        ),
    };
    let mut check = Check::new("docker", status, text)
        .fact("endpoint", endpoint.clone())
        .fact("reachable", facts.answer.is_ok());
    check.mend = mend.map(str::to_owned);
    check
}

/// The proxies' check, from names and values as they are set.
pub(super) fn proxy(variables: &[(String, String)]) -> Check {
    let shown: Vec<(&String, String)> = variables
        .iter()
        .map(|(name, value)| (name, without_credentials(value)))
        .collect();
    let facts: serde_json::Map<String, Value> = shown
        .iter()
        .map(|(name, value)| ((*name).clone(), value.clone().into()))
        .collect();
    let check = if shown.is_empty() {
        Check::new("proxy", Status::Info, "none")
    } else {
        let pairs = shown.iter().map(|(name, value)| format!("{name}={value}"));
        Check::new("proxy", Status::Ok, pairs.collect::<Vec<_>>().join(" "))
    };
    check.fact("variables", facts)
}

/// Everything before the last `@` of the authority may be a password; proxies are also written
/// without a scheme.
pub(super) fn without_credentials(value: &str) -> String {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), value),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{host}"),
        None => value.to_owned(),
    }
}

/// A variable that names CA certificates.
#[derive(Debug, Clone)]
pub(super) struct CaFacts {
    pub(super) variable: &'static str,
    pub(super) path: PathBuf,
    /// How many certificates there are (0 for a folder), or why they cannot be read.
    pub(super) certificates: Result<usize, String>,
}

/// The CA certificates' check.
pub(super) fn ca(facts: &[CaFacts]) -> Check {
    let bad = facts.iter().find_map(|ca| match &ca.certificates {
        Err(why) => Some((ca, why.clone())),
        Ok(0) if ca.variable != "SSL_CERT_DIR" => {
            Some((ca, "it holds no PEM certificate".to_owned()))
        }
        Ok(_) => None,
    });
    let check = match bad {
        Some((ca, why)) => {
            // Ours fails with it; the others are read by the agents alone.
            let status = match ca.variable {
                "SSL_CERT_FILE" => Status::Error(Fatal::Settings),
                _ => Status::Warning,
            };
            let text = format!("{}={}: {why}", ca.variable, ca.path.display());
            Check::new("ca", status, text).mend(format!("correct or unset {}", ca.variable))
        }
        None if facts.is_empty() => Check::new("ca", Status::Info, "the system's own"),
        None => {
            let each = facts
                .iter()
                .map(|ca| format!("{}={}", ca.variable, ca.path.display()));
            Check::new("ca", Status::Ok, each.collect::<Vec<_>>().join(" "))
        }
    };
    let variables: Vec<Value> = facts
        .iter()
        .map(|ca| {
            let readable = ca.certificates.is_ok();
            json!({"variable": ca.variable, "path": ca.path, "readable": readable})
        })
        .collect();
    check.fact("variables", variables)
}

/// What was found of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupFacts {
    /// 1 or 2; `None` where none are mounted.
    pub(super) version: Option<u8>,
    pub(super) memory_controller: bool,
    /// The group's memory limit in bytes.
    pub(super) memory_limit: Option<u64>,
    /// This user may make groups below its own.
    pub(super) delegated: bool,
    /// Kills for want of memory can be counted.
    pub(super) oom_detection: bool,
}

/// The control groups' check.
pub(super) fn cgroup(facts: &CgroupFacts) -> Check {
    let check = match facts.version {
        Some(version) => {
            let memory = match (facts.memory_controller, facts.memory_limit) {
                (true, Some(limit)) => format!("memory limited to {}", size(limit)),
                (true, None) => "memory not limited".to_owned(),
                (false, _) => "no memory controller".to_owned(),
            };
            let delegated = if facts.delegated {
                "delegated to this user"
            } else {
                "not delegated"
            };
            let text = format!("v{version}, {memory}, {delegated}");
            if facts.oom_detection {
                let text = format!("{text}; kills for want of memory are seen");
                Check::new("cgroup", Status::Ok, text)
            } else {
                let text = format!(
                    "{text}; an agent killed for want of memory is reported as killed, without \
                     the reason"
                );
                Check::new("cgroup", Status::Warning, text)
                    .mend("turn the memory controller on for this group, or run in a container")
            }
        }
        None => Check::new(
            "cgroup",
            Status::Warning,
            "none mounted; an agent killed for want of memory is reported without the reason",
        )
        .mend("mount -t cgroup2 none /sys/fs/cgroup"),
    };
    check
        .fact("version", facts.version)
        .fact("memory_controller", facts.memory_controller)
        .fact("memory_limit_bytes", facts.memory_limit)
        .fact("delegated", facts.delegated)
        .fact("oom_detection", facts.oom_detection)
}

/// Whom agents run as: the answer of the settings, or why they are refused.
pub(super) fn user(uid: u32, runs_as: Result<&RunsAs, String>) -> Check {
    let (word, status, text, mend) = match runs_as {
        Ok(RunsAs::Ourselves) => (
            "same",
            Status::Ok,
            format!("agents run as this user (uid {uid}), who is not root"),
            None,
        ),
        Ok(RunsAs::Root) => (
            "root",
            Status::Warning,
            "agents run as root".to_owned(),
            Some("useradd --create-home agent   (root then runs agents as that user)"),
        ),
        Ok(RunsAs::Other { name, user, .. }) => (
            "other",
            Status::Ok,
            format!("agents run as `{name}` (uid {})", user.uid),
            None,
        ),
        Err(why) => (
            "refused",
            Status::Error(Fatal::Settings),
            why,
            Some("useradd --create-home NAME, or correct --agent-user"),
        ),
    };
    let mut check = Check::new("user", status, text)
        .fact("uid", uid)
        .fact("agent_runs_as", word);
    check.mend = mend.map(str::to_owned);
    check
}

/// Whether this is a container.
pub(super) fn container(container: bool) -> Check {
    let text = if container {
        "yes: agents have a home in the state dir by default"
    } else {
        "no: `run` gives agents your own home by default"
    };
    Check::new("container", Status::Ok, text).fact("container", container)
}

/// What was found of the kernel.
#[derive(Debug, Clone)]
pub(super) struct KernelFacts {
    pub(super) release: String,
    /// Why process handles cannot be had.
    pub(super) pidfd: Result<(), String>,
    /// Why terminals cannot be had.
    pub(super) pty: Result<(), String>,
    /// The settings want agents on a terminal.
    pub(super) wants_pty: bool,
}

/// The kernel's check.
pub(super) fn kernel(facts: &KernelFacts) -> Check {
    let release = &facts.release;
    let check = match (&facts.pidfd, &facts.pty) {
        (Ok(()), Ok(())) => Check::new(
            "kernel",
            Status::Ok,
            format!("Linux {release}: pidfd and PTY work"),
        ),
        (Err(why), _) => {
            let text = format!("Linux {release}: no pidfd: {why}");
            Check::new("kernel", Status::Error(Fatal::Agent), text)
                .mend("use Linux 5.3 or newer, and allow pidfd_open in the seccomp profile")
        }
        (Ok(()), Err(why)) => {
            let status = if facts.wants_pty {
                Status::Error(Fatal::Agent)
            } else {
                Status::Warning
            };
            Check::new("kernel", status, format!("Linux {release}: no PTY: {why}"))
                .mend("mount /dev/pts (mount -t devpts devpts /dev/pts), or give --stdio pipe")
        }
    };
    check
        .fact("release", release.clone())
        .fact("pidfd", facts.pidfd.is_ok())
        .fact("pty", facts.pty.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown_however_it_is_written() {
        for (set, shown) in [
            ("http://u:hidden@p:3128/", "http://***@p:3128/"),
            ("u:hid@den@p:3128", "***@p:3128"),
            ("http://u:hid/den@p", "http://***@p"),
            ("http://p:3128", "http://p:3128"),
            ("localhost,10.0.0.0/8", "localhost,10.0.0.0/8"),
        ] {
            assert_eq!(without_credentials(set), shown);
        }
        let check = proxy(&[("https_proxy".to_owned(), "http://u:hidden@p".to_owned())]);
        assert_eq!(check.facts["variables"]["https_proxy"], "http://***@p");
        assert!(!format!("{check:?}").contains("hidden"));
    }

    #[test]
    fn only_our_own_ca_file_is_fatal() {
        let ca_of = |variable, certificates| {
            let path = "/ca.pem".into();
            ca(&[CaFacts {
                variable,
                path,
                certificates,
            }])
            .status
        };
        assert_eq!(ca(&[]).status, Status::Info);
        assert_eq!(ca_of("SSL_CERT_FILE", Ok(3)), Status::Ok);
        assert_eq!(ca_of("SSL_CERT_DIR", Ok(0)), Status::Ok);
        assert_eq!(
            ca_of("SSL_CERT_FILE", Ok(0)),
            Status::Error(Fatal::Settings)
        );
        assert_eq!(
            ca_of("NODE_EXTRA_CA_CERTS", Err("no".to_owned())),
            Status::Warning
        );
    }

    #[test]
    fn docker_and_git_are_never_fatal() {
        let docker_of = |named, fault| {
            let endpoint = "unix:///var/run/docker.sock".to_owned();
            docker(&DockerFacts {
                endpoint,
                named,
                answer: Err(fault),
            })
            .status
        };
        assert_eq!(docker_of(false, DockerFault::Absent), Status::Info);
        assert_eq!(docker_of(true, DockerFault::Absent), Status::Warning);
        assert_eq!(docker_of(false, DockerFault::Denied), Status::Info);
        assert_eq!(git(None).status, Status::Warning);
        assert!(git(None).mend.is_some());
    }

    #[test]
    fn unseen_memory_kills_are_a_warning() {
        let facts = CgroupFacts {
            version: Some(2),
            memory_controller: true,
            memory_limit: Some(4 << 30),
            delegated: false,
            oom_detection: true,
        };
        let check = cgroup(&facts);
        assert_eq!(check.status, Status::Ok);
        assert!(
            check
                .text
                .starts_with("v2, memory limited to 4.0 GiB, not delegated")
        );
        let blind = CgroupFacts {
            oom_detection: false,
            ..facts
        };
        assert_eq!(cgroup(&blind).status, Status::Warning);
    }

    #[test]
    fn without_pidfd_nothing_runs_and_without_pty_pipes_do() {
        let facts = |pidfd: Result<(), String>, wants_pty| KernelFacts {
            release: "6.1".to_owned(),
            pidfd,
            pty: Err("no /dev/ptmx".to_owned()),
            wants_pty,
        };
        let fatal = Status::Error(Fatal::Agent);
        assert_eq!(
            kernel(&facts(Err("ENOSYS".to_owned()), false)).status,
            fatal
        );
        assert_eq!(kernel(&facts(Ok(()), true)).status, fatal);
        assert_eq!(kernel(&facts(Ok(()), false)).status, Status::Warning);
    }

    #[test]
    fn root_is_told_how_to_run_agents_with_fewer_rights() {
        let root = user(0, Ok(&RunsAs::Root));
        assert_eq!(root.status, Status::Warning);
        assert!(root.mend.unwrap().contains("useradd"));
        assert_eq!(user(1000, Ok(&RunsAs::Ourselves)).status, Status::Ok);
        let refused = user(0, Err("no such user".to_owned()));
        assert_eq!(refused.status, Status::Error(Fatal::Settings));
    }
}

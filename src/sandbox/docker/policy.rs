//! What a container may do, as the engine is told it. Pure: the same settings give the same
//! description.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountType,
};

use crate::config::SandboxConfig;

/// The folder of a container's run.
pub(super) const LABEL_RUN: &str = "com.agentuity.agent-runner.run";
/// The folder of all runs of that daemon.
pub(super) const LABEL_RUNS: &str = "com.agentuity.agent-runner.runs";
/// For people who read the engine's lists.
const LABEL_SESSION: &str = "com.agentuity.agent-runner.session";
/// Where our program is in a container.
pub const PROGRAM: &str = "/.agent-runner";

/// What init and shim need as root: to become the CLI's user, to end its processes, and to take
/// from it whatever could be had again (`SETPCAP` empties the bounding set).
const CAPABILITIES: [&str; 4] = ["SETUID", "SETGID", "KILL", "SETPCAP"];
/// What init ends with when the kernel took the shim for want of memory. Engines say so as well
/// (`State.OOMKilled`), but not all of them.
pub(super) const OOM_CODE: u8 = 71;
/// Folders that programs write to wherever they run. Their content counts as memory.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];
const SCRATCH_OPTIONS: &str = "rw,exec,nosuid,nodev,size=1g,mode=1777";

/// What all containers of a session have in common.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The image.
    pub image: String,
    /// The limits and the network.
    pub limits: SandboxConfig,
    /// The program that is shim and init, on this machine.
    pub program: PathBuf,
    /// What the CLI finds at the same path as on this machine.
    pub mounted: Vec<Mounted>,
    /// The folder of all runs.
    pub runs: PathBuf,
    /// Whom init and shim run as: the owner of the run's folder.
    pub owner: (u32, u32),
    /// For the engine's lists.
    pub session: String,
}

/// A file or folder that is the same inside and outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it may be written to.
    pub writable: bool,
}

impl Policy {
    /// The container of the run in `dir`.
    pub(super) fn of_run(&self, dir: &Path) -> ContainerCreateBody {
        let mut mounts: Vec<Mount> = self.mounted.iter().map(Mounted::to_mount).collect();
        let run = Mounted {
            path: dir.to_owned(),
            writable: true,
        };
        mounts.push(run.to_mount());
        let oom_code = OOM_CODE.to_string();
        let words = [
            Path::new("init"),
            Path::new("--oom-code"),
            Path::new(&oom_code),
            Path::new("shim"),
            Path::new("--in-container"),
            dir,
        ];
        ContainerCreateBody {
            open_stdin: Some(true),
            attach_stdin: Some(true),
            stdin_once: Some(true),
            ..self.container(dir, &words, mounts)
        }
    }

    /// A container that only says whether the image can run our program, and where `program` is.
    /// It is found like that of a run whose folder, `name`, is gone.
    pub(super) fn of_probe(&self, name: &str, program: &Path) -> ContainerCreateBody {
        let words = [Path::new("shim"), Path::new("--find"), program];
        self.container(&self.runs.join(name), &words, Vec::new())
    }

    fn container(
        &self,
        run: &Path,
        words: &[&Path],
        mut mounts: Vec<Mount>,
    ) -> ContainerCreateBody {
        mounts.push(Mount {
            target: Some(PROGRAM.to_owned()),
            ..Mounted {
                path: self.program.clone(),
                writable: false,
            }
            .to_mount()
        });
        let words = words.iter().map(|word| word.display().to_string());
        let (uid, gid) = self.owner;
        ContainerCreateBody {
            image: Some(self.image.clone()),
            labels: Some(self.labels(run)),
            user: Some(format!("{uid}:{gid}")),
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            cmd: Some(words.collect()),
            working_dir: Some("/".to_owned()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            // The image's own looks for a daemon.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            host_config: Some(self.host_config(mounts)),
            ..ContainerCreateBody::default()
        }
    }

    fn labels(&self, run: &Path) -> HashMap<String, String> {
        HashMap::from([
            (LABEL_RUN.to_owned(), run.display().to_string()),
            (LABEL_RUNS.to_owned(), self.runs.display().to_string()),
            (LABEL_SESSION.to_owned(), self.session.clone()),
        ])
    }

    fn host_config(&self, mounts: Vec<Mount>) -> HostConfig {
        let limits = &self.limits;
        let memory = i64::try_from(limits.memory).unwrap_or(i64::MAX);
        // Who is not root in there could not use them.
        let is_root = self.owner.0 == 0;
        let added = CAPABILITIES.iter().filter(|_| is_root);
        let scratch = SCRATCH.map(|path| (path.to_owned(), SCRATCH_OPTIONS.to_owned()));
        HostConfig {
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(added.map(|name| (*name).to_owned()).collect()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from(scratch)),
            network_mode: Some(limits.network.clone()),
            ipc_mode: Some("private".to_owned()),
            pids_limit: Some(limits.pids),
            memory: Some(memory),
            memory_swap: Some(memory),
            nano_cpus: limits.nano_cpus,
            // What the shim says on its stdout and stderr is heard by the daemon, or in its log.
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            mounts: Some(mounts),
            init: Some(false),
            ..HostConfig::default()
        }
    }
}

/// Covers the volumes that the image declares: the engine would put each on this machine's disk,
/// without a bound. In memory they are as other folders that programs write to, and `user`'s where the
/// engine can do that: else as writable as in the image. One that is mounted anyway stays as it is.
pub(super) fn cover(body: &mut ContainerCreateBody, volumes: &[String], user: Option<(u32, u32)>) {
    let Some(host) = &mut body.host_config else {
        return;
    };
    let mounts = host.mounts.iter().flatten();
    let taken: Vec<String> = mounts.filter_map(|mount| mount.target.clone()).collect();
    let owned = user.map(|(uid, gid)| format!("{SCRATCH_OPTIONS},uid={uid},gid={gid}"));
    let options = owned.unwrap_or_else(|| SCRATCH_OPTIONS.to_owned());
    let scratch = host.tmpfs.get_or_insert_default();
    for volume in volumes {
        let path = volume.trim_end_matches('/');
        if path.starts_with('/') && !taken.iter().any(|taken| taken == path) {
            scratch
                .entry(path.to_owned())
                .or_insert_with(|| options.clone());
        }
    }
}

/// Puts a container into that user namespace.
pub(super) fn in_users(body: &mut ContainerCreateBody, namespace: &str) {
    if let Some(host) = &mut body.host_config {
        host.userns_mode = Some(namespace.to_owned());
    }
}

impl Mounted {
    fn to_mount(&self) -> Mount {
        let path = self.path.display().to_string();
        Mount {
            target: Some(path.clone()),
            source: Some(path),
            typ: Some(MountType::BIND),
            read_only: Some(!self.writable),
            bind_options: Some(MountBindOptions {
                propagation: Some(bollard::models::MountBindOptionsPropagationEnum::RPRIVATE),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_an_image_are_in_memory_but_where_something_is_mounted() {
        let workspace = Mounted {
            path: "/workspace".into(),
            writable: true,
        };
        let mut body = ContainerCreateBody {
            host_config: Some(HostConfig {
                mounts: Some(vec![workspace.to_mount()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let volumes = ["/data/", "/workspace", "", "relative"].map(str::to_owned);
        cover(&mut body, &volumes, Some((7, 8)));
        let scratch = body.host_config.and_then(|host| host.tmpfs).unwrap();
        let options = format!("{SCRATCH_OPTIONS},uid=7,gid=8");
        assert_eq!(scratch, HashMap::from([("/data".to_owned(), options)]));
    }
}

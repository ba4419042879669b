//! Which files an agent, and the script that prepares its workspace, get at where the settings ask for Landlock.

use std::path::{Path, PathBuf};

use crate::daemon::{DaemonError, Setup};
use crate::process::{Reach, can_restrict_files};

/// Where systems keep programs, what these read, and what the kernel shows.
const SYSTEM: [&str; 13] = [
    "/bin", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/proc", "/run",
    "/sbin", "/sys", "/usr",
];
/// Where everyone writes.
const SHARED: [&str; 3] = ["/dev", "/tmp", "/var/tmp"];

/// Refuses a restriction that this kernel does not know, before anything is made.
pub(in crate::daemon) fn check(setup: &Setup<'_>) -> Result<(), DaemonError> {
    if !setup.config.sandbox.landlock || can_restrict_files() {
        return Ok(());
    }
    Err(DaemonError::Usage(
        "landlock = true: this kernel has no Landlock (it takes Linux 5.13, and `landlock` among \
         the kernel's `lsm`); leave the setting out, or use --sandbox docker"
            .to_owned(),
    ))
}

/// What `program`, the agent's CLI or a shell, gets at; none where it is not restricted.
pub(in crate::daemon) fn reach(
    setup: &Setup<'_>,
    program: &Path,
    (workspace, home): (&Path, &Path),
    git: &Path,
) -> Option<Reach> {
    let config = setup.config;
    if !config.sandbox.landlock {
        return None;
    }
    let mut read: Vec<PathBuf> = SYSTEM.map(PathBuf::from).to_vec();
    read.extend(program_places(program));
    read.push(setup.prefix.clone());
    // The agent's git asks it for tokens.
    read.extend(std::env::current_exe());
    let path = setup.env.value("PATH").unwrap_or_default();
    read.extend(std::env::split_paths(path).filter(|dir| dir.is_absolute() && has_name(dir)));
    let files = [&config.agent.system_prompt_file, &config.agent.mcp_config];
    read.extend(files.into_iter().flatten().cloned());
    read.extend(config.ca_file.clone());
    read.push(git.to_owned());
    let mut write: Vec<PathBuf> = SHARED.map(PathBuf::from).to_vec();
    write.extend([workspace.to_owned(), home.to_owned()]);
    Some(Reach { read, write })
}

/// The folder of a program, and of the packages that it belongs to.
fn program_places(program: &Path) -> Vec<PathBuf> {
    let Ok(real) = program.canonicalize() else {
        return Vec::new();
    };
    let packages = real
        .ancestors()
        .filter(|folder| {
            folder
                .file_name()
                .is_some_and(|name| name == "node_modules")
        })
        .last();
    let own = real.parent().filter(|folder| has_name(folder));
    let given = program.parent().filter(|folder| has_name(folder));
    let all = [packages, own, given].into_iter().flatten();
    all.map(Path::to_owned).collect()
}

/// Not the root folder, which would open everything.
fn has_name(folder: &Path) -> bool {
    folder.file_name().is_some()
}

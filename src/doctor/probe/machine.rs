//! Looks at tools, network settings, user and kernel.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::process::{PidfdFlags, geteuid, getpid, pidfd_open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::super::machine::{CaFacts, KernelFacts, ToolFacts};
use super::agent::ask_version;
use crate::config::{EnvMap, Stdio};
use crate::daemon::Setup;
use crate::install::Environment;

/// The largest bundle that is read; the system's own has half a megabyte.
const MAX_CA: u64 = 16 << 20;

/// Finds git and asks its version.
pub(in super::super) fn git(setup: &Setup<'_>) -> Option<ToolFacts> {
    let path = Environment::new(setup.env.variables()).find("git")?;
    let version = ask_version(&path, setup.env);
    Some(ToolFacts { path, version })
}

/// The proxy variables that are set.
pub(in super::super) fn proxies(env: &EnvMap) -> Vec<(String, String)> {
    const NAMES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];
    NAMES
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()])
        .filter_map(|name| {
            let value = env.value(&name)?.to_string_lossy().into_owned();
            Some((name, value))
        })
        .collect()
}

/// The variables that name CA certificates.
pub(in super::super) fn ca(setup: &Setup<'_>) -> Vec<CaFacts> {
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"]
        .into_iter()
        .filter_map(|variable| {
            let path = setup.cwd.join(setup.env.value(variable)?);
            let certificates = match variable {
                "SSL_CERT_DIR" => path.read_dir().map(|_| 0),
                _ => certificates(&path),
            };
            let certificates = certificates.map_err(|error| error.to_string());
            Some(CaFacts {
                variable,
                path,
                certificates,
            })
        })
        .collect()
}

fn certificates(path: &Path) -> io::Result<usize> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_CA).read_to_end(&mut text)?;
    let found = memchr::memmem::find_iter(&text, b"-----BEGIN CERTIFICATE-----");
    Ok(found.count())
}

/// This user.
pub(in super::super) fn uid() -> u32 {
    geteuid().as_raw()
}

/// Tries what the supervision of agents is built on.
pub(in super::super) fn kernel(setup: &Setup<'_>) -> KernelFacts {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty());
    KernelFacts {
        release: release.trim().to_owned(),
        pidfd: pidfd.map(drop).map_err(|error| error.to_string()),
        pty: pty().map_err(|error| error.to_string()),
        wants_pty: setup.config.agent.stdio == Stdio::Pty,
    }
}

fn pty() -> io::Result<()> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    ioctl_tiocgptpeer(&master, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(certificates(&path).is_err());
        let one = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, one.repeat(2)).unwrap();
        assert_eq!(certificates(&path).unwrap(), 2);
    }

    #[test]
    fn a_pty_can_be_opened_where_tests_run() {
        pty().unwrap();
    }
}

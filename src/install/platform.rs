//! Which builds of a CLI this machine can run.

use std::fmt;
use std::path::Path;

/// The processor, by npm's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    X64,
    Arm64,
}

impl Arch {
    /// npm's name for it (`--cpu`).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }
}

/// The C library that dynamically linked executables find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Libc {
    Glibc,
    Musl,
}

impl Libc {
    /// npm's name for it (`--libc`).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        }
    }
}

/// A Linux machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) arch: Arch,
    pub(super) libc: Libc,
    pub(super) avx2: bool,
}

impl Platform {
    /// This machine; `None` where no CLI has a build for its processor.
    pub(super) fn current() -> Option<Self> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => Arch::X64,
            "aarch64" => Arch::Arm64,
            _ => return None,
        };
        Some(Self {
            arch,
            libc: libc(arch, Path::new("/")),
            avx2: has_avx2(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.arch.as_str(), self.libc.as_str())
    }
}

/// agent-runner itself may be linked statically, so what it was built for says nothing: the
/// dynamic loader that the machine has does. Alpine with `gcompat` has glibc's too, but the
/// CLIs' glibc builds need more than that offers.
fn libc(arch: Arch, root: &Path) -> Libc {
    let loader = match arch {
        Arch::X64 => "lib64/ld-linux-x86-64.so.2",
        Arch::Arm64 => "lib/ld-linux-aarch64.so.1",
    };
    if root.join(loader).exists() && !root.join("etc/alpine-release").exists() {
        Libc::Glibc
    } else {
        Libc::Musl
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_avx2() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpine_is_musl_even_with_a_glibc_loader() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(libc(Arch::X64, root.path()), Libc::Musl);
        std::fs::create_dir(root.path().join("lib64")).unwrap();
        std::fs::write(root.path().join("lib64/ld-linux-x86-64.so.2"), "").unwrap();
        assert_eq!(libc(Arch::X64, root.path()), Libc::Glibc);
        assert_eq!(libc(Arch::Arm64, root.path()), Libc::Musl);
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/alpine-release"), "3.22").unwrap();
        assert_eq!(libc(Arch::X64, root.path()), Libc::Musl);
    }
}

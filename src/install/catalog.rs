//! The agent CLIs that can be installed: one entry each, beside its npm lock file.
//!
//! A lock file is what npm itself writes for the packages named here, without the registry's
//! address (`omit-lockfile-registry-resolved`): it pins version and SHA-512 of every package, and
//! npm takes the address from the user's own configuration. `docs/install.md` shows how to make
//! one. Native builds are pinned for Linux only, as agent-runner runs nowhere else.

use super::platform::{Arch, Libc, Platform};

/// One CLI at the version that this agent-runner was tested with.
#[derive(Debug)]
pub struct Release {
    /// The agent's name, which is also the name of the link in the prefix.
    pub name: &'static str,
    /// The pinned version, as `--version` prints it.
    pub version: &'static str,
    pub(super) lock: &'static str,
    pub(super) program: Program,
}

/// What a CLI is made of.
#[derive(Debug)]
pub(super) enum Program {
    /// A native executable, in one package for each kind of machine. The first that fits is taken.
    Native(&'static [Build]),
    /// JavaScript: needs Node at run time too. The path is relative to the release's folder.
    JavaScript(&'static str),
}

/// A native package, and the machine that it is for.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) package: &'static str,
    /// Relative to the package.
    pub(super) executable: &'static str,
    arch: Arch,
    /// `None`: statically linked, runs with any.
    libc: Option<Libc>,
    avx2: bool,
}

impl Build {
    /// Whether it runs on `platform`.
    pub(super) fn fits(&self, platform: Platform) -> bool {
        self.arch == platform.arch
            && self.libc.is_none_or(|libc| libc == platform.libc)
            && (platform.avx2 || !self.avx2)
    }
}

/// Every CLI that can be installed.
pub const RELEASES: &[Release] = &[
    Release {
        name: "claude",
        version: "2.1.197",
        lock: include_str!("locks/claude.json"),
        // The package `@anthropic-ai/claude-code` only chooses one of these in a postinstall
        // script; they need neither the script nor Node.
        program: Program::Native(&[
            Build {
                package: "@anthropic-ai/claude-code-linux-x64",
                executable: "claude",
                arch: Arch::X64,
                libc: Some(Libc::Glibc),
                avx2: false,
            },
            Build {
                package: "@anthropic-ai/claude-code-linux-arm64",
                executable: "claude",
                arch: Arch::Arm64,
                libc: Some(Libc::Glibc),
                avx2: false,
            },
            Build {
                package: "@anthropic-ai/claude-code-linux-x64-musl",
                executable: "claude",
                arch: Arch::X64,
                libc: Some(Libc::Musl),
                avx2: false,
            },
            Build {
                package: "@anthropic-ai/claude-code-linux-arm64-musl",
                executable: "claude",
                arch: Arch::Arm64,
                libc: Some(Libc::Musl),
                avx2: false,
            },
        ]),
    },
    Release {
        name: "codex",
        version: "0.169.0",
        lock: include_str!("locks/codex.json"),
        // The launcher of `@openai/codex` stays as a parent under Node 20, and a SIGKILL of it
        // leaves the real process running: the native executable is linked directly.
        program: Program::Native(&[
            Build {
                package: "@openai/codex-linux-x64",
                executable: "vendor/x86_64-unknown-linux-musl/bin/codex",
                arch: Arch::X64,
                libc: None,
                avx2: false,
            },
            Build {
                package: "@openai/codex-linux-arm64",
                executable: "vendor/aarch64-unknown-linux-musl/bin/codex",
                arch: Arch::Arm64,
                libc: None,
                avx2: false,
            },
        ]),
    },
    Release {
        name: "opencode",
        version: "1.18.33",
        lock: include_str!("locks/opencode.json"),
        // The postinstall script of `opencode-ai` chooses one of these and fetches another,
        // unpinned, when that one does not start.
        program: Program::Native(&[
            Build {
                package: "opencode-linux-x64",
                executable: "bin/opencode",
                arch: Arch::X64,
                libc: Some(Libc::Glibc),
                avx2: true,
            },
            Build {
                package: "opencode-linux-x64-baseline",
                executable: "bin/opencode",
                arch: Arch::X64,
                libc: Some(Libc::Glibc),
                avx2: false,
            },
        ]),
    },
    Release {
        name: "gemini",
        version: "0.61.0",
        lock: include_str!("locks/gemini.json"),
        program: Program::JavaScript("node_modules/@google/gemini-cli/bundle/gemini.js"),
    },
    Release {
        name: "pi",
        version: "0.74.2",
        lock: include_str!("locks/pi.json"),
        program: Program::JavaScript("node_modules/@earendil-works/pi-coding-agent/dist/cli.js"),
    },
];

/// There is no such agent to install.
#[derive(Debug, thiserror::Error)]
#[error("no agent is called `{name}`; install knows {}", known())]
pub struct UnknownAgent {
    name: String,
}

/// The entry of the agent called `name`.
pub fn release(name: &str) -> Result<&'static Release, UnknownAgent> {
    RELEASES
        .iter()
        .find(|release| release.name == name)
        .ok_or_else(|| UnknownAgent {
            name: name.to_owned(),
        })
}

fn known() -> String {
    let names: Vec<_> = RELEASES.iter().map(|release| release.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X64: Platform = Platform {
        arch: Arch::X64,
        libc: Libc::Glibc,
        avx2: true,
    };

    fn chosen(name: &str, platform: Platform) -> Option<&'static str> {
        match release(name).unwrap().program {
            Program::Native(builds) => builds.iter().find(|build| build.fits(platform)),
            Program::JavaScript(_) => None,
        }
        .map(|build| build.package)
    }

    #[test]
    fn the_build_fits_processor_and_c_library() {
        let old = Platform { avx2: false, ..X64 };
        let alpine = Platform {
            libc: Libc::Musl,
            ..X64
        };
        assert_eq!(chosen("opencode", X64), Some("opencode-linux-x64"));
        assert_eq!(chosen("opencode", old), Some("opencode-linux-x64-baseline"));
        assert_eq!(chosen("opencode", alpine), None);
        assert_eq!(chosen("codex", alpine), Some("@openai/codex-linux-x64"));
        assert_eq!(
            chosen("claude", alpine),
            Some("@anthropic-ai/claude-code-linux-x64-musl")
        );
    }

    #[test]
    fn an_unknown_agent_is_answered_with_the_known_ones() {
        let error = release("cluade").unwrap_err().to_string();
        assert!(error.contains("`cluade`"), "{error}");
        for known in RELEASES {
            assert!(error.contains(known.name), "{error}");
        }
    }
}

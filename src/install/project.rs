//! The npm project that installs a release on this machine: `package.json` and its lock file.
//!
//! For a native CLI the project asks for the one package that fits, as a plain dependency: npm
//! skips an *optional* one that it cannot fetch without a word, and would fetch builds that this
//! machine does not need.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::catalog::{Program, Release};
use super::platform::Platform;

/// What npm is given, and where the CLI then lies.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) package_json: String,
    pub(super) package_lock: String,
    /// Relative to the project's folder.
    pub(super) executable: PathBuf,
}

impl Project {
    /// `None` when the release has no build for `platform`.
    pub(super) fn new(release: &Release, platform: Platform) -> Option<Self> {
        let lock: Value = serde_json::from_str(release.lock).ok()?;
        let locked = lock.get("packages")?.as_object()?;
        let root = locked.get("")?;
        let (dependencies, packages, executable) = match release.program {
            Program::JavaScript(executable) => (
                root.get("dependencies")?.clone(),
                locked.clone(),
                PathBuf::from(executable),
            ),
            Program::Native(builds) => {
                let build = builds.iter().find(|build| build.fits(platform))?;
                let at = format!("node_modules/{}", build.package);
                let range = root.get("optionalDependencies")?.get(build.package)?;
                let mut package = locked.get(&at)?.as_object()?.clone();
                package.remove("optional");
                let executable = PathBuf::from(&at).join(build.executable);
                let packages = Map::from_iter([(at, Value::Object(package))]);
                (json!({ build.package: range }), packages, executable)
            }
        };
        Some(Self::assemble(release, &dependencies, packages, executable))
    }

    fn assemble(
        release: &Release,
        dependencies: &Value,
        mut packages: Map<String, Value>,
        executable: PathBuf,
    ) -> Self {
        let name = release.name;
        packages.insert(
            String::new(),
            json!({ "name": name, "dependencies": dependencies }),
        );
        let package_json = json!({
            "name": name,
            "private": true,
            "dependencies": dependencies,
        });
        let package_lock = json!({
            "name": name,
            "lockfileVersion": 3,
            "requires": true,
            "packages": packages,
        });
        Self {
            package_json: package_json.to_string(),
            package_lock: package_lock.to_string(),
            executable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::RELEASES;
    use super::super::platform::{Arch, Libc};
    use super::*;

    fn locked(release: &Release) -> Map<String, Value> {
        let lock: Value = serde_json::from_str(release.lock).unwrap();
        lock["packages"].as_object().unwrap().clone()
    }

    #[test]
    fn every_locked_package_has_a_sha512_and_no_address() {
        for release in RELEASES {
            for (at, package) in locked(release).iter().filter(|(at, _)| !at.is_empty()) {
                let integrity = package["integrity"].as_str().unwrap_or_default();
                assert!(integrity.starts_with("sha512-"), "{at}: {integrity}");
                // where to send money, and why not to use it, is all that may name an address
                let said = |field: &str| matches!(field, "funding" | "deprecated");
                let fields = package.as_object().unwrap().iter();
                for (field, value) in fields.filter(|(field, _)| !said(field)) {
                    assert!(!value.to_string().contains("://"), "{at}: {field}");
                }
            }
        }
    }

    #[test]
    fn each_lock_file_holds_the_pinned_version_of_every_build() {
        for release in RELEASES {
            let locked = locked(release);
            let packages: Vec<_> = match release.program {
                Program::Native(builds) => builds.iter().map(|build| build.package).collect(),
                Program::JavaScript(executable) => {
                    let package = executable.strip_prefix("node_modules/").unwrap();
                    let parts: Vec<_> = package.splitn(3, '/').collect();
                    assert!(locked[""]["dependencies"][parts[..2].join("/")].is_string());
                    continue;
                }
            };
            assert_eq!(locked.len(), packages.len() + 1, "{}", release.name);
            for package in packages {
                let version = locked[&format!("node_modules/{package}")]["version"]
                    .as_str()
                    .unwrap();
                assert!(version.starts_with(release.version), "{package}: {version}");
            }
        }
    }

    #[test]
    fn a_native_project_asks_for_one_package_and_insists_on_it() {
        let codex = super::super::catalog::release("codex").unwrap();
        let platform = Platform {
            arch: Arch::X64,
            libc: Libc::Glibc,
            avx2: true,
        };
        let project = Project::new(codex, platform).unwrap();
        let lock: Value = serde_json::from_str(&project.package_lock).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert_eq!(packages.len(), 2);
        let package = &packages["node_modules/@openai/codex-linux-x64"];
        assert_eq!(package["name"], "@openai/codex");
        assert!(package.get("optional").is_none());
        assert!(project.package_json.contains("npm:@openai/codex@0.169.0"));
    }
}

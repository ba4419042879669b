//! Which version of its CLI a session has, without starting the CLI for it.
//!
//! A package of npm says so in the file beside it; of a program that came another way nothing is
//! known.

use std::path::Path;

use serde::Deserialize;

/// A package's own description is a few KiB; what is longer is none.
const MOST: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Package {
    version: String,
}

/// The version of the package that a program belongs to.
pub(in crate::daemon) fn agent_version(program: &Path) -> Option<String> {
    let program = program.canonicalize().ok()?;
    // Not beyond the folder of packages: what lies around it is somebody's project.
    let mut folders = program.ancestors().skip(1).take_while(|folder| {
        let name = folder.file_name();
        name.is_some_and(|name| name != "node_modules")
    });
    if !program.iter().any(|part| part == "node_modules") {
        return None;
    }
    folders.find_map(|folder| {
        let path = folder.join("package.json");
        let is_short = path.metadata().is_ok_and(|file| file.len() <= MOST);
        let text = is_short.then(|| std::fs::read_to_string(&path).ok())??;
        let package: Package = serde_json::from_str(&text).ok()?;
        Some(package.version)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_package_of_npm_has_its_version_and_a_script_in_a_project_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        let package = project.join("node_modules/@some/cli");
        fs::create_dir_all(package.join("bin")).unwrap();
        fs::write(project.join("package.json"), r#"{"version": "0.0.1"}"#).unwrap();
        fs::write(project.join("script"), "").unwrap();
        fs::write(package.join("bin/cli.js"), "").unwrap();
        let program = package.join("bin/cli.js");
        assert_eq!(agent_version(&program), None);
        fs::write(package.join("package.json"), r#"{"version": "2.1.197"}"#).unwrap();
        let link = dir.path().join("cli");
        std::os::unix::fs::symlink(&program, &link).unwrap();
        assert_eq!(agent_version(&link).as_deref(), Some("2.1.197"));
        assert_eq!(agent_version(&project.join("script")), None);
    }
}

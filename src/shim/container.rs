//! The shim as the program of a container: its own process, ended by nothing but its run.
//!
//! It is told the CLI's environment over its stdin, in a block whose length comes first: what
//! reaches a container's stdin is a stream that nobody promises to end. The image's own variables
//! lie below that block. Programs are looked up here, on the image's own `PATH`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::child::failure;
use super::{ShimError, Step as _, own, report};
use crate::config::{EnvMap, is_ours};
use crate::files;
use crate::process::{self, Environment};
use crate::spool::{Plan, RunDir, SpawnFailure};

/// A kernel takes no longer environment.
const MAX_BLOCK: u32 = 8 << 20;

/// There is no such program.
#[derive(Debug, thiserror::Error)]
#[error("there is no `{program}` on the PATH {path}", program = program.display())]
pub struct NotFound {
    program: PathBuf,
    path: String,
}

/// Runs a shim for the run in `dir`; returns after the run.
pub fn run_in_container(dir: &RunDir) -> Result<(), ShimError> {
    process::close_inherited().step("close inherited descriptors")?;
    process::set_own_name(process::SHIM_NAME).step("take a name")?;
    let environment = environment_from_stream()?;
    let log = files::append_private(&dir.shim_log()).step("open the shim's log")?;
    nix::unistd::dup2_stderr(log).step("write to the shim's log")?;
    report(own(dir, environment))
}

/// Where `program` is: itself where it is a path, else the first that can be run on `path`.
pub fn find_program(program: &Path, path: &OsStr) -> Result<PathBuf, NotFound> {
    let runnable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let mut places: Vec<PathBuf> = vec![program.to_owned()];
    if program.components().count() == 1 && program.is_relative() {
        let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        places = dirs.map(|dir| dir.join(program)).collect();
    }
    places.into_iter().find(runnable).ok_or_else(|| NotFound {
        program: program.to_owned(),
        path: path.to_string_lossy().into_owned(),
    })
}

/// The program of a plan. A path is left to `execve`, which knows best what is wrong with it.
pub(super) fn program_of(plan: &Plan, environment: &Environment) -> Result<PathBuf, SpawnFailure> {
    if plan.program.is_absolute() {
        return Ok(plan.program.clone());
    }
    let path = environment.value("PATH").unwrap_or_default();
    find_program(&plan.program, path).map_err(|missing| {
        let error = io::Error::new(io::ErrorKind::NotFound, missing);
        failure("find", &plan.program, &error)
    })
}

fn environment_from_stream() -> Result<Environment, ShimError> {
    let block = read_block(&mut io::stdin()).map_err(ShimError::TornEnvironment)?;
    let null = File::open("/dev/null").step("open /dev/null")?;
    nix::unistd::dup2_stdin(null).step("replace stdin")?;
    let given = Environment::from_block(&block).ok_or(ShimError::NoEnvironment)?;
    let image = EnvMap::of_this_process();
    let mut environment = Environment::new();
    // Our own settings, Hub keys among them, are no CLI's business, whoever put them into an image.
    for (name, value) in image.iter().filter(|(name, _)| !is_ours(name)) {
        // What the kernel gave us is a variable.
        let _set = environment.set(name, value);
    }
    environment.extend(given);
    Ok(environment)
}

/// Four bytes of length, then the block.
fn read_block(stream: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_BLOCK {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = Vec::new();
    stream.take(length.into()).read_to_end(&mut block)?;
    if u32::try_from(block.len()) == Ok(length) {
        Ok(block)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_whole_or_not_at_all() {
        let read = |bytes: &[u8]| read_block(&mut &*bytes);
        assert_eq!(read(b"\0\0\0\x02abc").unwrap(), b"ab");
        assert_eq!(read(b"\0\0\0\0").unwrap(), b"");
        for torn in [&b""[..], b"\0\0\0", b"\0\0\0\x03ab", b"\xff\0\0\0ab"] {
            assert!(read(torn).is_err(), "{torn:?}");
        }
    }

    #[test]
    fn a_bare_name_is_looked_up_and_a_path_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cli");
        std::fs::write(&file, "").unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        let missing = find_program(Path::new("cli"), &path).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("no `cli` on the PATH /nowhere")
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(Path::new("cli"), &path).unwrap(), file);
        assert_eq!(find_program(&file, OsStr::new("")).unwrap(), file);
    }
}

//! Whether a file that may be executed can be: what the kernel would find out with the first turn is
//! said before anything is made.
//!
//! Says nothing where it does not know: of a file that it may not read, or of a foreign program where
//! the machine has been told how to run such (`binfmt_misc`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::program::on_path;

/// A first line, or an ELF header with its program headers, is within this.
const HEAD: u64 = 4096;
const ELF: &[u8] = b"\x7fELF";
/// Where in an ELF header the machine is, the place of the program headers, and how many of which size.
const MACHINE: usize = 18;
const HEADERS_AT: usize = 32;
const HEADER_SIZE: usize = 54;
const HEADERS: usize = 56;
/// 64 bits, little-endian: all that this program is built for.
const CLASS_AND_ORDER: &[u8] = &[2, 1];
/// A program header that names the loader, and where in it the name's place and length are.
const INTERP: u32 = 3;
const INTERP_AT: usize = 8;
const INTERP_SIZE: usize = 32;

/// This machine's programs.
const OWN: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

/// Why `program` cannot be executed, and what to do; `path` is what its first line's `env` looks in.
pub(super) fn fault(program: &Path, path: &OsStr) -> Option<String> {
    let mut head = Vec::new();
    let file = File::open(program).ok()?;
    file.take(HEAD).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return of_script(line.split(|byte| *byte == b'\n').next()?, path);
    }
    if head.starts_with(ELF) {
        return of_binary(&head);
    }
    (!runs_foreign()).then(|| {
        "it is neither a program nor a script whose first line names one (`#!…`); install it again"
            .to_owned()
    })
}

fn of_script(line: &[u8], path: &OsStr) -> Option<String> {
    let mut words = line
        .split(|byte| [b' ', b'\t'].contains(byte))
        .filter(|word| !word.is_empty());
    let interpreter = Path::new(OsStr::from_bytes(words.next().unwrap_or_default()));
    if !interpreter.exists() {
        return Some(format!(
            "its first line names `{}`, which is not there; install that, or correct the line (a \
             line that ends as on Windows, CR LF, names a program with a CR in its name)",
            interpreter.display().to_string().escape_debug()
        ));
    }
    let wanted = OsStr::from_bytes(words.next()?);
    let by_env = interpreter.file_name() == Some(OsStr::new("env"));
    let is_name = !wanted.as_bytes().starts_with(b"-") && !wanted.as_bytes().contains(&b'=');
    (by_env && is_name && on_path(wanted, path).is_none()).then(|| {
        format!(
            "its first line asks for `{}`, which is not on PATH; install that, or put it on PATH",
            wanted.display()
        )
    })
}

fn of_binary(head: &[u8]) -> Option<String> {
    if runs_foreign() || head.get(4..6)? != CLASS_AND_ORDER {
        // Such as one of 32 bits, which this machine may well run.
        return None;
    }
    let machine = u16::from_le_bytes(bytes(head, MACHINE)?);
    if OWN.is_some_and(|own| own != machine) {
        return Some(format!(
            "it is a program for another kind of machine than this one ({}); install the build for \
             this one",
            std::env::consts::ARCH
        ));
    }
    let loader = loader(head)?;
    (!loader.exists()).then(|| {
        format!(
            "its loader {} is not there: it was built for another libc; install the build for this \
             machine's (glibc or musl)",
            loader.display()
        )
    })
}

/// The loader that an ELF file names; none in a static one.
fn loader(head: &[u8]) -> Option<PathBuf> {
    let at = usize::try_from(u64::from_le_bytes(bytes(head, HEADERS_AT)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(bytes(head, HEADER_SIZE)?));
    let count = usize::from(u16::from_le_bytes(bytes(head, HEADERS)?));
    let mut headers = (0..count).filter_map(|n| head.get(at.checked_add(n.checked_mul(size)?)?..));
    let header = headers.find(|header| bytes(header, 0).map(u32::from_le_bytes) == Some(INTERP))?;
    let word = |place| usize::try_from(u64::from_le_bytes(bytes(header, place)?)).ok();
    let (begin, length) = (word(INTERP_AT)?, word(INTERP_SIZE)?);
    let name = head.get(begin..begin.checked_add(length)?)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

fn bytes<const N: usize>(of: &[u8], at: usize) -> Option<[u8; N]> {
    of.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Whether the machine knows of ways to run what it cannot run itself.
fn runs_foreign() -> bool {
    let ways = std::fs::read_dir("/proc/sys/fs/binfmt_misc");
    ways.is_ok_and(|ways| {
        let names = ways.filter_map(|way| Some(way.ok()?.file_name()));
        names
            .into_iter()
            .any(|name| name != "register" && name != "status")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cli");
        std::fs::write(&file, content).unwrap();
        fault(&file, OsStr::new("/usr/bin:/bin"))
    }

    #[test]
    fn what_the_kernel_would_execute_is_no_fault() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(fault(&own, OsStr::new("")), None);
        for script in ["#!/bin/sh\n", "#! /bin/sh -e\nx", "#!/usr/bin/env sh\n"] {
            assert_eq!(of(script.as_bytes()), None, "{script}");
        }
        for unknown in [
            "#!/usr/bin/env -S no-such-thing x\n",
            "#!/usr/bin/env A=1 x\n",
        ] {
            assert_eq!(of(unknown.as_bytes()), None, "{unknown}");
        }
        assert_eq!(fault(Path::new("/no/such"), OsStr::new("")), None);
    }

    #[test]
    fn an_interpreter_that_is_missing_is_named() {
        for (script, word) in [
            ("#!/no/such/python -u\n", "`/no/such/python`"),
            ("#!/bin/sh\r\n", "`/bin/sh\\r`"),
            (
                "#!/usr/bin/env no-such-node\n",
                "`no-such-node`, which is not on PATH",
            ),
        ] {
            let why = of(script.as_bytes()).unwrap();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_program_of_another_machine_or_libc_is_told_from_ours() {
        if runs_foreign() {
            return;
        }
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut head: Vec<u8> = own.into_iter().take(4096).collect();
        if let Some(found) = loader(&head) {
            let name = found.as_os_str().as_bytes().to_vec();
            let at = head
                .windows(name.len())
                .position(|part| part == name)
                .unwrap();
            let mut other = head.clone();
            other[at + 1] = b'X';
            assert!(of(&other).unwrap().contains("another libc"));
        }
        head[MACHINE] = 243;
        assert!(of(&head).unwrap().contains("another kind of machine"));
        for nothing in ["", "no program\n"] {
            assert!(of(nothing.as_bytes()).unwrap().contains("neither"));
        }
        // Cut off anywhere, it is no panic.
        for length in 0..head.len() {
            let _any = of_binary(&head[..length]);
        }
    }
}

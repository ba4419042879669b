//! Secrets from files.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::SecretString;

/// A key or token is a line; anything longer is the wrong file.
const MAX_BYTES: u64 = 16 * 1024;

/// A secret, and what a person should know of its file.
pub(super) struct KeyFile {
    pub(super) secret: SecretString,
    pub(super) warning: Option<String>,
}

/// Reads a secret: the file's text without the line end.
pub(super) fn read_key_file(path: &Path) -> Result<KeyFile, String> {
    let at = path.display();
    let unreadable = |error: std::io::Error| format!("cannot read {at}: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(format!("{at} is empty; it must hold the secret alone"));
    }
    if text.len() as u64 > MAX_BYTES || secret.contains(char::is_control) {
        return Err(format!(
            "{at} is no key file; it must hold one line, the secret"
        ));
    }
    let mode = metadata.permissions().mode() & 0o777;
    let warning = (mode & 0o077 != 0)
        .then(|| format!("{at} can be read by others (mode {mode:03o}); run: chmod 600 {at}"));
    Ok(KeyFile {
        secret: SecretString::from(secret.to_owned()),
        warning,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_file_is_one_line_and_warns_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "  k-1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let key = read_key_file(&path).ok().unwrap();
        assert_eq!(key.secret.expose_secret(), "k-1");
        assert!(key.warning.unwrap().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_key_file(&path).ok().unwrap().warning.is_none());
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read_key_file(&path).err().unwrap().contains("cannot read"));
        for wrong in ["", "\n", "one\ntwo", &"x".repeat(20_000)] {
            std::fs::write(&path, wrong).unwrap();
            let message = read_key_file(&path).err().unwrap();
            assert!(!message.contains("two") && message.len() < 400, "{message}");
        }
    }
}

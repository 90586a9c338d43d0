//! The secrets of a host: values that tasks are granted by name and nobody is shown. They come from files, one each, or from the
//! environment that the host was started in.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use taskhost_core::ports::{SecretSource, StoreError};
use taskhost_core::spec::check_secret_name;

/// Secrets in the environment have this before their names.
const VARIABLE_PREFIX: &str = "TASKHOST_SECRET_";

/// The largest secret, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

pub(crate) struct Secrets {
    dir: Option<PathBuf>,
    /// By the variable's name, as they were when the host started.
    variables: HashMap<String, Bytes>,
}

impl Secrets {
    /// Those of the files in `dir`, and of this process's environment.
    pub(crate) fn of_process(dir: Option<PathBuf>) -> Self {
        Self { dir, variables: variables(env::vars_os()) }
    }
}

/// Those of an environment that may hold secrets. Its other names and values may be of any bytes, and so may a secret.
fn variables(environment: impl Iterator<Item = (OsString, OsString)>) -> HashMap<String, Bytes> {
    let secret = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(VARIABLE_PREFIX))?;
        Some((name, value.into_vec().into()))
    };
    environment.filter_map(secret).collect()
}

/// Whether users who are neither its owner nor in its group may look into a folder. A group may be meant to, and where the access
/// list of a folder names users (as systemd's does for credentials), the group's bits stand for all of them.
pub(crate) fn is_open_to_all(dir: &Path) -> bool {
    const OTHERS: u32 = 0o007;
    dir.metadata().is_ok_and(|dir| dir.permissions().mode() & OTHERS != 0)
}

/// `api.key` is looked for in `TASKHOST_SECRET_API_KEY`.
fn variable(name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    VARIABLE_PREFIX.chars().chain(name.chars().map(letter)).collect()
}

impl SecretSource for Secrets {
    /// A file is read anew each time, so that a secret can be changed while the host runs. One newline at its end is not part of it.
    fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        if check_secret_name(name).is_err() {
            return Ok(None);
        }
        let Some(path) = self.dir.as_ref().map(|dir| dir.join(name)) else {
            return Ok(self.variables.get(&variable(name)).cloned());
        };
        let mut value = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut value)) {
            Ok(_) if value.len() as u64 > MAX_SECRET_BYTES => {
                Err(StoreError::Failed(format!("{} is larger than {MAX_SECRET_BYTES} bytes", path.display())))
            }
            Ok(_) => {
                let end = value.strip_suffix(b"\n").map_or(value.len(), <[u8]>::len);
                value.truncate(end);
                Ok(Some(value.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.variables.get(&variable(name)).cloned()),
            Err(error) => Err(StoreError::Failed(format!("failed to read {}: {error}", path.display()))),
        }
    }

    fn places(&self, name: &str) -> String {
        let variable = format!("the variable {} of the host's environment, and start the host again", variable(name));
        match &self.dir {
            Some(dir) => format!("the file {}, or in {variable}", dir.join(name).display()),
            None => variable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_before_the_environment_and_its_last_newline_is_not_part_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let variables =
            HashMap::from([("TASKHOST_SECRET_API_KEY".to_owned(), Bytes::from_static(b"of the environment"))]);
        let secrets = Secrets { dir: Some(dir.path().to_owned()), variables };
        let read = |name: &str| secrets.read(name).expect("readable");
        assert_eq!(read("api.key").as_deref(), Some(&b"of the environment"[..]));
        std::fs::write(dir.path().join("api.key"), "of the file\n").expect("written");
        assert_eq!(read("api.key").as_deref(), Some(&b"of the file"[..]));
        assert_eq!(read("other"), None);
        assert_eq!(read("../api.key"), None, "a name is no path");
        std::fs::create_dir(dir.path().join("folder")).expect("made");
        assert!(secrets.read("folder").is_err(), "and no folder is a secret");
    }

    #[test]
    fn names_and_values_in_the_environment_may_be_of_any_bytes() {
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let environment =
            [(b"TASKHOST_SECRET_A", &b"\xffa"[..]), (b"TASKHOST_SECRET_\xff", b"b"), (b"OTHER_TASKHOST_XY", b"\xff")];
        let found = variables(environment.map(|(name, value)| (bytes(name), bytes(value))).into_iter());
        assert_eq!(found, HashMap::from([("TASKHOST_SECRET_A".to_owned(), Bytes::from_static(b"\xffa"))]));
    }

    #[test]
    fn a_folder_that_others_can_look_into_is_told_from_one_that_they_cannot() {
        let dir = tempfile::tempdir().expect("a folder");
        for (mode, open) in [(0o700, false), (0o750, false), (0o755, true), (0o701, true)] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).expect("it is ours");
            assert_eq!(is_open_to_all(dir.path()), open, "{mode:o}");
        }
        assert!(!is_open_to_all(&dir.path().join("absent")));
    }
}

//! The secrets of a host: values that tasks are granted by name and nobody is shown. They come from files, one each, or from the
//! environment that the host was started in.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

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
        let variables = env::vars().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX));
        Self { dir, variables: variables.map(|(name, value)| (name, value.into())).collect() }
    }
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
}

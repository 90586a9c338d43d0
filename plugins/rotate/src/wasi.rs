//! The real folder, by `wasi:filesystem`.

use std::time::Duration;

use taskhost_plugin::Failure;
use taskhost_plugin_common::arguments::told;
use wasip2::clocks::wall_clock::{self, Datetime};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};

use crate::folder::{File, Folder, Names, Refusal};

/// How many names one run looks at: each takes some 100 bytes of a guest's memory, of which it has 128 MiB by default.
const MAX_NAMES: usize = 500_000;

/// The wall clock, since the Unix epoch.
pub(crate) fn now() -> Duration {
    duration(wall_clock::now())
}

pub(crate) struct WasiFolder(Descriptor);

impl WasiFolder {
    /// The folder of this path in what the task was granted.
    pub(crate) fn open(dir: &str) -> Result<Self, Failure> {
        let parts = parts(dir).ok_or_else(|| Failure::permanent(format!("`{}` has a `..`", told(dir))))?;
        let granted = preopens::get_directories();
        // Where one folder was granted within another, the innermost.
        let depth = |guest: &str| self::parts(guest).filter(|guest| parts.starts_with(guest)).map(|guest| guest.len());
        let innermost = granted
            .into_iter()
            .filter_map(|(folder, guest)| Some((depth(&guest)?, folder)))
            .max_by_key(|&(depth, _)| depth);
        let Some((depth, folder)) = innermost else {
            let dir = told(dir);
            return Err(Failure::permanent(format!(
                "no folder `{dir}` is granted; grant it with `--dir HOST_FOLDER::{dir}`"
            )));
        };
        let rest = parts[depth..].join("/");
        if rest.is_empty() {
            return Ok(Self(folder));
        }
        let opened = folder.open_at(PathFlags::SYMLINK_FOLLOW, &rest, OpenFlags::DIRECTORY, DescriptorFlags::READ);
        opened
            .map(Self)
            .map_err(|code| Failure::new(format!("failed to open the folder {}: {}", told(dir), refusal(code))))
    }
}

impl Folder for WasiFolder {
    fn names(&mut self) -> Result<Names, Refusal> {
        let entries = self.0.read_directory().map_err(refusal)?;
        let mut found = Names { names: Vec::new(), unreadable: 0 };
        loop {
            match entries.read_directory_entry() {
                Ok(None) => return Ok(found),
                Ok(Some(entry)) => {
                    if matches!(entry.type_, DescriptorType::RegularFile | DescriptorType::Unknown) {
                        found.names.push(entry.name);
                    }
                }
                // Errors of one entry: the host goes on with the next.
                Err(ErrorCode::IllegalByteSequence) => found.unreadable += 1,
                // It was removed while the host read the folder.
                Err(ErrorCode::NoEntry) => {}
                Err(code) => return Err(refusal(code)),
            }
            if found.names.len() as u64 + found.unreadable > MAX_NAMES as u64 {
                return Err(Refusal::Other(format!("it has more than {MAX_NAMES} files")));
            }
        }
    }

    fn file(&mut self, name: &str) -> Result<Option<File>, Refusal> {
        match self.0.stat_at(PathFlags::empty(), name) {
            Ok(DescriptorStat { type_: DescriptorType::RegularFile, size, data_modification_timestamp, .. }) => {
                Ok(Some(File { modified: data_modification_timestamp.map(duration), bytes: size }))
            }
            Ok(_) | Err(ErrorCode::NoEntry) => Ok(None),
            Err(code) => Err(refusal(code)),
        }
    }

    fn remove(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.0.unlink_file_at(name) {
            Ok(()) => Ok(true),
            Err(ErrorCode::NoEntry) => Ok(false),
            Err(code) => Err(refusal(code)),
        }
    }
}

/// The folders of a path, one by one. A guest has no current folder, so that a path with a `/` first is the same as one without.
/// `None` if it leads upwards.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then_some(parts)
}

fn duration(time: Datetime) -> Duration {
    Duration::new(time.seconds, time.nanoseconds)
}

fn refusal(code: ErrorCode) -> Refusal {
    match code {
        ErrorCode::Access | ErrorCode::NotPermitted | ErrorCode::ReadOnly => Refusal::NotPermitted,
        ErrorCode::NoEntry => Refusal::Other("there is none".to_owned()),
        ErrorCode::NotDirectory => Refusal::Other("it is no folder".to_owned()),
        code => Refusal::Other(code.name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_folders() {
        assert_eq!(parts("/var//backups/./db/"), Some(vec!["var", "backups", "db"]));
        assert_eq!(parts("backups"), Some(vec!["backups"]));
        assert_eq!(parts("/"), Some(vec![]));
        assert_eq!(parts("/backups/../etc"), None);
    }
}

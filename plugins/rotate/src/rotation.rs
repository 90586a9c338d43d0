//! What one run does.

use std::time::Duration;

use taskhost_plugin::Failure;
use taskhost_plugin_common::words;

use crate::folder::{Folder, Names, Refusal};
use crate::options::Options;
use crate::plan::{self, Found};

/// How many files that could not be removed a failure names. The host keeps 1 KiB of its message.
const MAX_NAMED_FAILURES: usize = 8;

/// The most of a name that is said, in characters. File systems have names of at most 255 bytes.
const MAX_TOLD_CHARS: usize = 80;

/// How many removals are said, each a line of the log.
const MAX_SAID_REMOVALS: usize = 1000;

/// Removes what is to go, says each of them, and answers with a summary. `now` is since the Unix epoch.
pub(crate) fn rotate(
    folder: &mut impl Folder,
    options: &Options,
    now: Duration,
    cancelled: impl Fn() -> bool,
    mut say: impl FnMut(&str),
) -> Result<String, Failure> {
    let Names { names, unreadable } =
        folder.names().map_err(|why| Failure::new(format!("failed to list {}: {why}", options.dir)))?;
    let mut found = Vec::new();
    for name in names {
        if !options.patterns.iter().any(|pattern| pattern.matches(&name)) {
            continue;
        }
        match folder.file(&name) {
            Ok(Some(file)) => found.push(Found { name, file }),
            Ok(None) => {}
            // How old it is decides about others too.
            Err(why) => {
                return Err(Failure::new(format!("failed to look at {}, so nothing was removed: {why}", told(&name))));
            }
        }
    }
    if unreadable > 0 {
        say(&format!("names that are not UTF-8, of files that stay: {unreadable}"));
    }

    let matched = found.len();
    let to_remove = plan::to_remove(found, options.keep, options.older_than, now);
    let mut done = Done { matched, ..Done::default() };
    for Found { name, file } in &to_remove {
        if cancelled() {
            return Err(Failure::new(format!("cancelled: {}", done.summary(options.dry_run))));
        }
        let removed = match folder.file(name) {
            // Somebody wrote to it, or put another in its place.
            Ok(Some(now)) if now != *file => Ok(Removal::Stays),
            Ok(Some(_)) if options.dry_run => Ok(Removal::Removed),
            Ok(Some(_)) => {
                folder.remove(name).map(|was_there| if was_there { Removal::Removed } else { Removal::Gone })
            }
            Ok(None) => Ok(Removal::Gone),
            Err(why) => Err(why),
        };
        match removed {
            Ok(Removal::Removed) => {
                done.removed += 1;
                done.removed_bytes = done.removed_bytes.saturating_add(file.bytes);
                if done.removed <= MAX_SAID_REMOVALS {
                    let verb = if options.dry_run { "would remove" } else { "removed" };
                    say(&format!("{verb} {} ({})", told(name), words::bytes(file.bytes)));
                }
            }
            Ok(Removal::Gone) => done.gone += 1,
            Ok(Removal::Stays) => {}
            Err(why) => done.failed.push((name, why)),
        }
    }
    if done.removed > MAX_SAID_REMOVALS {
        say(&format!("and {} more", done.removed - MAX_SAID_REMOVALS));
    }
    if done.failed.is_empty() { Ok(done.summary(options.dry_run)) } else { Err(done.failure(&options.dir)) }
}

/// What became of a file that was to go.
enum Removal {
    Removed,
    /// Somebody else removed it.
    Gone,
    Stays,
}

#[derive(Default)]
struct Done<'p> {
    /// Files that matched.
    matched: usize,
    removed: usize,
    removed_bytes: u64,
    gone: usize,
    failed: Vec<(&'p str, Refusal)>,
}

impl Done<'_> {
    fn summary(&self, dry_run: bool) -> String {
        let would = if dry_run { "would " } else { "" };
        let (keep, remove) = if dry_run { ("keep", "remove") } else { ("kept", "removed") };
        let kept = self.matched - self.removed - self.gone;
        let mut summary = format!("{would}{keep} {kept}, {would}{remove} {}", self.removed);
        if self.removed > 0 {
            summary.push_str(&format!(" ({})", words::bytes(self.removed_bytes)));
        }
        summary
    }

    fn failure(&self, dir: &str) -> Failure {
        let named = self.failed.iter().take(MAX_NAMED_FAILURES).map(|(name, why)| format!("{} ({why})", told(name)));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match self.failed.len().saturating_sub(MAX_NAMED_FAILURES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mut message = format!("{}; failed to remove {}: {named}{more}", self.summary(false), self.failed.len());
        if self.failed.iter().all(|(_, why)| *why == Refusal::NotPermitted) {
            message.push_str(&format!("; is {dir} granted without `:ro`, and may the host's user write there?"));
        }
        Failure::new(message)
    }
}

fn told(name: &str) -> String {
    words::printable(name, MAX_TOLD_CHARS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::folder::File;
    use crate::options::{self, Call};

    const NOW: Duration = Duration::from_secs(1000);

    /// A folder in memory. What `meanwhile` says happens when a file is about to be removed.
    #[derive(Default)]
    struct Fake {
        files: BTreeMap<String, File>,
        /// Names of no regular file.
        others: Vec<String>,
        refuses: Vec<(String, Refusal)>,
        meanwhile: Option<fn(&mut BTreeMap<String, File>)>,
        unreadable: u64,
        asked: usize,
    }

    impl Fake {
        /// Names, when they were changed in seconds, and their size.
        fn new(files: &[(&str, u64, u64)]) -> Self {
            let file = |&(name, modified_s, bytes): &(&str, u64, u64)| {
                (name.to_owned(), File { modified: Some(Duration::from_secs(modified_s)), bytes })
            };
            Self { files: files.iter().map(file).collect(), ..Self::default() }
        }

        fn names(&self) -> Vec<&str> {
            self.files.keys().map(String::as_str).collect()
        }

        fn rotate(&mut self, line: &str) -> (Result<String, Failure>, Vec<String>) {
            let arguments = line.split(' ').map(str::to_owned).collect();
            let Call::Rotate(options) = options::read(arguments).expect(line) else { panic!("{line}") };
            let mut said = Vec::new();
            let answer = rotate(self, &options, NOW, || false, |line| said.push(line.to_owned()));
            (answer, said)
        }
    }

    impl Folder for Fake {
        fn names(&mut self) -> Result<Names, Refusal> {
            let names = self.files.keys().chain(&self.others).cloned().collect();
            Ok(Names { names, unreadable: self.unreadable })
        }

        fn file(&mut self, name: &str) -> Result<Option<File>, Refusal> {
            self.asked += 1;
            if self.asked > self.files.len() + self.others.len()
                && let Some(meanwhile) = self.meanwhile.take()
            {
                meanwhile(&mut self.files);
            }
            Ok(self.files.get(name).copied())
        }

        fn remove(&mut self, name: &str) -> Result<bool, Refusal> {
            if let Some((_, why)) = self.refuses.iter().find(|(refused, _)| refused == name) {
                return Err(why.clone());
            }
            Ok(self.files.remove(name).is_some())
        }
    }

    #[test]
    fn the_newest_stay_and_it_is_said_what_went() {
        let mut folder = Fake::new(&[("a.log", 1, 1000), ("b.log", 2, 2000), ("c.log", 3, 5), ("a.txt", 1, 5)]);
        folder.others.push("d.log".to_owned());
        let (answer, said) = folder.rotate("--keep 1 --pattern *.log /logs");
        assert_eq!(answer, Ok("kept 1, removed 2 (2.9 KiB)".to_owned()));
        assert_eq!(said, ["removed a.log (1000 B)", "removed b.log (2.0 KiB)"]);
        assert_eq!(folder.names(), ["a.txt", "c.log"]);
        assert_eq!(folder.rotate("--keep 1 --pattern *.log /logs").0, Ok("kept 1, removed 0".to_owned()));
    }

    #[test]
    fn a_dry_run_removes_nothing() {
        let mut folder = Fake::new(&[("a", 1, 10), ("b", 2, 10)]);
        let (answer, said) = folder.rotate("--keep 1 --dry-run /logs");
        assert_eq!(answer, Ok("would keep 1, would remove 1 (10 B)".to_owned()));
        assert_eq!(said, ["would remove a (10 B)"]);
        assert_eq!(folder.names(), ["a", "b"]);
    }

    #[test]
    fn a_file_that_is_gone_already_is_no_failure_and_is_not_counted() {
        let mut folder = Fake::new(&[("a", 1, 10), ("b", 2, 10), ("c", 3, 10)]);
        folder.meanwhile = Some(|files| {
            files.remove("a");
        });
        assert_eq!(folder.rotate("--keep 1 /logs").0, Ok("kept 1, removed 1 (10 B)".to_owned()));
    }

    #[test]
    fn a_file_that_somebody_writes_to_meanwhile_stays() {
        let mut folder = Fake::new(&[("a", 1, 10), ("b", 2, 10), ("c", 3, 10)]);
        folder.meanwhile = Some(|files| {
            files.insert("a".to_owned(), File { modified: Some(NOW), bytes: 0 });
        });
        assert_eq!(folder.rotate("--keep 1 /logs").0, Ok("kept 2, removed 1 (10 B)".to_owned()));
        assert_eq!(folder.names(), ["a", "c"]);
    }

    #[test]
    fn what_could_not_be_removed_is_listed_and_the_rest_is_removed() {
        let mut folder = Fake::new(&[("a", 1, 10), ("b\n", 2, 10), ("c", 3, 10), ("d", 4, 10)]);
        folder.refuses =
            vec![("a".to_owned(), Refusal::NotPermitted), ("b\n".to_owned(), Refusal::Other("busy".to_owned()))];
        let failure = folder.rotate("--keep 1 /logs").0.expect_err("two were not removed");
        assert_eq!(failure, Failure::new("kept 3, removed 1 (10 B); failed to remove 2: a (not permitted), b (busy)"));
        assert_eq!(folder.names(), ["a", "b\n", "d"]);
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_told_with_the_grant_and_in_few_words() {
        let names: Vec<String> = (0..100).map(|number| format!("{number:03}{}", "x".repeat(200))).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1)).collect();
        let mut folder = Fake::new(&files);
        folder.refuses = names.iter().map(|name| (name.clone(), Refusal::NotPermitted)).collect();
        let failure = folder.rotate("--keep 1 /logs").0.expect_err("none was removed").to_string();
        assert!(failure.starts_with("kept 100, removed 0; failed to remove 99: 000x"), "{failure}");
        assert!(failure.contains("… (not permitted) and 91 more; is /logs granted without `:ro`,"), "{failure}");
        assert!(failure.len() <= 1024, "{} bytes", failure.len());
    }

    #[test]
    fn names_that_can_not_be_read_are_said() {
        let mut folder = Fake::new(&[("a", 1, 10)]);
        folder.unreadable = 2;
        let (answer, said) = folder.rotate("--keep 1 /logs");
        assert_eq!(answer, Ok("kept 1, removed 0".to_owned()));
        assert_eq!(said, ["names that are not UTF-8, of files that stay: 2"]);
    }

    #[test]
    fn a_cancelled_run_stops_between_two_files() {
        let mut folder = Fake::new(&[("a", 1, 10), ("b", 2, 10), ("c", 3, 10)]);
        let options = Options {
            dir: "/logs".to_owned(),
            keep: 1,
            patterns: match options::read(vec!["--keep=1".to_owned(), "x".to_owned()]).expect("options") {
                Call::Rotate(options) => options.patterns,
                Call::Help => panic!("no help"),
            },
            older_than: None,
            dry_run: false,
        };
        let calls = std::cell::Cell::new(0);
        let cancelled = || calls.replace(calls.get() + 1) > 0;
        let failure = rotate(&mut folder, &options, NOW, cancelled, |_| {}).expect_err("cancelled");
        assert_eq!(failure, Failure::new("cancelled: kept 2, removed 1 (10 B)"));
        assert_eq!(folder.names(), ["b", "c"]);
    }
}

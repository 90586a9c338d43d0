//! Which files go. Pure: no files and no clock.

use std::time::Duration;

use crate::folder::File;

/// A file that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) file: File,
}

/// Those to remove, oldest first, so that what is removed by a run that is stopped early is what was worth least. `now`
/// is since the Unix epoch.
pub(crate) fn to_remove(mut found: Vec<Found>, keep: usize, older_than: Option<Duration>, now: Duration) -> Vec<Found> {
    // A file whose age nobody knows counts as the newest, so that it stays as long as any.
    found.sort_by(|a, b| rank(b).cmp(&rank(a)));
    let mut others = found.split_off(keep.min(found.len()));
    others.retain(|other| is_older(&other.file, older_than, now));
    others.reverse();
    others
}

/// The newer, the greater.
fn rank(found: &Found) -> (bool, Option<Duration>, &str) {
    (found.file.modified.is_none(), found.file.modified, &found.name)
}

fn is_older(file: &File, than: Option<Duration>, now: Duration) -> bool {
    match (file.modified, than) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(modified), Some(than)) => now.saturating_sub(modified) > than,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    /// Names and when they were changed, in seconds.
    fn removed(files: &[(&str, Option<u64>)], keep: usize, older_than_s: Option<u64>) -> Vec<String> {
        let found = |&(name, modified_s): &(&str, Option<u64>)| Found {
            name: name.to_owned(),
            file: File { modified: modified_s.map(Duration::from_secs), bytes: 1 },
        };
        let older_than = older_than_s.map(Duration::from_secs);
        let removed = to_remove(files.iter().map(found).collect(), keep, older_than, NOW);
        removed.into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn the_newest_stay_and_the_oldest_go_first() {
        let files = [("b", Some(20)), ("d", Some(10)), ("a", Some(40)), ("c", Some(30))];
        assert_eq!(removed(&files, 2, None), ["d", "b"]);
        assert_eq!(removed(&files, 4, None), [""; 0]);
        assert_eq!(removed(&files, 5, None), [""; 0]);
        assert_eq!(removed(&[], 1, None), [""; 0]);
    }

    #[test]
    fn of_files_of_the_same_time_the_last_name_counts_as_the_newest() {
        let files = [("db-02", Some(10)), ("db-03", Some(10)), ("db-01", Some(10))];
        assert_eq!(removed(&files, 1, None), ["db-01", "db-02"]);
    }

    #[test]
    fn an_age_spares_what_is_younger_and_keeps_the_newest_however_old() {
        let files = [("a", Some(100)), ("b", Some(899)), ("c", Some(900)), ("d", Some(950)), ("e", Some(2000))];
        assert_eq!(
            removed(&files, 0, Some(100)),
            ["a", "b"],
            "exactly that old is not older, nor is what is of the future"
        );
        assert_eq!(removed(&files, 4, Some(100)), ["a"]);
        assert_eq!(removed(&files[..2], 2, Some(1)), [""; 0]);
    }

    #[test]
    fn a_file_whose_time_is_not_known_is_never_removed() {
        assert_eq!(removed(&[("a", None), ("b", Some(5)), ("c", Some(6)), ("d", None)], 1, None), ["b", "c"]);
        assert_eq!(removed(&[("a", None)], 0, Some(1)), [""; 0]);
    }
}

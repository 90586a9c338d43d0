//! Hides the values of secrets in what people see of a run: its log, its result, why it failed.
//!
//! Only exact values are found. A guest that encodes a secret, or prints it a letter a line, shows it to whoever may read its log.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};

/// What stands in place of a secret.
const MASKED: &[u8] = b"***";

/// A line of a secret of several lines is hidden by itself from so many bytes on: shorter ones (`}`, `-----`) say little, and stand
/// everywhere.
const MIN_MASKED_LINE_BYTES: usize = 8;

/// Finds the values of the secrets of one task.
pub(crate) struct Mask {
    finder: AhoCorasick,
    patterns: Vec<Box<[u8]>>,
}

impl Mask {
    /// `None` if there is nothing to hide.
    pub(crate) fn new<'v>(values: impl Iterator<Item = &'v str>) -> Result<Option<Self>, BuildError> {
        let mut patterns: Vec<Box<[u8]>> = Vec::new();
        for value in values {
            let lines = value.lines().filter(|line| line.len() >= MIN_MASKED_LINE_BYTES && line.len() < value.len());
            patterns.extend([value].into_iter().chain(lines).map(|text| text.as_bytes().into()));
        }
        patterns.retain(|pattern| !pattern.is_empty());
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.is_empty() {
            return Ok(None);
        }
        // Left to choose, it takes a thousand bytes for each byte of few patterns.
        let finder = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&patterns)?;
        Ok(Some(Self { finder, patterns }))
    }

    /// The line with every secret in it hidden; with `cut`, also the beginning of one at its end, where the rest was cut off.
    pub(crate) fn line<'l>(&self, line: &'l [u8], cut: bool) -> Cow<'l, [u8]> {
        // Secrets may overlap: what belongs to any of them is hidden.
        let mut found: Vec<Range<usize>> = self.finder.find_overlapping_iter(line).map(|found| found.range()).collect();
        if cut && let Some(start) = self.beginning_at_end(line) {
            found.push(start..line.len());
        }
        if found.is_empty() {
            return Cow::Borrowed(line);
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut masked = Vec::with_capacity(line.len());
        let mut done = 0;
        for range in found {
            if range.start >= done {
                masked.extend_from_slice(&line[done..range.start]);
                masked.extend_from_slice(MASKED);
            }
            done = done.max(range.end);
        }
        masked.extend_from_slice(&line[done..]);
        Cow::Owned(masked)
    }

    /// The same of a text.
    pub(crate) fn text(&self, text: &str, cut: bool) -> String {
        // Secrets are whole letters, so what is left of the text is too.
        String::from_utf8_lossy(&self.line(text.as_bytes(), cut)).into_owned()
    }

    /// Where the longest beginning of a secret starts that the line ends with.
    fn beginning_at_end(&self, line: &[u8]) -> Option<usize> {
        let longest = |pattern: &[u8]| {
            (1..pattern.len().min(line.len() + 1)).rev().find(|&bytes| line.ends_with(&pattern[..bytes]))
        };
        self.patterns.iter().filter_map(|pattern| longest(pattern)).max().map(|bytes| line.len() - bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], line: &str, cut: bool) -> String {
        let mask = Mask::new(secrets.iter().copied()).expect("few").expect("something to hide");
        mask.text(line, cut)
    }

    #[test]
    fn every_place_of_a_secret_is_hidden_and_nothing_else() {
        assert_eq!(masked(&["s3cret"], "a s3cret, s3crets3cret and S3CRET", false), "a ***, ****** and S3CRET");
        assert_eq!(masked(&["s3cret", ""], "nothing", false), "nothing");
        assert_eq!(masked(&["ü€"], "aü€b", false), "a***b");
    }

    #[test]
    fn what_belongs_to_any_of_several_secrets_that_overlap_is_hidden() {
        assert_eq!(masked(&["abcd", "cdef", "abc"], "xabcdefx", false), "x***x");
        assert_eq!(masked(&["aa"], "baaaab", false), "b***b");
    }

    #[test]
    fn the_beginning_of_a_secret_is_hidden_only_where_the_line_was_cut() {
        assert_eq!(masked(&["s3cret"], "is s3cre", true), "is ***");
        assert_eq!(masked(&["s3cret"], "is s3cre", false), "is s3cre");
        assert_eq!(masked(&["abab-x"], "abab", true), "***", "the longest of its beginnings");
        assert_eq!(masked(&["s3cret"], "s3cret", true), "***");
        assert_eq!(masked(&["a long secret"], "a l", true), "***", "of a line that is shorter than the secret");
    }

    #[test]
    fn the_lines_of_a_secret_are_hidden_by_themselves_but_short_ones() {
        let key = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\n}\n-----END KEY-----\n";
        assert_eq!(masked(&[key], "key: MIIEvQIBADANBg }", false), "key: *** }");
        assert_eq!(masked(&[key], "-----BEGIN KEY-----\r", false), "***\r");
        assert_eq!(masked(&[key], key, false), "***");
    }

    #[test]
    fn without_values_there_is_nothing_to_hide() {
        assert!(Mask::new([""].into_iter()).expect("none").is_none());
    }
}

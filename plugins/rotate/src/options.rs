//! What the arguments ask for.

use std::str::Chars;
use std::time::Duration;

use taskhost_plugin::Failure;
use taskhost_plugin_common::arguments;

const USAGE: &str = "rotate --keep N [--pattern GLOB]... [--older-than DURATION] [--dry-run] DIR";

pub(crate) const HELP: &str = "\
Keeps the newest files of a folder and removes the others.

usage: rotate --keep N [--pattern GLOB]... [--older-than DURATION] [--dry-run] DIR

  --keep N               how many of the newest files stay; 0 only with --older-than
  --pattern GLOB         only files whose name matches, like '*.log' or 'db-*.{sql,gz}'; may be given again. By default all
                         but those that begin with a dot, which only a pattern that begins with one matches
  --older-than DURATION  of the others, remove only what was changed longer ago than this, like 7d or 12h
  --dry-run              remove nothing, and say what would be removed
  DIR                    the folder, as the task was granted it (taskctl add --dir HOST::DIR)

Newest is what was changed last; of files changed at the same time, the one whose name sorts last. Folders, symbolic links and
all that is no regular file are never touched, and folders in DIR are not entered.";

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Help,
    Rotate(Options),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// As the task was granted it.
    pub(crate) dir: String,
    /// How many of the newest stay.
    pub(crate) keep: usize,
    /// Never empty.
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) older_than: Option<Duration>,
    pub(crate) dry_run: bool,
}

pub(crate) fn read(given: Vec<String>) -> Result<Call, Failure> {
    parse(given).map_err(|why| arguments::refused(why, USAGE))
}

fn parse(given: Vec<String>) -> Result<Call, String> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = arguments::parser(given);
    let (mut dir, mut keep, mut patterns, mut older_than, mut dry_run) = (None, None, Vec::new(), None, false);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("help") | Short('h') => return Ok(Call::Help),
            Long("keep") => keep = Some(arguments::number(&mut parser, "--keep")?),
            Long("pattern") => patterns.push(Pattern::parse(arguments::text(&mut parser)?)?),
            Long("older-than") => older_than = Some(arguments::duration(&mut parser, "--older-than")?),
            Long("dry-run") => dry_run = true,
            Value(value) if dir.is_none() => {
                dir = Some(value.into_string().map_err(|_| "DIR is not UTF-8".to_owned())?);
            }
            other => return Err(arguments::told(&other.unexpected().to_string())),
        }
    }
    let dir = dir.filter(|dir| !dir.is_empty()).ok_or("no DIR")?;
    let keep = keep.ok_or("no `--keep`")?;
    if keep == 0 && older_than.is_none() {
        return Err("`--keep 0` would remove every file; say `--older-than` too".to_owned());
    }
    if patterns.is_empty() {
        patterns.push(Pattern::parse("*".to_owned())?);
    }
    Ok(Call::Rotate(Options { dir, keep: keep as usize, patterns, older_than, dry_run }))
}

/// A glob that names are held against.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// fast-glob lets a bad pattern match nothing, or something; here it is refused.
    fn parse(glob: String) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("the pattern `{}` {why}", arguments::told(&glob)));
        if glob.is_empty() || glob.contains('/') {
            return refused("is to match names of files, without `/`");
        }
        if glob.starts_with('!') {
            return refused("begins with `!`: what is removed must be named");
        }
        let (mut chars, mut braces) = (glob.chars(), 0_u32);
        while let Some(letter) = chars.next() {
            match letter {
                '\\' if chars.next().is_none() => return refused("ends with `\\`"),
                '[' if !skip_class(&mut chars) => return refused("has a `[` without `]`"),
                '{' => braces += 1,
                '}' if braces == 0 => return refused("has a `}` without `{`"),
                '}' => braces -= 1,
                _ => {}
            }
        }
        if braces > 0 {
            return refused("has a `{` without `}`");
        }
        Ok(Self(glob))
    }

    /// As in a shell, names that begin with a dot are matched only by a pattern that does.
    pub(crate) fn matches(&self, name: &str) -> bool {
        (!name.starts_with('.') || self.0.starts_with('.')) && fast_glob::glob_match(&self.0, name)
    }
}

/// Goes past the `]` of a class whose `[` was read; `false` if there is none.
fn skip_class(chars: &mut Chars<'_>) -> bool {
    if chars.as_str().starts_with(['!', '^']) {
        chars.next();
    }
    // The first in a class stands for itself, even `]`.
    let mut is_first = true;
    while let Some(letter) = chars.next() {
        match letter {
            ']' if !is_first => return true,
            '\\' => drop(chars.next()),
            _ => {}
        }
        is_first = false;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Result<Call, String> {
        parse(line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn options(line: &str) -> Options {
        match given(line) {
            Ok(Call::Rotate(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern.to_owned()).expect(pattern).matches(name)
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let options = options("--keep 7 /backups");
        assert_eq!(
            (options.dir.as_str(), options.keep, options.older_than, options.dry_run),
            ("/backups", 7, None, false)
        );
        assert_eq!(options.patterns, [Pattern("*".to_owned())]);
    }

    #[test]
    fn every_option_is_read() {
        let options = options("/backups --keep=0 --pattern *.log --pattern *.gz --older-than 7d --dry-run");
        assert_eq!((options.keep, options.dry_run), (0, true));
        assert_eq!(options.older_than, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(options.patterns, [Pattern("*.log".to_owned()), Pattern("*.gz".to_owned())]);
        assert_eq!(given("--help"), Ok(Call::Help));
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_refused() {
        for (line, why) in [
            ("", "no DIR"),
            ("/backups", "no `--keep`"),
            ("--keep x /backups", "`--keep` takes a whole number, not `x`"),
            ("--keep 0 /backups", "`--keep 0` would remove every file; say `--older-than` too"),
            ("--keep 1 --pattern logs/* /", "the pattern `logs/*` is to match names of files, without `/`"),
            ("--keep 1 --pattern !*.log /", "the pattern `!*.log` begins with `!`: what is removed must be named"),
            ("--keep 1 --pattern [a-z /", "the pattern `[a-z` has a `[` without `]`"),
            ("--keep 1 --pattern []] /", ""),
            ("--keep 1 --pattern [] /", "the pattern `[]` has a `[` without `]`"),
            ("--keep 1 --pattern [\\]] /", ""),
            ("--keep 1 --pattern [\\] /", "the pattern `[\\]` has a `[` without `]`"),
            ("--keep 1 --pattern {a,b /", "the pattern `{a,b` has a `{` without `}`"),
            ("--keep 1 --pattern a} /", "the pattern `a}` has a `}` without `{`"),
            ("--keep 1 --pattern a\\ /", "the pattern `a\\` ends with `\\`"),
            ("--keep 1 /a /b", "unexpected argument \"/b\""),
            ("--keep 1 --froce /a", "invalid option '--froce'"),
        ] {
            assert_eq!(given(line).err().unwrap_or_default(), why, "{line}");
        }
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        assert!(matches("*.log", "a.log") && !matches("*.log", "a.log.gz") && !matches("*.log", "a.LOG"));
        assert!(matches("db-????.{sql,gz}", "db-2027.gz") && !matches("db-????.{sql,gz}", "db-27.gz"));
        assert!(matches("[ab]*", "beta") && !matches("[!ab]*", "beta") && matches("[]]", "]") && matches("[\\]]", "]"));
        assert!(matches("*", "a") && !matches("*", ".keep") && matches(".*", ".keep") && !matches("?keep", ".keep"));
        assert!(matches("\\*", "*") && !matches("\\*", "a"));
        assert!(matches("**", "a.log"));
    }
}

//! Definitions of tasks: what is given, checked, with the defaults for what is not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::label::{LabelError, check_label};
use crate::name::{NameError, TaskName};
use crate::plugin::PluginRef;
use crate::schedule::{Interval, Schedule, ScheduleError};
use crate::time::{DurationError, format_duration, parse_duration};

/// How long an attempt may take by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The bounds of a timeout.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(1);
pub const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// How much linear memory an attempt may have by default.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;
/// The bounds of a memory limit: one wasm page to all that a 32-bit memory can have.
pub const MIN_MEMORY_BYTES: u64 = 64 << 10;
pub const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// The most labels of a task, and arguments, and bytes of all its arguments together.
pub const MAX_LABELS: usize = 64;
pub const MAX_ARGS: usize = 256;
pub const MAX_ARGS_BYTES: usize = 32 * 1024;

/// What happens when a due time comes while a run is going on. Names as in Temporal's `ScheduleOverlapPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The due time is passed over, with a record.
    #[default]
    Skip,
}

impl Overlap {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
        }
    }
}

/// A definition of a task. `None` means the default, so that a better default reaches old tasks too; the methods give what
/// is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    pub name: TaskName,
    pub plugin: PluginRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

impl TaskSpec {
    /// A task of this name with the defaults for everything: the built-in ticker, every second.
    pub fn new(name: TaskName) -> Self {
        Self {
            name,
            plugin: PluginRef::Builtin("ticker".to_owned()),
            schedules: None,
            timeout: None,
            memory_bytes: None,
            overlap: None,
            labels: BTreeMap::new(),
            args: Vec::new(),
        }
    }

    /// What `patch` makes of this definition, checked as a whole.
    pub fn patched(mut self, patch: SpecPatch) -> Result<Self, SpecError> {
        if let Some(plugin) = patch.plugin {
            self.plugin = plugin;
        }
        if let Some(schedules) = patch.schedules {
            self.schedules = schedules.map(check_schedules).transpose()?;
        }
        if let Some(timeout) = patch.timeout {
            self.timeout = timeout.as_deref().map(check_timeout).transpose()?;
        }
        if let Some(memory_bytes) = patch.memory_bytes {
            self.memory_bytes = memory_bytes.map(check_memory).transpose()?;
        }
        if let Some(overlap) = patch.overlap {
            self.overlap = overlap.as_deref().map(check_overlap).transpose()?;
        }
        match patch.labels {
            None => {}
            Some(None) => self.labels.clear(),
            Some(Some(labels)) => {
                for (key, value) in labels {
                    check_label(&key, value.as_deref().unwrap_or_default())?;
                    match value {
                        Some(value) => self.labels.insert(key, value),
                        None => self.labels.remove(&key),
                    };
                }
                if self.labels.len() > MAX_LABELS {
                    return Err(SpecError::TooManyLabels(self.labels.len()));
                }
            }
        }
        if let Some(args) = patch.args {
            self.args = args.map(check_args).transpose()?.unwrap_or_default();
        }
        Ok(self)
    }

    /// The rule by which it is due.
    pub fn schedule(&self) -> Schedule {
        let given = self.schedules.as_ref().and_then(|schedules| schedules.first());
        given.cloned().unwrap_or_else(default_schedule)
    }

    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.unwrap_or(DEFAULT_MEMORY_BYTES)
    }

    pub fn overlap(&self) -> Overlap {
        self.overlap.unwrap_or_default()
    }

    /// The same with every default written out.
    pub fn effective(&self) -> Self {
        Self {
            schedules: Some(self.schedules.clone().unwrap_or_else(|| vec![default_schedule()])),
            timeout: Some(self.timeout()),
            memory_bytes: Some(self.memory_bytes()),
            overlap: Some(self.overlap()),
            ..self.clone()
        }
    }
}

/// What to change in a definition, as it was sent. The outer `None` leaves a member as it is, the inner one gives it its
/// default again.
#[derive(Clone, Debug, Default)]
pub struct SpecPatch {
    pub plugin: Option<PluginRef>,
    pub schedules: Option<Option<Vec<ScheduleText>>>,
    pub timeout: Option<Option<String>>,
    pub memory_bytes: Option<Option<u64>>,
    pub overlap: Option<Option<String>>,
    /// Labels to set, and with `None` to take away.
    pub labels: Option<Option<BTreeMap<String, Option<String>>>>,
    pub args: Option<Option<Vec<String>>>,
}

/// A schedule as it was sent: exactly one member is set.
#[derive(Clone, Debug, Default)]
pub struct ScheduleText {
    pub every: Option<String>,
}

/// Why a definition is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("the timeout {0}")]
    TimeoutSyntax(DurationError),
    #[error("the timeout {} is out of range; it must be from {} to {}", format_duration(*.0), format_duration(MIN_TIMEOUT), format_duration(MAX_TIMEOUT))]
    TimeoutRange(Duration),
    #[error("the memory limit of {0} bytes is out of range; it must be from 64 KiB to 4 GiB")]
    MemoryRange(u64),
    #[error("`{0}` is no overlap policy that this host knows; use `skip`")]
    Overlap(String),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error("the task would have {0} labels; at most {MAX_LABELS} are allowed")]
    TooManyLabels(usize),
    #[error("{0} arguments are too many; at most {MAX_ARGS} are allowed")]
    TooManyArgs(usize),
    #[error("the arguments have {0} bytes together; at most {MAX_ARGS_BYTES} are allowed")]
    ArgsTooLong(usize),
    #[error("an argument has a NUL character")]
    ArgNul,
}

fn default_schedule() -> Schedule {
    Schedule::Every(Interval::new(Duration::from_secs(1)).expect("one second is an interval"))
}

fn check_schedules(schedules: Vec<ScheduleText>) -> Result<Vec<Schedule>, SpecError> {
    if schedules.len() != 1 {
        return Err(ScheduleError::Count(schedules.len()).into());
    }
    schedules
        .into_iter()
        .map(|schedule| Ok(Schedule::Every(Interval::parse(&schedule.every.ok_or(ScheduleError::Empty)?)?)))
        .collect()
}

fn check_timeout(text: &str) -> Result<Duration, SpecError> {
    let timeout = parse_duration(text).map_err(SpecError::TimeoutSyntax)?;
    if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) { Ok(timeout) } else { Err(SpecError::TimeoutRange(timeout)) }
}

fn check_memory(bytes: u64) -> Result<u64, SpecError> {
    if (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&bytes) { Ok(bytes) } else { Err(SpecError::MemoryRange(bytes)) }
}

fn check_overlap(text: &str) -> Result<Overlap, SpecError> {
    match text {
        "skip" => Ok(Overlap::Skip),
        _ => Err(SpecError::Overlap(text.escape_debug().take(40).collect())),
    }
}

fn check_args(args: Vec<String>) -> Result<Vec<String>, SpecError> {
    let bytes = args.iter().map(|arg| arg.len() + 1).sum();
    if args.len() > MAX_ARGS {
        Err(SpecError::TooManyArgs(args.len()))
    } else if bytes > MAX_ARGS_BYTES {
        Err(SpecError::ArgsTooLong(bytes))
    } else if args.iter().any(|arg| arg.contains('\0')) {
        Err(SpecError::ArgNul)
    } else {
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TaskSpec {
        TaskSpec::new(TaskName::new("a").expect("a name"))
    }

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let labels =
            BTreeMap::from([("team".to_owned(), Some("web".to_owned())), ("env".to_owned(), Some("dev".to_owned()))]);
        let patch = SpecPatch { timeout: Some(Some("5s".into())), labels: Some(Some(labels)), ..SpecPatch::default() };
        let first = spec().patched(patch).expect("a valid patch");
        assert_eq!(first.timeout(), Duration::from_secs(5));
        assert_eq!(first.memory_bytes(), DEFAULT_MEMORY_BYTES);

        let away = BTreeMap::from([("env".to_owned(), None)]);
        let patch = SpecPatch { timeout: Some(None), labels: Some(Some(away)), ..SpecPatch::default() };
        let second = first.patched(patch).expect("a valid patch");
        assert_eq!(second.timeout, None);
        assert_eq!(second.labels, BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let refused = |patch| spec().patched(patch).expect_err("out of range").to_string();
        let message = refused(SpecPatch { timeout: Some(Some("8d".into())), ..SpecPatch::default() });
        assert_eq!(message, "the timeout 8d is out of range; it must be from 1ms to 7d");
        let message = refused(SpecPatch { timeout: Some(Some("1".into())), ..SpecPatch::default() });
        assert_eq!(message, "the timeout `1` is no duration; write it like `500ms`, `90s`, `1h30m` or `7d`");
        let message = refused(SpecPatch { memory_bytes: Some(Some(1)), ..SpecPatch::default() });
        assert_eq!(message, "the memory limit of 1 bytes is out of range; it must be from 64 KiB to 4 GiB");
        let message = refused(SpecPatch {
            schedules: Some(Some(vec![ScheduleText { every: Some("1ns".into()) }])),
            ..SpecPatch::default()
        });
        assert_eq!(message, "the interval 1ns is out of range; it must be from 10ms to 10y");
    }

    #[test]
    fn the_effective_spec_has_nothing_left_open() {
        let effective = spec().effective();
        assert!(effective.schedules.is_some() && effective.timeout.is_some());
        assert!(effective.memory_bytes.is_some() && effective.overlap.is_some());
        assert_eq!(effective.schedule(), spec().schedule());
    }
}

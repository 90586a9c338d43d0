//! Definitions of tasks: what is given, checked, with the defaults for what is not.

mod grants;
mod limits;
mod policy;
mod shared;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::grants::{
    DirGrant, GrantError, GrantFault, Grants, GrantsText, HostMatch, HostPattern, MAX_DIR_BYTES, MAX_GRANT_NAME_BYTES,
    MAX_GRANTED_TEXT_BYTES, MAX_GRANTS_OF_A_KIND, check_dir_name, check_grant_name, check_secret_name,
};
pub use self::limits::{Ceilings, LIMITS, Limit, LimitError, LimitRule, Limits};
use self::policy::check_duration;
pub use self::policy::{
    DEFAULT_BACKOFF, DEFAULT_CATCHUP_WINDOW, DEFAULT_MAX_BACKOFF, DEFAULT_MAX_BUFFERED, DEFAULT_MAX_CATCHUP,
    DEFAULT_MAX_RUNNING, InstancePolicy, Jitter, JitterText, MAX_ATTEMPTS, MAX_BACKOFF, MAX_CATCHUP_WINDOW, MAX_JITTER,
    MAX_MAX_BUFFERED, MAX_MAX_CATCHUP, MAX_MAX_RUNNING, MIN_BACKOFF, MIN_CATCHUP_WINDOW, Missed, Overlap, Retry,
    RetryText,
};
pub(crate) use self::shared::SharedSpecs;
use crate::label::{LabelError, check_label};
use crate::name::{NameError, TaskName};
use crate::plugin::PluginRef;
use crate::schedule::{Every, Interval, Schedule, ScheduleError, ScheduleText, Timetable, Zone, parse_time};
use crate::time::{DurationError, Time, format_duration};

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

/// What a task is, but for its name: tasks that differ in nothing else share it. `None` means the default, so that a better default
/// reaches old tasks too; the methods give what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    pub plugin: PluginRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// No due time is before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Time>,
    /// Every due time is before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How many runs its schedules start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Of `overlap = allow_all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Of `overlap = buffer_all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_buffered: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catchup_window: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_catchup: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// After how many failed runs in a row it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_on_failure: Option<u32>,
    /// The task that runs when a run of this one has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<TaskName>,
    /// The task that runs when a run of this one succeeds after one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_recovery: Option<TaskName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// In a box, as the two below: most tasks have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Box<Grants>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<Limits>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstancePolicy>,
}

impl Default for TaskSpec {
    /// The built-in ticker, every second, with the defaults for everything else.
    fn default() -> Self {
        Self {
            plugin: PluginRef::Builtin("ticker".to_owned()),
            schedules: None,
            timeout: None,
            memory_bytes: None,
            starts_at: None,
            expires_at: None,
            max_runs: None,
            jitter: None,
            overlap: None,
            max_running: None,
            max_buffered: None,
            missed: None,
            catchup_window: None,
            max_catchup: None,
            retry: None,
            pause_on_failure: None,
            on_failure: None,
            on_recovery: None,
            labels: BTreeMap::new(),
            args: Vec::new(),
            grants: None,
            limits: None,
            instance: None,
        }
    }
}

impl TaskSpec {
    /// What `patch` makes of this definition, checked as a whole. A cron expression without a time zone gets `zone`.
    pub fn patched(mut self, patch: SpecPatch, zone: &Zone) -> Result<Self, SpecError> {
        /// Sets a member that the patch names, checked.
        fn set<T, V>(
            member: &mut Option<V>,
            given: Option<Option<T>>,
            check: impl FnOnce(T) -> Result<V, SpecError>,
        ) -> Result<(), SpecError> {
            if let Some(given) = given {
                *member = given.map(check).transpose()?;
            }
            Ok(())
        }
        let time = |text: String| Ok(parse_time(&text)?);
        let name = |text: String| Ok(TaskName::new(&text)?);

        if let Some(plugin) = patch.plugin {
            self.plugin = plugin;
        }
        set(&mut self.schedules, patch.schedules, |texts| Ok(Schedule::parse_all(texts, zone)?))?;
        set(&mut self.timeout, patch.timeout, |text| check_duration("the timeout", &text, MIN_TIMEOUT, MAX_TIMEOUT))?;
        set(&mut self.memory_bytes, patch.memory_bytes, check_memory)?;
        set(&mut self.starts_at, patch.starts_at, time)?;
        set(&mut self.expires_at, patch.expires_at, time)?;
        set(&mut self.max_runs, patch.max_runs, |runs| check_count("max_runs", runs, u64::MAX))?;
        set(&mut self.jitter, patch.jitter, JitterText::check)?;
        set(&mut self.overlap, patch.overlap, |text| Overlap::parse(&text))?;
        set(&mut self.max_running, patch.max_running, |most| check_count("max_running", most, MAX_MAX_RUNNING))?;
        set(&mut self.max_buffered, patch.max_buffered, |most| check_count("max_buffered", most, MAX_MAX_BUFFERED))?;
        set(&mut self.missed, patch.missed, |text| Missed::parse(&text))?;
        set(&mut self.catchup_window, patch.catchup_window, |text| {
            check_duration("the catch-up window", &text, MIN_CATCHUP_WINDOW, MAX_CATCHUP_WINDOW)
        })?;
        set(&mut self.max_catchup, patch.max_catchup, |most| check_count("max_catchup", most, MAX_MAX_CATCHUP))?;
        set(&mut self.retry, patch.retry, RetryText::check)?;
        set(&mut self.pause_on_failure, patch.pause_on_failure, |runs| {
            check_count("pause_on_failure", runs, u32::MAX)
        })?;
        set(&mut self.on_failure, patch.on_failure, name)?;
        set(&mut self.on_recovery, patch.on_recovery, name)?;
        if let (Some(starts_at), Some(expires_at)) = (self.starts_at, self.expires_at)
            && expires_at <= starts_at
        {
            return Err(SpecError::ExpiresBeforeStart { starts_at, expires_at });
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
        set(&mut self.grants, patch.grants, |grants| Ok(Box::new(grants.check()?)))?;
        self.grants = self.grants.filter(|grants| !grants.is_empty());
        set(&mut self.limits, patch.limits, |limits| Ok(Box::new(Limits::check(limits)?)))?;
        self.limits = self.limits.filter(|limits| **limits != Limits::default());
        set(&mut self.instance, patch.instance, |text| InstancePolicy::parse(&text))?;
        Ok(self)
    }

    /// The rules by which it is due.
    pub fn schedules(&self) -> &[Schedule] {
        self.schedules.as_deref().unwrap_or_else(|| default_schedules())
    }

    /// What they come to, for a task that was added at `anchor`.
    pub fn timetable(&self, anchor: Time) -> Timetable<'_> {
        let (starts_at, expires_at) = (self.starts_at, self.expires_at);
        Timetable { schedules: self.schedules(), anchor, starts_at, expires_at }
    }

    /// How long after the end of a run it is due, if a schedule says so: the shortest.
    pub fn delay(&self) -> Option<Duration> {
        let delay = |schedule: &Schedule| match schedule {
            Schedule::Delay(delay) => Some(delay.get()),
            _ => None,
        };
        self.schedules().iter().filter_map(delay).min()
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

    pub fn max_running(&self) -> u32 {
        self.max_running.unwrap_or(DEFAULT_MAX_RUNNING)
    }

    pub fn max_buffered(&self) -> u32 {
        self.max_buffered.unwrap_or(DEFAULT_MAX_BUFFERED)
    }

    /// By default `run_once` for wall-clock times, since each of them was meant, and `skip` for rates.
    pub fn missed(&self) -> Missed {
        let default = || {
            let meant = |schedule: &Schedule| matches!(schedule, Schedule::Cron(_) | Schedule::At(_));
            if self.schedules().iter().any(meant) { Missed::RunOnce } else { Missed::Skip }
        };
        self.missed.unwrap_or_else(default)
    }

    pub fn catchup_window(&self) -> Duration {
        self.catchup_window.unwrap_or(DEFAULT_CATCHUP_WINDOW)
    }

    pub fn max_catchup(&self) -> u32 {
        self.max_catchup.unwrap_or(DEFAULT_MAX_CATCHUP)
    }

    pub fn retry(&self) -> Retry {
        self.retry.clone().unwrap_or_else(Retry::none)
    }

    /// What it is granted.
    pub fn grants(&self) -> &Grants {
        static NONE: Grants = Grants::none();
        self.grants.as_deref().unwrap_or(&NONE)
    }

    /// What it sets of this limit itself; the host's [`Ceilings`] tell what is in force.
    pub fn own_limit(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::MemoryBytes => self.memory_bytes,
            limit => self.limits.as_ref().and_then(|limits| limits.get(limit)),
        }
    }

    pub fn instance(&self) -> InstancePolicy {
        self.instance.unwrap_or_default()
    }

    /// The same with every default written out.
    pub fn effective(&self) -> Self {
        Self {
            schedules: Some(self.schedules().to_vec()),
            timeout: Some(self.timeout()),
            memory_bytes: Some(self.memory_bytes()),
            overlap: Some(self.overlap()),
            max_running: Some(self.max_running()),
            max_buffered: Some(self.max_buffered()),
            missed: Some(self.missed()),
            catchup_window: Some(self.catchup_window()),
            max_catchup: Some(self.max_catchup()),
            retry: Some(self.retry()),
            limits: Some(Box::new(self.limits.as_deref().cloned().unwrap_or_default().effective())),
            instance: Some(self.instance()),
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
    pub starts_at: Option<Option<String>>,
    pub expires_at: Option<Option<String>>,
    pub max_runs: Option<Option<u64>>,
    pub jitter: Option<Option<JitterText>>,
    pub overlap: Option<Option<String>>,
    pub max_running: Option<Option<u32>>,
    pub max_buffered: Option<Option<u32>>,
    pub missed: Option<Option<String>>,
    pub catchup_window: Option<Option<String>>,
    pub max_catchup: Option<Option<u32>>,
    pub retry: Option<Option<RetryText>>,
    pub pause_on_failure: Option<Option<u32>>,
    pub on_failure: Option<Option<String>>,
    pub on_recovery: Option<Option<String>>,
    /// Labels to set, and with `None` to take away.
    pub labels: Option<Option<BTreeMap<String, Option<String>>>>,
    pub args: Option<Option<Vec<String>>>,
    pub grants: Option<Option<GrantsText>>,
    pub limits: Option<Option<BTreeMap<String, u64>>>,
    pub instance: Option<Option<String>>,
}

/// Why a definition is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("{what} {error}")]
    DurationSyntax { what: &'static str, error: DurationError },
    #[error("{what} {} is out of range; it must be from {} to {}", format_duration(*.given), format_duration(*.min), format_duration(*.max))]
    DurationRange { what: &'static str, given: Duration, min: Duration, max: Duration },
    #[error("`{what}` is {given}; it must be {}", bounds(*.max))]
    CountRange { what: &'static str, given: u64, max: u64 },
    #[error("its schedules never come due: all the times that they have are past")]
    NeverDue,
    #[error("it would expire at {expires_at}, and start no earlier than {starts_at}: it would never run")]
    ExpiresBeforeStart { starts_at: Time, expires_at: Time },
    #[error("{0} attempts are out of range; a run has from 1 to {MAX_ATTEMPTS}")]
    Attempts(u32),
    #[error("the longest backoff {} is shorter than the first one, {}", format_duration(*.max_backoff), format_duration(*.backoff))]
    BackoffOrder { backoff: Duration, max_backoff: Duration },
    #[error(
        "`{0}` is no outcome that can be tried again; those are error, trapped, timed_out, limit_exceeded, host_error and abandoned"
    )]
    RetryOn(String),
    #[error("`{0}` is no policy for missed due times; it is one of skip, run_once and run_all")]
    Missed(String),
    #[error("the memory limit of {0} bytes is out of range; it must be from 64 KiB to 4 GiB")]
    MemoryRange(u64),
    #[error(
        "`{0}` is no overlap policy; it is one of skip, buffer_one, buffer_all, cancel_other, terminate_other and allow_all"
    )]
    Overlap(String),
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("`{0}` is no policy for instances; it is one of fresh and keep")]
    Instance(String),
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

fn default_schedules() -> &'static [Schedule] {
    static DEFAULT: OnceLock<[Schedule; 1]> = OnceLock::new();
    DEFAULT.get_or_init(|| {
        let second = Interval::new(Duration::from_secs(1)).expect("one second is an interval");
        [Schedule::Every(Every::of(second))]
    })
}

/// What a count may be, in words; one that a 32-bit number bounds has no bound that anybody means.
fn bounds(max: u64) -> String {
    if max >= u64::from(u32::MAX) { "at least 1".to_owned() } else { format!("from 1 to {max}") }
}

fn check_count<N: Copy + Into<u64>>(what: &'static str, given: N, max: N) -> Result<N, SpecError> {
    let (number, most) = (given.into(), max.into());
    if (1..=most).contains(&number) { Ok(given) } else { Err(SpecError::CountRange { what, given: number, max: most }) }
}

fn check_memory(bytes: u64) -> Result<u64, SpecError> {
    if (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&bytes) { Ok(bytes) } else { Err(SpecError::MemoryRange(bytes)) }
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
        TaskSpec::default()
    }

    #[test]
    fn a_patch_changes_only_what_it_names() {
        let labels =
            BTreeMap::from([("team".to_owned(), Some("web".to_owned())), ("env".to_owned(), Some("dev".to_owned()))]);
        let patch = SpecPatch { timeout: Some(Some("5s".into())), labels: Some(Some(labels)), ..SpecPatch::default() };
        let first = spec().patched(patch, &Zone::utc()).expect("a valid patch");
        assert_eq!(first.timeout(), Duration::from_secs(5));
        assert_eq!(first.memory_bytes(), DEFAULT_MEMORY_BYTES);

        let away = BTreeMap::from([("env".to_owned(), None)]);
        let patch = SpecPatch { timeout: Some(None), labels: Some(Some(away)), ..SpecPatch::default() };
        let second = first.patched(patch, &Zone::utc()).expect("a valid patch");
        assert_eq!(second.timeout, None);
        assert_eq!(second.labels, BTreeMap::from([("team".to_owned(), "web".to_owned())]));
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let refused = |patch| spec().patched(patch, &Zone::utc()).expect_err("out of range").to_string();
        let message = refused(SpecPatch { timeout: Some(Some("8d".into())), ..SpecPatch::default() });
        assert_eq!(message, "the timeout 8d is out of range; it must be from 1ms to 7d");
        let message = refused(SpecPatch { timeout: Some(Some("1".into())), ..SpecPatch::default() });
        assert_eq!(message, "the timeout `1` is no duration; write it like `500ms`, `90s`, `1h30m` or `7d`");
        let message = refused(SpecPatch { memory_bytes: Some(Some(1)), ..SpecPatch::default() });
        assert_eq!(message, "the memory limit of 1 bytes is out of range; it must be from 64 KiB to 4 GiB");
        let message = refused(SpecPatch {
            schedules: Some(Some(vec![ScheduleText { every: Some("1ns".into()), ..ScheduleText::default() }])),
            ..SpecPatch::default()
        });
        assert_eq!(message, "the interval 1ns is out of range; it must be from 10ms to 10y");
    }

    #[test]
    fn the_effective_spec_has_nothing_left_open() {
        let effective = spec().effective();
        assert!(effective.schedules.is_some() && effective.timeout.is_some());
        assert!(effective.memory_bytes.is_some() && effective.overlap.is_some());
        assert!(effective.missed.is_some() && effective.retry.is_some());
        assert_eq!(effective.schedules(), spec().schedules());
    }
}

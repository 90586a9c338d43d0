//! What is tried: a plugin, when its ticks are due, what it may do and what it finds.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::key_value::KeyValueError;
use taskhost_core::name::TaskName;
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::{Clock, GrantFault, SecretSource, StoreError, SystemClock};
use taskhost_core::schedule::{Schedule, ScheduleError, ScheduleText, Zone, parse_time};
use taskhost_core::spec::{DirGrant, GrantsText, SpecError, SpecPatch, TaskSpec};
use taskhost_core::time::Time;
use taskhost_engine::{CompilerConfig, EngineError, MAX_PLUGIN_BYTES, VirtualTime};

use crate::data::Data;
use crate::due::RunClock;
use crate::fixture::{Answer, Fixture, FixtureError};
use crate::record::BUCKET;

/// Where virtual time begins if nothing is said: as the SDK's own tests have it.
const START: &str = "2030-01-01T00:00:00Z";

/// The name of the task if the plugin's is none.
const FALLBACK_NAME: &str = "run";

/// A plugin, and how it is tried.
///
/// Unless something is said, it is as [`Trial::of_file`] tells. Texts are what `taskctl add` takes, and they are checked when the trial
/// begins.
#[derive(Clone)]
pub struct Trial {
    pub(crate) wasm: Bytes,
    pub(crate) name: TaskName,
    schedule: Option<Due>,
    time: TrialTime,
    timeout: Option<String>,
    memory_bytes: Option<u64>,
    limits: BTreeMap<String, u64>,
    instance: Option<String>,
    args: Vec<String>,
    grants: GrantsText,
    fixture: Fixture,
    network: bool,
    own_secrets: OwnSecrets,
    secrets: Option<Arc<dyn SecretSource>>,
    pub(crate) compiler: CompilerConfig,
    pub(crate) keeps_going: bool,
    pub(crate) is_recorded: bool,
}

#[derive(Clone, Debug)]
enum Due {
    Every(String),
    Cron { expression: String, zone: Option<String> },
}

#[derive(Clone, Debug)]
enum TrialTime {
    Real,
    /// From now on.
    Virtual,
    VirtualFrom(String),
}

/// Why a trial did not come to its end. A tick that fails is no error, but stands in the record.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("failed to read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {MAX_PLUGIN_BYTES} bytes, the most that a host accepts", .0.display())]
    TooLarge(PathBuf),
    #[error(transparent)]
    Every(ScheduleError),
    #[error(transparent)]
    Cron(ScheduleError),
    #[error(transparent)]
    Zone(ScheduleError),
    /// Where virtual time begins.
    #[error(transparent)]
    Start(ScheduleError),
    #[error("{0} is before what a guest's clock can show")]
    StartTooEarly(Time),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// No host would take the plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// What is granted is not what the plugin needs, or not there to be given.
    #[error(transparent)]
    Grants(#[from] GrantFault),
    #[error("no tick is due: all the times that the schedule has are past")]
    NeverDue,
    #[error("failed to make an engine")]
    Engine(#[source] EngineError),
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    #[error("failed to read the keys and values at the end")]
    Store(#[source] KeyValueError),
}

impl TrialError {
    /// What to do about it, as users of `taskctl` do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Plugin(PluginError::Invalid { hint, .. }) => hint.as_deref(),
            Self::Grants(fault) => Some(&fault.hint),
            _ => None,
        }
    }
}

impl Trial {
    /// Of a plugin's file, whose name is the task's too. It is granted nothing, and time is virtual and begins with 2030. Each tick is due
    /// when the one before has ended, and the first that does not succeed is the last. Nothing goes to the network: requests have the
    /// answers that are given, or none.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, TrialError> {
        let path = path.as_ref();
        let mut wasm = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_PLUGIN_BYTES + 1).read_to_end(&mut wasm))
            .map_err(|source| TrialError::Read { path: path.to_owned(), source })?;
        if wasm.len() as u64 > MAX_PLUGIN_BYTES {
            return Err(TrialError::TooLarge(path.to_owned()));
        }
        Ok(Self::of_bytes(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), wasm))
    }

    /// The same of a plugin in memory, and a task of this name; `run`, if that is no name.
    pub fn of_bytes(name: &str, wasm: impl Into<Bytes>) -> Self {
        let name = TaskName::new(name).or_else(|_| TaskName::new(FALLBACK_NAME)).expect("`run` is a name");
        Self {
            wasm: wasm.into(),
            name,
            schedule: None,
            time: TrialTime::VirtualFrom(START.to_owned()),
            timeout: None,
            memory_bytes: None,
            limits: BTreeMap::new(),
            instance: None,
            args: Vec::new(),
            grants: GrantsText::default(),
            fixture: Fixture::default(),
            network: false,
            own_secrets: OwnSecrets::default(),
            secrets: None,
            compiler: CompilerConfig::here(),
            keeps_going: false,
            is_recorded: true,
        }
    }

    /// Ticks are due at this rate, like `1d`, the first one interval after the start.
    #[must_use]
    pub fn every(self, interval: &str) -> Self {
        Self { schedule: Some(Due::Every(interval.to_owned())), ..self }
    }

    /// Ticks are due by a cron expression, in UTC.
    #[must_use]
    pub fn cron(self, expression: &str) -> Self {
        Self { schedule: Some(Due::Cron { expression: expression.to_owned(), zone: None }), ..self }
    }

    /// The same in an IANA time zone, like `Europe/Berlin`.
    #[must_use]
    pub fn cron_in(self, expression: &str, zone: &str) -> Self {
        Self { schedule: Some(Due::Cron { expression: expression.to_owned(), zone: Some(zone.to_owned()) }), ..self }
    }

    /// Virtual time begins here, in RFC 3339.
    #[must_use]
    pub fn starting_at(self, time: &str) -> Self {
        Self { time: TrialTime::VirtualFrom(time.to_owned()), ..self }
    }

    /// Virtual time begins now.
    #[must_use]
    pub fn starting_now(self) -> Self {
        Self { time: TrialTime::Virtual, ..self }
    }

    /// Due times, and what the plugin waits for, are waited for.
    #[must_use]
    pub fn in_real_time(self) -> Self {
        Self { time: TrialTime::Real, ..self }
    }

    /// How long a tick may take, like `30s`.
    #[must_use]
    pub fn timeout(self, timeout: &str) -> Self {
        Self { timeout: Some(timeout.to_owned()), ..self }
    }

    /// How much memory it may have.
    #[must_use]
    pub fn memory_bytes(self, bytes: u64) -> Self {
        Self { memory_bytes: Some(bytes), ..self }
    }

    /// One of the limits of `docs/limits.md`, like `log_lines`.
    #[must_use]
    pub fn limit(mut self, name: &str, value: u64) -> Self {
        self.limits.insert(name.to_owned(), value);
        self
    }

    /// Whether every tick has an instance of its own, `fresh`, or all have the same one, `keep`.
    #[must_use]
    pub fn instance(self, policy: &str) -> Self {
        Self { instance: Some(policy.to_owned()), ..self }
    }

    /// The guest's arguments.
    #[must_use]
    pub fn args<A: Into<String>>(self, args: impl IntoIterator<Item = A>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect(), ..self }
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.grants.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A folder, by a path without links that is told from the working folder, and what the guest calls it.
    #[must_use]
    pub fn dir(self, host: impl AsRef<Path>, guest: &str) -> Self {
        self.with_dir(host.as_ref(), guest, false)
    }

    /// The same, only to read.
    #[must_use]
    pub fn dir_read_only(self, host: impl AsRef<Path>, guest: &str) -> Self {
        self.with_dir(host.as_ref(), guest, true)
    }

    fn with_dir(mut self, host: &Path, guest: &str, read_only: bool) -> Self {
        // Only an empty one has no absolute path; and one that is no UTF-8 is not found.
        let host = std::path::absolute(host).unwrap_or_default().to_string_lossy().into_owned();
        self.grants.dirs.push(DirGrant { host, guest: guest.to_owned(), read_only });
        self
    }

    /// Where it may connect to, like `example.org:443`.
    #[must_use]
    pub fn allow_host(mut self, host: &str) -> Self {
        self.grants.hosts.push(host.to_owned());
        self
    }

    /// A setting.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.grants.config.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A secret, that it may read.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.grants.secrets.push(name.to_owned());
        self.own_secrets.0.insert(name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        self
    }

    /// A store, which has these keys and values at the start.
    #[must_use]
    pub fn kv<K: Into<String>, V: Into<Data>>(mut self, values: impl IntoIterator<Item = (K, V)>) -> Self {
        self.grants.kv = true;
        let values = values.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.fixture.kv.entry(BUCKET.to_owned()).or_default().extend(values);
        self
    }

    /// An answer to a request, if its host is granted; further ones to the same method and URL are given in turn, and the last one again
    /// and again.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.fixture.http.get_or_insert_default().push(answer);
        self
    }

    /// All that it finds. It grants nothing.
    #[must_use]
    pub fn fixture(self, fixture: Fixture) -> Self {
        Self { fixture, ..self }
    }

    /// Requests for which a host is granted go to the network, unless answers are given.
    #[must_use]
    pub fn with_network(self) -> Self {
        Self { network: true, ..self }
    }

    /// A tick that does not succeed is not the last one.
    #[must_use]
    pub fn keep_going(self) -> Self {
        Self { keeps_going: true, ..self }
    }

    /// All that is granted.
    #[must_use]
    pub fn grants(self, grants: GrantsText) -> Self {
        Self { grants, ..self }
    }

    /// Where secrets come from, in place of [`Trial::secret`].
    #[must_use]
    pub fn secrets(self, secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets: Some(secrets), ..self }
    }

    /// How the plugin is compiled: in this process, unless something is said, for it is trusted.
    #[must_use]
    pub fn compiler(self, compiler: CompilerConfig) -> Self {
        Self { compiler, ..self }
    }

    /// What it does is not kept, however long it is tried.
    #[must_use]
    pub fn unrecorded(self) -> Self {
        Self { is_recorded: false, ..self }
    }

    /// Whether it makes sense, as far as that shows without a look at the plugin.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self) -> Result<(), TrialError> {
        self.spec()?;
        self.clock()?;
        self.fixture.changes()?;
        self.fixture.answers()?;
        Ok(())
    }

    /// The task, but for its plugin.
    ///
    /// # Errors
    /// If a host would refuse it.
    pub fn spec(&self) -> Result<TaskSpec, TrialError> {
        let patch = SpecPatch {
            schedules: self.schedule.as_ref().map(Due::check).transpose()?.map(|schedule| Some(vec![schedule])),
            timeout: Some(self.timeout.clone()),
            memory_bytes: Some(self.memory_bytes),
            args: Some(Some(self.args.clone())),
            grants: Some(Some(self.grants.clone())),
            limits: Some(Some(self.limits.clone())),
            instance: Some(self.instance.clone()),
            ..SpecPatch::default()
        };
        Ok(TaskSpec::default().patched(patch, &Zone::utc())?)
    }

    pub(crate) fn clock(&self) -> Result<RunClock, TrialError> {
        let start = match &self.time {
            TrialTime::Real => return Ok(RunClock(None)),
            TrialTime::Virtual => SystemClock.now(),
            TrialTime::VirtualFrom(start) => parse_time(start).map_err(TrialError::Start)?,
        };
        if start < Time(0) {
            return Err(TrialError::StartTooEarly(start));
        }
        Ok(RunClock(Some(VirtualTime::starting_at(start))))
    }

    /// What it finds: without a network, answers stand for it though there may be none.
    pub(crate) fn found(&self) -> Fixture {
        let Fixture { kv, http } = self.fixture.clone();
        Fixture { kv, http: if self.network { http } else { Some(http.unwrap_or_default()) } }
    }

    pub(crate) fn secret_source(&self) -> Arc<dyn SecretSource> {
        self.secrets.clone().unwrap_or_else(|| Arc::new(self.own_secrets.clone()))
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("name", &self.name)
            .field("schedule", &self.schedule)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl Due {
    fn check(&self) -> Result<ScheduleText, TrialError> {
        let text = match self {
            Self::Every(every) => ScheduleText { every: Some(every.clone()), ..ScheduleText::default() },
            Self::Cron { expression, zone } => {
                zone.as_deref().map(Zone::parse).transpose().map_err(TrialError::Zone)?;
                ScheduleText { cron: Some(expression.clone()), timezone: zone.clone(), ..ScheduleText::default() }
            }
        };
        let wrong = |error| match self {
            Self::Every(_) => TrialError::Every(error),
            Self::Cron { .. } => TrialError::Cron(error),
        };
        Schedule::parse(text.clone(), &Zone::utc()).map_err(wrong)?;
        Ok(text)
    }
}

/// Secrets as the trial has them.
#[derive(Clone, Default)]
struct OwnSecrets(BTreeMap<String, Bytes>);

impl SecretSource for OwnSecrets {
    fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(name).cloned())
    }

    fn places(&self, name: &str) -> String {
        format!("the trial, with `.secret({name:?}, …)`")
    }
}

//! What an attempt, a run or a task may use at most, and what the host allows them to ask for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::told;
use super::{SpecError, TaskSpec};
use crate::time::format_duration;

/// Something that is bounded. Its name is the detail of `limit_exceeded`, the name of a counter, and what `--limit` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Linear memory of an attempt, all memories together. In a definition a member of its own.
    MemoryBytes,
    /// Processor time of an attempt, in milliseconds.
    CpuMs,
    /// Elements of one table.
    TableElements,
    /// Tables of an attempt.
    Tables,
    /// Linear memories of an attempt.
    Memories,
    /// Core instances of an attempt.
    Instances,
    /// What a run's attempt may write to the log, in bytes.
    LogBytes,
    /// The same in lines.
    LogLines,
    /// What a task may write to the log in a minute, in bytes.
    LogBytesPerMinute,
    /// The same in lines.
    LogLinesPerMinute,
    /// The summary or the failure's message that is kept with a run, in bytes.
    ResultBytes,
    /// Keys and values of a task's key-value store, in bytes.
    KvBytes,
    /// Open files, sockets, streams and other resources of the host that an attempt holds at once.
    Handles,
    /// Connections that an attempt opens, one after the other or at once.
    Connections,
    /// What an attempt receives over the network, in bytes.
    ResponseBytes,
}

/// The bounds of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRule {
    pub limit: Limit,
    pub name: &'static str,
    /// What holds where a definition says nothing; `None` for no bound of its own.
    pub default: Option<u64>,
    pub min: u64,
    pub max: u64,
}

const fn rule(limit: Limit, name: &'static str, default: Option<u64>, min: u64, max: u64) -> LimitRule {
    LimitRule { limit, name, default, min, max }
}

/// All of them, in the order of [`Limit`].
pub const LIMITS: [LimitRule; 15] = [
    rule(
        Limit::MemoryBytes,
        "memory_bytes",
        Some(super::DEFAULT_MEMORY_BYTES),
        super::MIN_MEMORY_BYTES,
        super::MAX_MEMORY_BYTES,
    ),
    // The timeout bounds it where nothing else does.
    rule(Limit::CpuMs, "cpu_ms", None, 1, 7 * 86_400_000),
    rule(Limit::TableElements, "table_elements", Some(100_000), 1, 100_000),
    rule(Limit::Tables, "tables", Some(100), 1, 1_000),
    rule(Limit::Memories, "memories", Some(10), 1, 100),
    rule(Limit::Instances, "instances", Some(100), 1, 1_000),
    rule(Limit::LogBytes, "log_bytes", Some(1 << 20), 1, 64 << 20),
    rule(Limit::LogLines, "log_lines", Some(10_000), 1, 1_000_000),
    rule(Limit::LogBytesPerMinute, "log_bytes_per_minute", Some(4 << 20), 1, 256 << 20),
    rule(Limit::LogLinesPerMinute, "log_lines_per_minute", Some(40_000), 1, 4_000_000),
    rule(Limit::ResultBytes, "result_bytes", Some(4_096), 1, 4_096),
    rule(Limit::KvBytes, "kv_bytes", Some(1 << 20), 1, 1 << 30),
    rule(Limit::Handles, "handles", Some(1_000), 1, 100_000),
    rule(Limit::Connections, "connections", Some(100), 1, 10_000),
    rule(Limit::ResponseBytes, "response_bytes", Some(64 << 20), 1, 16 << 30),
];

impl Limit {
    pub fn rule(self) -> &'static LimitRule {
        &LIMITS[self as usize]
    }

    pub fn as_str(self) -> &'static str {
        self.rule().name
    }

    /// Refuses a value out of range.
    pub fn check(self, value: u64) -> Result<(), LimitError> {
        match (self.rule().min..=self.rule().max).contains(&value) {
            true => Ok(()),
            false => Err(LimitError::Range { limit: self, given: value }),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A limit that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("`{given}` is no limit; limits are {}", names())]
    Unknown { given: String },
    #[error("the limit `{limit}` is {given}; it must be from {} to {}", limit.rule().min, limit.rule().max)]
    Range { limit: Limit, given: u64 },
    #[error("the memory limit is the member `memory_bytes` of a definition (`--memory`), and none of its `limits`")]
    MemoryIsMember,
    #[error("`{name}` is {given}, and this host allows {ceiling} at most; its administrator sets that under [limits]")]
    PastCeiling { name: &'static str, given: String, ceiling: String },
}

fn names() -> String {
    let names: Vec<_> = LIMITS.iter().map(|rule| rule.name).collect();
    names.join(", ")
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let named = LIMITS.iter().find(|rule| rule.name == text).map(|rule| rule.limit);
        named.ok_or_else(|| LimitError::Unknown { given: told(text) })
    }
}

/// The limits that a definition sets, but those that are members of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<Limit, u64>);

impl Limits {
    pub(super) fn check(given: BTreeMap<String, u64>) -> Result<Self, SpecError> {
        let check = |(name, value): (String, u64)| {
            let limit: Limit = name.parse()?;
            match limit {
                Limit::MemoryBytes => Err(LimitError::MemoryIsMember),
                limit => limit.check(value).map(|()| (limit, value)),
            }
        };
        Ok(Self(given.into_iter().map(check).collect::<Result<_, _>>()?))
    }

    /// What is set of this limit.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0.get(&limit).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        self.0.iter().map(|(limit, value)| (*limit, *value))
    }

    /// The same with every default written out that there is.
    pub(super) fn effective(&self) -> Self {
        let own = LIMITS.iter().filter(|rule| rule.limit != Limit::MemoryBytes);
        Self(own.filter_map(|rule| Some((rule.limit, self.get(rule.limit).or(rule.default)?))).collect())
    }
}

/// The most that definitions may ask for on this host; what is not set here is bounded by [`LIMITS`] and the rules of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    limits: BTreeMap<Limit, u64>,
    pub timeout: Option<Duration>,
    pub max_running: Option<u32>,
}

impl Ceilings {
    /// Sets one of them.
    pub fn set(&mut self, limit: Limit, most: u64) -> Result<(), LimitError> {
        limit.check(most)?;
        self.limits.insert(limit, most);
        Ok(())
    }

    /// Refuses a definition that asks for more than there is. One that asks for nothing gets what there is.
    pub fn check(&self, spec: &TaskSpec) -> Result<(), LimitError> {
        let past = |name, given, ceiling| Err(LimitError::PastCeiling { name, given, ceiling });
        for (limit, &most) in &self.limits {
            if let Some(given) = spec.own_limit(*limit).filter(|given| *given > most) {
                return past(limit.as_str(), given.to_string(), most.to_string());
            }
        }
        if let (Some(given), Some(most)) = (spec.timeout, self.timeout)
            && given > most
        {
            return past("timeout", format_duration(given), format_duration(most));
        }
        if let (Some(given), Some(most)) = (spec.max_running, self.max_running)
            && given > most
        {
            return past("max_running", given.to_string(), most.to_string());
        }
        Ok(())
    }

    /// What is in force for a task, also for one that was added before a ceiling came down; `None` for no bound.
    pub fn limit(&self, spec: &TaskSpec, limit: Limit) -> Option<u64> {
        let given = spec.own_limit(limit).or(limit.rule().default);
        match (given, self.limits.get(&limit)) {
            (Some(given), Some(&most)) => Some(given.min(most)),
            (given, most) => given.or(most.copied()),
        }
    }

    /// How long an attempt of this task may take.
    pub fn timeout(&self, spec: &TaskSpec) -> Duration {
        self.timeout.map_or(spec.timeout(), |most| spec.timeout().min(most))
    }

    /// The definition as its runs follow it: asking for no more runs at once than there may be.
    pub fn bounded(&self, spec: &Arc<TaskSpec>) -> Arc<TaskSpec> {
        let most = self.max_running(spec);
        if most == spec.max_running() {
            return Arc::clone(spec);
        }
        Arc::new(TaskSpec { max_running: Some(most), ..TaskSpec::clone(spec) })
    }

    /// How many runs of this task go on at once with `allow_all`.
    pub fn max_running(&self, spec: &TaskSpec) -> u32 {
        self.max_running.map_or(spec.max_running(), |most| spec.max_running().min(most))
    }
}

impl Ceilings {
    /// A definition with every default written out, and brought down to what is in force.
    pub fn effective(&self, spec: &TaskSpec) -> TaskSpec {
        let own = LIMITS.iter().filter(|rule| rule.limit != Limit::MemoryBytes);
        let limits = own.filter_map(|rule| Some((rule.limit, self.limit(spec, rule.limit)?))).collect();
        TaskSpec {
            timeout: Some(self.timeout(spec)),
            max_running: Some(self.max_running(spec)),
            memory_bytes: self.limit(spec, Limit::MemoryBytes),
            limits: Some(Box::new(Limits(limits))),
            ..spec.effective()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_refuses_what_asks_for_more_and_bounds_what_was_there_before() {
        let mut ceilings = Ceilings { timeout: Some(Duration::from_secs(1)), ..Ceilings::default() };
        ceilings.set(Limit::MemoryBytes, 1 << 20).expect("in range");
        ceilings.set(Limit::CpuMs, 500).expect("in range");
        let mut spec = TaskSpec::default();
        assert_eq!(ceilings.check(&spec), Ok(()), "nothing is asked for");
        assert_eq!(ceilings.limit(&spec, Limit::MemoryBytes), Some(1 << 20));
        assert_eq!(ceilings.limit(&spec, Limit::CpuMs), Some(500));
        assert_eq!(ceilings.timeout(&spec), Duration::from_secs(1));
        ceilings.max_running = Some(2);
        assert_eq!(ceilings.bounded(&Arc::new(spec.clone())).max_running, Some(2), "of one that was there before");
        spec.memory_bytes = Some(2 << 20);
        let refused = ceilings.check(&spec).expect_err("past the ceiling").to_string();
        assert!(refused.starts_with("`memory_bytes` is 2097152, and this host allows 1048576 at most"), "{refused}");
        assert_eq!(ceilings.limit(&spec, Limit::MemoryBytes), Some(1 << 20));
    }

    #[test]
    fn what_is_in_force_is_the_default_or_what_is_given_but_never_past_a_ceiling() {
        let mut ceilings = Ceilings { max_running: Some(2), ..Ceilings::default() };
        ceilings.set(Limit::MemoryBytes, 1 << 20).expect("in range");
        ceilings.set(Limit::CpuMs, 500).expect("in range");
        let limits = Limits([(Limit::CpuMs, 900), (Limit::LogLines, 7)].into());
        let spec = TaskSpec { limits: Some(Box::new(limits)), ..TaskSpec::default() };
        let effective = ceilings.effective(&spec);
        assert_eq!(
            (effective.max_running, effective.memory_bytes, effective.timeout),
            (Some(2), Some(1 << 20), Some(spec.timeout()))
        );
        let limit = |limit| effective.own_limit(limit);
        assert_eq!(
            (limit(Limit::CpuMs), limit(Limit::LogLines), limit(Limit::Tables)),
            (Some(500), Some(7), Some(100))
        );
        assert_eq!(Ceilings::default().effective(&spec), spec.effective());
    }

    #[test]
    fn the_table_stands_in_the_order_of_its_limits() {
        for (at, rule) in LIMITS.iter().enumerate() {
            assert_eq!(rule.limit as usize, at);
            assert_eq!(serde_json::to_value(rule.limit).expect("a name"), rule.name);
            assert!(rule.default.is_none_or(|default| (rule.min..=rule.max).contains(&default)), "{}", rule.name);
        }
    }

    #[test]
    fn the_table_that_people_read_has_the_same_numbers() {
        let table = include_str!("../../../../docs/limits.md").lines().filter(|line| line.starts_with("| `"));
        let told = |rule: &LimitRule, value: u64| match rule.name.split('_').next_back() {
            Some("ms") => format_duration(Duration::from_millis(value)),
            _ if !rule.name.contains("bytes") => value.to_string(),
            _ => [(30, "GiB"), (20, "MiB"), (10, "KiB")]
                .into_iter()
                .find(|(shift, _)| value.trailing_zeros() >= *shift)
                .map_or(value.to_string(), |(shift, unit)| format!("{} {unit}", value >> shift)),
        };
        let row = |rule: &LimitRule| {
            let default = rule.default.map_or("none".to_owned(), |default| told(rule, default));
            format!("| `{}` | {default} | {} | {} | ", rule.name, told(rule, rule.min), told(rule, rule.max))
        };
        let rows: Vec<_> = table.collect();
        assert_eq!(rows.len(), LIMITS.len());
        for (rule, line) in LIMITS.iter().zip(rows) {
            assert!(line.starts_with(&row(rule)), "docs/limits.md has\n{line}\nand the code\n{}", row(rule));
        }
    }

    #[test]
    fn a_limit_is_refused_with_the_names_or_the_range() {
        let refused =
            |name: &str, value| Limits::check(BTreeMap::from([(name.to_owned(), value)])).expect_err(name).to_string();
        assert!(refused("memory", 1).starts_with("`memory` is no limit; limits are memory_bytes, cpu_ms, "));
        assert_eq!(refused("handles", 0), "the limit `handles` is 0; it must be from 1 to 100000");
        assert!(refused("memory_bytes", 1 << 20).contains("the member `memory_bytes`"));
    }
}

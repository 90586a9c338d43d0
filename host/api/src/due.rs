//! Due times on the wire: those to come, those to be made up for, and why one came to what it did.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Run;
use crate::plain::also_plain_name;
use crate::spec::{Schedule, is_false};

/// The parameter of `TaskUnit.Next`: the due times of a task, or of schedules that no task has yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextRequest {
    /// A task. Exactly one of `name` and `schedules` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As a task would have them that is added now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    /// With `schedules`: no due time is before this one (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    /// With `schedules`: every due time is before this one (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// With `schedules`: how long an attempt may take, for the warning that due times come closer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Only due times after this one (RFC 3339); now by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// At most this many, 1 to 1000; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Due times to come, the next one first.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct NextDue {
    /// Fewer than asked for where there are no more.
    pub due: Vec<Timestamp>,
    /// The same, each with the offset of the time zone in which it is due (RFC 3339).
    pub local: Vec<String>,
    /// What may surprise: due times that do not exist, runs that may overlap.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The parameter of `TaskUnit.Backfill`: a stretch of time whose due times are to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillRequest {
    pub name: String,
    /// The first due time is not before this one (RFC 3339).
    pub from: String,
    /// Every due time is before this one (RFC 3339).
    pub until: String,
    /// Whether nothing is done: the answer says how many due times would run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What `TaskUnit.Backfill` set going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Backfilled {
    /// How many due times run, one after the other.
    pub due_times: u64,
    /// Its number among the task's backfills, from 1: the end of its runs' ids. Of a dry run, the one that it would have.
    pub backfill: u32,
}

/// The parameter of `TaskUnit.Why`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct WhyRequest {
    pub name: String,
    /// What happened, or did not, at this time (RFC 3339); now by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

also_plain_name!(WhyRequest { at: Option<String> });

/// Why a task ran at a time, or did not.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Explanation {
    /// The time that it is about.
    pub at: Timestamp,
    /// For people, a line each.
    pub text: Vec<String>,
    /// The due time that decides, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The next due time after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Timestamp>,
}

//! What a plugin says of itself, without being run: what it is called and where it comes from ([`About`]), and its manifest,
//! which tells what it wants of a host.
//!
//! A plugin's word binds nobody: grants and schedules are given by who adds a task. The manifest only makes a task that could not
//! work be refused when it is added, with what is missing, and not when it first runs. Shape and rules as users see them:
//! docs/manifest.md.

mod schema;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::schema::Schema;
use crate::schedule::{Schedule, ScheduleText, Zone};
use crate::spec::{GrantFault, Grants, HostPattern, Limit, check_dir_name, check_grant_name, check_secret_name};
use crate::told::told;

/// The custom section that has a plugin's manifest.
pub const MANIFEST_SECTION: &str = "taskhost:manifest";
/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;
/// The version of the manifest's shape: its member `manifest`.
pub const MANIFEST_VERSION: u32 = 1;
/// The most grants that a manifest names, required and optional ones each.
pub const MAX_NEEDS: usize = 64;
/// The longest value of a named grant, and the longest reason for one, in bytes.
pub const MAX_NEED_BYTES: usize = 1024;

/// How much a message repeats of what a plugin says.
const MAX_TOLD_CHARS: usize = 300;

/// What a plugin says of itself. The texts are its own, whatever they say; cut to what is worth showing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// An SPDX expression, if it is as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
    /// Where its source is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Which revision of the source it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What it was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub toolchain: Vec<Tool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Arc<Manifest>>,
}

/// A language or tool that a plugin was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `language`, `processed-by` or `sdk`.
    pub role: String,
    pub name: String,
    /// Empty if it says none.
    pub version: String,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " {}", self.version) }
    }
}

/// What a plugin wants of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest: u32,
    /// A JSON Schema of its settings, an object whose values are texts, as `wasi:config` gives them.
    ///
    /// Read as it is: what is stored was checked when it came in, and compiling the patterns of all plugins would hold up a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub grants: Needs,
    /// When it thinks that it should run.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "suggested_schedule")]
    pub schedule: Option<SuggestedSchedule>,
    /// The limits that it thinks do for it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "suggested_limits")]
    pub limits: BTreeMap<String, u64>,
}

impl Default for Manifest {
    /// One that says nothing.
    fn default() -> Self {
        Self {
            manifest: MANIFEST_VERSION,
            config: None,
            grants: Needs::default(),
            schedule: None,
            limits: BTreeMap::new(),
        }
    }
}

/// The grants that a plugin names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Without which it does not work.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "needs")]
    pub required: Vec<Need>,
    /// With which it does more.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "needs")]
    pub optional: Vec<Need>,
}

impl Needs {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }

    /// Required ones, then optional ones.
    pub fn iter(&self) -> impl Iterator<Item = &Need> {
        self.required.iter().chain(&self.optional)
    }
}

/// A grant that a plugin names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NeedText")]
pub struct Need {
    pub kind: NeedKind,
    /// Which one: the name of a variable, setting or secret; where it connects to, as `HOST:PORT`; a folder's name for the guest,
    /// with `:ro` if reading does. `None` for `kv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What for, for who grants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The kinds of grants, named as in flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedKind {
    Env,
    Dir,
    Host,
    Config,
    Secret,
    Kv,
}

impl NeedKind {
    /// As a manifest names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Dir => "dir",
            Self::Host => "host",
            Self::Config => "config",
            Self::Secret => "secret",
            Self::Kv => "kv",
        }
    }
}

/// A need as it was written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NeedText {
    kind: NeedKind,
    value: Option<String>,
    why: Option<String>,
}

/// What ends the name of a folder of which reading does.
const READ_ONLY: &str = ":ro";

impl TryFrom<NeedText> for Need {
    type Error = String;

    fn try_from(NeedText { kind, value, why }: NeedText) -> Result<Self, String> {
        if [&value, &why].into_iter().flatten().any(|text| text.len() > MAX_NEED_BYTES) {
            return Err(format!("a text of a grant has more than {MAX_NEED_BYTES} bytes"));
        }
        let checked = match (kind, &value) {
            (NeedKind::Kv, None) => Ok(()),
            (NeedKind::Kv, Some(_)) => return Err("a grant of the kind `kv` has no `value`".to_owned()),
            (_, None) => return Err(format!("a grant of the kind `{}` has a `value`: which one", kind.as_str())),
            (NeedKind::Env, Some(name)) => check_grant_name("environment variable", name),
            (NeedKind::Config, Some(name)) => check_grant_name("setting", name),
            (NeedKind::Secret, Some(name)) => check_secret_name(name),
            (NeedKind::Host, Some(host)) => host.parse::<HostPattern>().map(drop),
            (NeedKind::Dir, Some(dir)) => check_dir_name(dir.strip_suffix(READ_ONLY).unwrap_or(dir)),
        };
        checked.map_err(|error| error.to_string())?;
        Ok(Self { kind, value, why })
    }
}

impl Need {
    fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// Whether these grants have it.
    pub fn is_met(&self, grants: &Grants) -> bool {
        match self.kind {
            NeedKind::Env => grants.env.contains_key(self.value()),
            NeedKind::Config => has_setting(grants, self.value()),
            NeedKind::Secret => grants.secrets.iter().any(|secret| secret == self.value()),
            NeedKind::Kv => grants.kv,
            NeedKind::Host => {
                let wanted = self.value().parse::<HostPattern>();
                wanted.is_ok_and(|wanted| grants.hosts.iter().any(|granted| granted.covers(&wanted)))
            }
            NeedKind::Dir => {
                let (name, reads) = match self.value().strip_suffix(READ_ONLY) {
                    Some(name) => (name, true),
                    None => (self.value(), false),
                };
                let name = if name == "/" { name } else { name.trim_end_matches('/') };
                grants.dirs.iter().any(|dir| dir.guest == name && (reads || !dir.read_only))
            }
        }
    }

    /// The flag of `taskctl add` and `edit` that gives it, as a shell takes it. Words in capitals are for who types it.
    pub fn flag(&self) -> String {
        let value = self.value();
        match self.kind {
            NeedKind::Env => format!("--env {}", shell_word(&format!("{value}=VALUE"))),
            NeedKind::Config => format!("--config {}", shell_word(&format!("{value}=VALUE"))),
            NeedKind::Secret => format!("--secret {}", shell_word(value)),
            NeedKind::Host => format!("--allow-host {}", shell_word(value)),
            NeedKind::Dir => format!("--dir {}", shell_word(&format!("FOLDER::{value}"))),
            NeedKind::Kv => "--kv".to_owned(),
        }
    }
}

/// Whether a guest would find a setting of this name: secrets are read like settings.
fn has_setting(grants: &Grants, name: &str) -> bool {
    grants.config.contains_key(name) || grants.secrets.iter().any(|secret| secret == name)
}

/// A schedule, member for member as a definition of a task has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuggestedSchedule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub align: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
}

impl SuggestedSchedule {
    /// As it is parsed.
    pub fn to_text(&self) -> ScheduleText {
        let Self { every, phase, align, delay, cron, timezone, at, manual } = self.clone();
        ScheduleText { every, phase, align, delay, cron, timezone, at, manual }
    }
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {0} bytes; at most {MAX_MANIFEST_BYTES} are accepted")]
    TooLarge(usize),
    #[error("the manifest is not to be understood: {0}")]
    Shape(String),
    #[error("the manifest has version {0}, and this host knows version {MANIFEST_VERSION}")]
    Version(u64),
}

impl Manifest {
    /// Reads what stands in [`MANIFEST_SECTION`].
    ///
    /// # Errors
    /// [`ManifestError`]; what it repeats of the bytes is cut, and safe to print.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        /// The one member that every version has.
        #[derive(Deserialize)]
        struct Version {
            manifest: u64,
        }

        if json.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(json.len()));
        }
        let shape = |error: serde_json::Error| ManifestError::Shape(told(error, MAX_TOLD_CHARS));
        // Before its other members, which are another version's to know.
        let Version { manifest } = serde_json::from_slice(json).map_err(shape)?;
        if manifest != u64::from(MANIFEST_VERSION) {
            return Err(ManifestError::Version(manifest));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(shape)?;
        let schema = manifest.config.as_ref().map(Schema::parse).transpose();
        schema.map_err(ManifestError::Shape)?;
        Ok(manifest)
    }

    /// Refuses grants that lack what the plugin needs, or give it settings that are not as it says. May take some milliseconds.
    ///
    /// # Errors
    /// A [`GrantFault`] that names everything that is missing, with the flags that give it.
    pub fn check(&self, grants: &Grants) -> Result<(), GrantFault> {
        let mut missing: Vec<Need> = self.grants.required.iter().filter(|need| !need.is_met(grants)).cloned().collect();
        // It was one when it was read, perhaps by a host that knows more than this one.
        let schema = self.config.as_ref().and_then(|config| Schema::parse(config).ok());
        for setting in schema.iter().flat_map(Schema::required) {
            let named = missing.iter().any(|need| need.value() == setting);
            if !named && !has_setting(grants, setting) {
                missing.push(Need { kind: NeedKind::Config, value: Some(setting.to_owned()), why: None });
            }
        }
        let wrong = schema.map(|schema| schema.complaints(grants)).unwrap_or_default();
        if missing.is_empty() && wrong.is_empty() {
            return Ok(());
        }
        let mut message = String::new();
        if !missing.is_empty() {
            message.push_str("the plugin needs what the task is not granted: ");
            message.push_str(&missing.iter().map(told_need).collect::<Vec<_>>().join(", "));
        }
        if !wrong.is_empty() {
            let and = if missing.is_empty() { "" } else { "; and " };
            // Writing to a text does not fail.
            write!(message, "{and}the plugin takes no such settings: {}", wrong.join(", ")).ok();
        }
        let flags = missing.iter().map(Need::flag).collect::<Vec<_>>().join(" ");
        let hint = match (missing.is_empty(), wrong.is_empty()) {
            (false, true) => format!("add {flags}"),
            (false, false) => format!("add {flags}, and change the settings with --config"),
            _ => "change them with --config; `taskctl plugin show` or `taskhost inspect` tells what the plugin takes"
                .to_owned(),
        };
        Err(GrantFault { message, hint: told(hint, MAX_HINT_CHARS) })
    }
}

/// The longest hint; flags are what most of it is.
const MAX_HINT_CHARS: usize = 4000;

fn told_need(need: &Need) -> String {
    let flag = told(need.flag(), MAX_TOLD_CHARS);
    match &need.why {
        Some(why) => format!("`{flag}` ({})", told(why, MAX_TOLD_CHARS)),
        None => format!("`{flag}`"),
    }
}

/// A word as a shell takes it.
fn shell_word(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_.:/@%+=,".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Reads a JSON Schema of settings. For `deserialize_with`, so that who reads it from a file can tell the line.
///
/// # Errors
/// If it is none, or has what is not known here; what the error repeats of it is safe to print.
pub fn config_schema<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let schema = Value::deserialize(deserializer)?;
    Schema::parse(&schema).map_err(de::Error::custom)?;
    Ok(Some(schema))
}

/// Reads a suggested schedule, for `deserialize_with` as [`config_schema`].
///
/// # Errors
/// If it is none.
pub fn suggested_schedule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SuggestedSchedule>, D::Error> {
    let schedule = SuggestedSchedule::deserialize(deserializer)?;
    Schedule::parse_all(vec![schedule.to_text()], &Zone::utc()).map_err(de::Error::custom)?;
    Ok(Some(schedule))
}

/// Reads suggested limits, for `deserialize_with` as [`config_schema`].
///
/// # Errors
/// If one is no limit, or out of its range.
pub fn suggested_limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let limits = BTreeMap::<String, u64>::deserialize(deserializer)?;
    for (name, value) in &limits {
        let limit: Limit = name.parse().map_err(de::Error::custom)?;
        limit.check(*value).map_err(de::Error::custom)?;
    }
    Ok(limits)
}

fn needs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Need>, D::Error> {
    let needs = Vec::<Need>::deserialize(deserializer)?;
    if needs.len() > MAX_NEEDS {
        return Err(de::Error::custom(format_args!(
            "{} grants are too many; at most {MAX_NEEDS} may be named",
            needs.len()
        )));
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Manifest {
        Manifest::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn grants(config: &[(&str, &str)]) -> Grants {
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Grants { config, ..Grants::none() }
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let manifest = parsed(
            r#"{"manifest": 1,
                "config": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                "grants": {"required": [{"kind": "host", "value": "*.example.com:443", "why": "the feed"}], "optional": [{"kind": "kv"}]},
                "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
                "limits": {"cpu_ms": 500, "memory_bytes": 1048576}}"#,
        );
        let json = serde_json::to_vec(&manifest).expect("JSON");
        assert_eq!(Manifest::parse(&json), Ok(manifest));
        assert_eq!(parsed(r#"{"manifest": 1}"#), Manifest::default());
        assert_eq!(serde_json::to_string(&Manifest::default()).expect("JSON"), r#"{"manifest":1}"#);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_what_is_wrong() {
        for (json, wrong) in [
            ("", "EOF"),
            ("\u{1b}[2J", r"expected value at line 1 column 1"),
            ("{}", "missing field `manifest`"),
            (r#"{"manifest": 2, "needs": []}"#, "has version 2, and this host knows version 1"),
            (r#"{"manifest": 1, "needs": []}"#, "unknown field `needs`, expected one of `manifest`, `config`"),
            (r#"{"manifest": 1, "grants": {"requires": []}}"#, "unknown field `requires`"),
            (r#"{"manifest": 1, "grants": {"required": [{"kind": "file"}]}}"#, "unknown variant `file`"),
            (r#"{"manifest": 1, "grants": {"required": [{"kind": "kv", "value": "x"}]}}"#, "has no `value`"),
            (r#"{"manifest": 1, "grants": {"required": [{"kind": "env"}]}}"#, "has a `value`"),
            (
                r#"{"manifest": 1, "grants": {"required": [{"kind": "host", "value": "example.com"}]}}"#,
                "it has no port",
            ),
            (r#"{"manifest": 1, "grants": {"required": [{"kind": "secret", "value": "../x"}]}}"#, "letters, digits"),
            (r#"{"manifest": 1, "schedule": {"every": "soon"}}"#, "interval"),
            (r#"{"manifest": 1, "schedule": {}}"#, "has none of"),
            (r#"{"manifest": 1, "limits": {"cpu": 1}}"#, "`cpu` is no limit"),
            (r#"{"manifest": 1, "limits": {"handles": 0}}"#, "must be from 1"),
        ] {
            let refused = Manifest::parse(json.as_bytes()).expect_err(json).to_string();
            assert!(refused.contains(wrong), "{json}: {refused}");
            assert!(!refused.contains('\u{1b}'), "{refused:?}");
        }
        let long = format!(r#"{{"manifest": 1, "config": {{"title": "{}"}}}}"#, "x".repeat(MAX_MANIFEST_BYTES));
        assert!(Manifest::parse(long.as_bytes()).expect_err("too large").to_string().contains("at most 65536"));
        let many = vec![r#"{"kind": "kv"}"#; MAX_NEEDS + 1].join(",");
        let many = format!(r#"{{"manifest": 1, "grants": {{"optional": [{many}]}}}}"#);
        assert!(Manifest::parse(many.as_bytes()).expect_err("too many").to_string().contains("at most 64"));
        let deep = format!(r#"{{"manifest": 1, "config": {}{}}}"#, r#"{"not":"#.repeat(10_000), "}".repeat(10_000));
        assert!(Manifest::parse(deep.as_bytes()).is_err(), "nested past any bound");
    }

    #[test]
    fn everything_that_is_missing_is_named_with_its_flag() {
        let manifest = parsed(
            r#"{"manifest": 1, "config": {"required": ["city", "token"]},
                "grants": {"required": [
                    {"kind": "host", "value": "*.example.com:443", "why": "to fetch the feed"}, {"kind": "kv"},
                    {"kind": "dir", "value": "/data:ro"}, {"kind": "env", "value": "MODE"}, {"kind": "secret", "value": "token"}],
                  "optional": [{"kind": "dir", "value": "/cache"}]}}"#,
        );
        let fault = manifest.check(&Grants::none()).expect_err("nothing is granted");
        assert_eq!(
            fault.message,
            "the plugin needs what the task is not granted: `--allow-host '*.example.com:443'` (to fetch the feed), `--kv`, \
             `--dir FOLDER::/data:ro`, `--env MODE=VALUE`, `--secret token`, `--config city=VALUE`"
        );
        assert_eq!(
            fault.hint,
            "add --allow-host '*.example.com:443' --kv --dir FOLDER::/data:ro --env MODE=VALUE --secret token --config city=VALUE"
        );
        let enough = Grants {
            env: [("MODE".to_owned(), String::new())].into(),
            dirs: vec![crate::spec::DirGrant { host: "/srv".into(), guest: "/data".into(), read_only: true }],
            hosts: vec!["*:443".parse().expect("a host")],
            secrets: vec!["token".to_owned()],
            kv: true,
            ..grants(&[("city", "Köln")])
        };
        assert_eq!(manifest.check(&enough), Ok(()));
        let other = Grants { hosts: vec!["example.com:443".parse().expect("a host")], ..enough };
        assert!(manifest.check(&other).expect_err("not all below it").message.contains("--allow-host"));
    }

    #[test]
    fn settings_are_checked_against_the_schema_and_secrets_are_taken_as_they_are() {
        let manifest = parsed(
            r#"{"manifest": 1, "config": {"type": "object", "additionalProperties": false, "properties": {
                "port": {"type": "string", "pattern": "^[0-9]+$"}, "key": {"type": "string", "minLength": 20}}}}"#,
        );
        assert_eq!(manifest.check(&Grants::none()), Ok(()));
        assert_eq!(manifest.check(&grants(&[("port", "80")])), Ok(()));
        let refused = |grants: Grants| manifest.check(&grants).expect_err("refused").message;
        let message = refused(grants(&[("port", "http\u{1b}")]));
        assert!(message.starts_with("the plugin takes no such settings: `port`: "), "{message}");
        assert!(!message.contains('\u{1b}'), "{message:?}");
        assert!(refused(grants(&[("prot", "80")])).contains("prot"));
        assert!(refused(grants(&[("key", "short")])).contains("`key`"));
        let secret = |name: &str| Grants { secrets: vec![name.to_owned()], ..Grants::none() };
        assert_eq!(manifest.check(&secret("key")), Ok(()), "nobody knows its length");
        assert!(refused(secret("kay")).contains("kay"));
    }
}

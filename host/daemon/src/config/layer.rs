//! Settings as they are written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// Settings as they are written, in a file or elsewhere; what is absent is left to the layer below.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<Vec<String>>,
    pub socket: Option<PathBuf>,
    pub workers: Option<usize>,
    pub grace: Option<String>,
    pub cancel_grace: Option<String>,
    pub timer_slack: Option<String>,
    pub timezone: Option<String>,
    pub echo: Option<bool>,
    pub log: Option<String>,
    pub secrets_dir: Option<PathBuf>,
    pub memory_budget: Option<Amount>,
    pub wasi_0_3: Option<bool>,
    #[serde(default)]
    pub access: AccessLayer,
    /// Ceilings by the name of what they bound.
    pub limits: Option<BTreeMap<String, Amount>>,
    #[serde(default)]
    pub grants: GrantsLayer,
}

/// A number, or text with a unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "it is neither a whole number nor text with a unit, like \"64MiB\"")]
pub enum Amount {
    Number(u64),
    Text(String),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The section `[grants]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantsLayer {
    pub dirs: Option<Vec<PathBuf>>,
    pub secrets: Option<Vec<String>>,
    pub private_hosts: Option<Vec<String>>,
}

/// The section `[access]`: names, or numbers as text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLayer {
    pub users: Option<Vec<String>>,
    pub groups: Option<Vec<String>>,
}

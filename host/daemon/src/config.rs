//! Every setting of the host, and where it comes from. The first that is set wins:
//!
//! 1. options on the command line,
//! 2. `TASKHOST_…` in the environment (`TASKHOST_DATA_DIR`, `_LISTEN` with commas between, `_SOCKET`, `_WORKERS`, `_GRACE`,
//!    `_CANCEL_GRACE`, `_TIMEZONE`, `_ECHO`, `_LOG`, `_SECRETS_DIR`; `TASKHOST_CONFIG` names the file),
//! 3. the configuration file, by default `$XDG_CONFIG_HOME/taskhost/config.toml` if there is one,
//! 4. `default-config.toml`, which is part of the program, and for what depends on the machine, XDG's folders and the number
//!    of cores.
//!
//! Where the secrets are has one source more, between the last two: systemd's `$CREDENTIALS_DIRECTORY`.
//!
//! Each layer is checked by itself, so that a wrong value is told with the place that it stands in, even if an upper layer
//! hides it. Nothing else reads the environment, and nothing here binds or makes anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{
    Ceilings, HostPattern, Limit, MAX_MAX_RUNNING, MAX_TIMEOUT, MIN_MEMORY_BYTES, MIN_TIMEOUT, check_secret_name,
};
use taskhost_core::time::{DurationError, format_duration, parse_duration};

use crate::access::AccessPolicy;
use crate::grant_rules::GrantRules;

/// The defaults, as people read them.
pub const DEFAULT_CONFIG: &str = include_str!("default-config.toml");

/// The most worker threads.
const MAX_WORKERS: usize = 256;

/// The most addresses to listen on.
const MAX_LISTEN: usize = 16;

/// The longest path that a Unix socket can have, as of unix(7); a default one that would be longer is left out.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The longest grace, at the end and for a cancelled run.
const MAX_GRACE: Duration = Duration::from_secs(86_400);

/// The most entries of each list in `[grants]`.
const MAX_GRANT_RULES: usize = 256;

/// Everything that a host is set up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// `None` for no Unix socket.
    pub socket: Option<PathBuf>,
    pub workers: usize,
    /// How long runs may go on when the host is stopped.
    pub grace: Duration,
    /// How long a cancelled run has before it is stopped hard.
    pub cancel_grace: Duration,
    /// The time zone of cron expressions that name none.
    pub timezone: Zone,
    /// `None`: if stdout is a terminal.
    pub echo: Option<bool>,
    /// What is logged, as of `tracing_subscriber`'s `EnvFilter`.
    pub log: String,
    pub access: AccessPolicy,
    /// Where files with secrets are, one each, named after them.
    pub secrets_dir: Option<PathBuf>,
    /// The most that tasks may ask for.
    pub ceilings: Ceilings,
    /// How much memory all guests together may have; `None` for what the engine finds right.
    pub memory_budget_bytes: Option<u64>,
    /// Whether plugins of WASI 0.3 are run.
    pub wasi_0_3: bool,
    /// What others than root and the daemon's own user may grant.
    pub grants: GrantRules,
}

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

/// What the configuration may depend on of the world around it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// `$XDG_DATA_HOME` and `$XDG_CONFIG_HOME`, or their defaults; `None` without a home.
    pub data_home: Option<PathBuf>,
    pub config_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    pub cores: usize,
    /// The texts of `/etc/passwd` and `/etc/group`.
    pub passwd: String,
    pub group: String,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    CommandLine,
    Environment,
    File(PathBuf),
    Defaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("on the command line"),
            Self::Environment => f.write_str("in the environment"),
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Defaults => f.write_str("in the defaults"),
        }
    }
}

/// Why the host can't be set up so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the configuration file {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to read the configuration {place}")]
    Syntax {
        place: Place,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{setting}` {place}: {message}")]
    Setting { setting: &'static str, place: Place, message: String },
    #[error("there is no home to keep data in; give --data-dir")]
    NoHome,
    #[error("there is no address to listen on; give --listen or --socket")]
    NoAddress,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        use etcetera::base_strategy::{BaseStrategy, Xdg};
        let xdg = Xdg::new().ok();
        Self {
            data_home: xdg.as_ref().map(BaseStrategy::data_dir),
            config_home: xdg.as_ref().map(BaseStrategy::config_dir),
            runtime_dir: xdg.as_ref().and_then(BaseStrategy::runtime_dir),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            // Without them there are no names, and only numbers do.
            passwd: std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
            group: std::fs::read_to_string("/etc/group").unwrap_or_default(),
        }
    }
}

impl Config {
    /// Puts the layers together. `file` is the one that was named on the command line, `environment` looks a variable up.
    ///
    /// # Errors
    /// If a layer can't be read or has a value that won't do; the error names the place.
    pub fn load(
        command_line: Layer,
        file: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<OsString>,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let from_environment = environment_layer(&environment)?;
        let named = file.or_else(|| environment("TASKHOST_CONFIG").map(PathBuf::from));
        let from_file = file_layer(named, surroundings.config_home.as_deref())?;
        let defaults = parse_layer(DEFAULT_CONFIG, Place::Defaults)?;
        let check = |layer, place| Checked::new(layer, place, surroundings);
        let checked = check(command_line, Place::CommandLine)?
            .over(check(from_environment, Place::Environment)?)
            .over(match from_file {
                Some((layer, path)) => check(layer, Place::File(path))?,
                None => Checked::default(),
            })
            .over(check(defaults, Place::Defaults)?);
        let Checked { data_dir, listen, socket, workers, grace, cancel_grace, timezone, echo, log, .. } = checked;
        let usual_data_dir = surroundings.data_home.as_ref().map(|home| home.join("taskhost"));
        let data_dir = data_dir.or_else(|| usual_data_dir.clone()).ok_or(ConfigError::NoHome)?;
        let socket = match socket {
            // An empty path is how a lower layer's socket is taken away.
            Some(path) => (!path.as_os_str().is_empty()).then_some(path),
            None => {
                // The well-known one is the usual host's; another host of the same user has its own.
                let is_usual = usual_data_dir.as_ref() == Some(&data_dir);
                let dir = surroundings.runtime_dir.as_ref().filter(|_| is_usual).unwrap_or(&data_dir);
                Some(dir.join("taskhost.sock")).filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES)
            }
        };
        let listen = listen.unwrap_or_default();
        if listen.is_empty() && socket.is_none() {
            return Err(ConfigError::NoAddress);
        }
        Ok(Self {
            listen,
            socket,
            workers: workers.unwrap_or(surroundings.cores).clamp(1, MAX_WORKERS),
            grace: grace.unwrap_or_default(),
            cancel_grace: cancel_grace.unwrap_or_default(),
            timezone: timezone.unwrap_or_else(Zone::utc),
            echo,
            log: log.unwrap_or_default(),
            access: AccessPolicy { uids: checked.uids.unwrap_or_default(), gids: checked.gids.unwrap_or_default() },
            // An empty path is no folder at all.
            secrets_dir: checked
                .secrets_dir
                .or_else(|| environment("CREDENTIALS_DIRECTORY").map(PathBuf::from))
                .or_else(|| Some(surroundings.config_home.as_ref()?.join("taskhost/secrets")))
                .filter(|dir| !dir.as_os_str().is_empty()),
            ceilings: checked.ceilings.unwrap_or_default(),
            memory_budget_bytes: checked.memory_budget_bytes,
            wasi_0_3: checked.wasi_0_3.unwrap_or_default(),
            grants: GrantRules {
                dirs: checked.grant_dirs.unwrap_or_default(),
                secrets: checked.grant_secrets.unwrap_or_default(),
                private_hosts: checked.grant_hosts.unwrap_or_default(),
            },
            data_dir,
        })
    }
}

fn environment_layer(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Layer, ConfigError> {
    let wrong = |setting, message: String| ConfigError::Setting { setting, place: Place::Environment, message };
    let text = |name: &'static str| match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(wrong(name, "it is not UTF-8".to_owned())),
    };
    let workers = text("TASKHOST_WORKERS")?
        .map(|text| text.parse().map_err(|_| wrong("TASKHOST_WORKERS", format!("`{text}` is no number"))));
    let echo = text("TASKHOST_ECHO")?.map(|text| {
        text.parse().map_err(|_| wrong("TASKHOST_ECHO", format!("`{text}` is neither `true` nor `false`")))
    });
    Ok(Layer {
        data_dir: variable("TASKHOST_DATA_DIR").map(PathBuf::from),
        listen: text("TASKHOST_LISTEN")?.map(|list| list.split(',').map(|address| address.trim().to_owned()).collect()),
        socket: variable("TASKHOST_SOCKET").map(PathBuf::from),
        workers: workers.transpose()?,
        grace: text("TASKHOST_GRACE")?,
        cancel_grace: text("TASKHOST_CANCEL_GRACE")?,
        timezone: text("TASKHOST_TIMEZONE")?,
        echo: echo.transpose()?,
        log: text("TASKHOST_LOG")?,
        secrets_dir: variable("TASKHOST_SECRETS_DIR").map(PathBuf::from),
        ..Layer::default()
    })
}

/// The file that was named, which must be there, or the usual one, which need not.
fn file_layer(named: Option<PathBuf>, config_home: Option<&Path>) -> Result<Option<(Layer, PathBuf)>, ConfigError> {
    let must_exist = named.is_some();
    let Some(path) = named.or_else(|| Some(config_home?.join("taskhost/config.toml"))) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((parse_layer(&text, Place::File(path.clone()))?, path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

fn parse_layer(text: &str, place: Place) -> Result<Layer, ConfigError> {
    toml::from_str(text).map_err(|source| ConfigError::Syntax { place, source: Box::new(source) })
}

/// A layer whose values all do.
#[derive(Debug, Default)]
struct Checked {
    data_dir: Option<PathBuf>,
    listen: Option<Vec<SocketAddr>>,
    socket: Option<PathBuf>,
    workers: Option<usize>,
    grace: Option<Duration>,
    cancel_grace: Option<Duration>,
    timezone: Option<Zone>,
    echo: Option<bool>,
    log: Option<String>,
    uids: Option<Vec<u32>>,
    gids: Option<Vec<u32>>,
    secrets_dir: Option<PathBuf>,
    ceilings: Option<Ceilings>,
    memory_budget_bytes: Option<u64>,
    wasi_0_3: Option<bool>,
    grant_dirs: Option<Vec<PathBuf>>,
    grant_secrets: Option<Vec<String>>,
    grant_hosts: Option<Vec<HostPattern>>,
}

impl Checked {
    fn new(layer: Layer, place: Place, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let named = |setting: &'static str| {
            let place = place.clone();
            move |message| ConfigError::Setting { setting, place, message }
        };
        let ids = |names: Option<Vec<String>>, table: &str| {
            names.map(|names| names.iter().map(|name| account_id(name, table)).collect()).transpose()
        };
        Ok(Self {
            data_dir: layer.data_dir.map(check_data_dir).transpose().map_err(named("data_dir"))?,
            listen: layer.listen.map(check_listen).transpose().map_err(named("listen"))?,
            socket: layer.socket.map(check_path).transpose().map_err(named("socket"))?,
            workers: layer.workers.map(check_workers).transpose().map_err(named("workers"))?,
            grace: layer.grace.map(check_grace).transpose().map_err(named("grace"))?,
            cancel_grace: layer.cancel_grace.map(check_grace).transpose().map_err(named("cancel_grace"))?,
            timezone: layer.timezone.map(check_zone).transpose().map_err(named("timezone"))?,
            echo: layer.echo,
            log: layer.log.map(check_log).transpose().map_err(named("log"))?,
            uids: ids(layer.access.users, &surroundings.passwd).map_err(named("access.users"))?,
            gids: ids(layer.access.groups, &surroundings.group).map_err(named("access.groups"))?,
            secrets_dir: layer.secrets_dir.map(check_path).transpose().map_err(named("secrets_dir"))?,
            ceilings: layer.limits.map(check_ceilings).transpose().map_err(named("limits"))?,
            memory_budget_bytes: layer.memory_budget.map(check_budget).transpose().map_err(named("memory_budget"))?,
            wasi_0_3: layer.wasi_0_3,
            grant_dirs: each(layer.grants.dirs, check_root).map_err(named("grants.dirs"))?,
            grant_secrets: each(layer.grants.secrets, check_secret).map_err(named("grants.secrets"))?,
            grant_hosts: each(layer.grants.private_hosts, check_pattern).map_err(named("grants.private_hosts"))?,
        })
    }

    /// This, and for what is absent, `below`.
    fn over(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            socket: self.socket.or(below.socket),
            workers: self.workers.or(below.workers),
            grace: self.grace.or(below.grace),
            cancel_grace: self.cancel_grace.or(below.cancel_grace),
            timezone: self.timezone.or(below.timezone),
            echo: self.echo.or(below.echo),
            log: self.log.or(below.log),
            uids: self.uids.or(below.uids),
            gids: self.gids.or(below.gids),
            secrets_dir: self.secrets_dir.or(below.secrets_dir),
            ceilings: self.ceilings.or(below.ceilings),
            memory_budget_bytes: self.memory_budget_bytes.or(below.memory_budget_bytes),
            wasi_0_3: self.wasi_0_3.or(below.wasi_0_3),
            grant_dirs: self.grant_dirs.or(below.grant_dirs),
            grant_secrets: self.grant_secrets.or(below.grant_secrets),
            grant_hosts: self.grant_hosts.or(below.grant_hosts),
        }
    }
}

fn check_data_dir(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() { Err("it is empty".to_owned()) } else { check_path(path) }
}

fn check_path(path: PathBuf) -> Result<PathBuf, String> {
    // A shell would have made it a home; here it would become a folder of that name.
    if path.starts_with("~") { Err("`~` means nothing here; write the whole path".to_owned()) } else { Ok(path) }
}

fn check_listen(addresses: Vec<String>) -> Result<Vec<SocketAddr>, String> {
    if addresses.len() > MAX_LISTEN {
        return Err(format!("{} addresses are too many; at most {MAX_LISTEN} are allowed", addresses.len()));
    }
    addresses.iter().map(|text| check_address(text)).collect()
}

fn check_address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        _ => text
            .parse::<SocketAddr>()
            .map_err(|_| format!("`{text}` is no address; write it like `127.0.0.1:3333` or `[::1]:3333`"))?,
    };
    if address.ip().to_canonical().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} is not a loopback address: whoever reaches it could run programs here, and this version has \
             neither TLS nor a token to keep strangers out; listen on 127.0.0.1 and reach it through an SSH tunnel"
        ))
    }
}

fn check_workers(workers: usize) -> Result<usize, String> {
    if (1..=MAX_WORKERS).contains(&workers) {
        Ok(workers)
    } else {
        Err(format!("{workers} workers are out of range; there must be from 1 to {MAX_WORKERS}"))
    }
}

fn check_zone(name: String) -> Result<Zone, String> {
    Zone::parse(&name).map_err(|error| error.to_string())
}

fn check_grace(text: String) -> Result<Duration, String> {
    match parse_duration(&text).map_err(|error: DurationError| error.to_string())? {
        grace if grace <= MAX_GRACE => Ok(grace),
        _ => Err(format!("`{text}` is longer than a day")),
    }
}

fn check_log(text: String) -> Result<String, String> {
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("`{text}` is no filter: {error}")),
    }
}

fn check_ceilings(given: BTreeMap<String, Amount>) -> Result<Ceilings, String> {
    let mut ceilings = Ceilings::default();
    for (name, amount) in given {
        let set = match name.as_str() {
            "timeout" => check_timeout(&amount).map(|timeout| ceilings.timeout = Some(timeout)),
            "max_running" => check_running(&amount).map(|most| ceilings.max_running = Some(most)),
            _ => check_ceiling(&mut ceilings, &name, &amount),
        };
        set?;
    }
    Ok(ceilings)
}

fn check_ceiling(ceilings: &mut Ceilings, name: &str, amount: &Amount) -> Result<(), String> {
    let limit: Limit = name.parse().map_err(|error| format!("{error}, and the ceilings timeout and max_running"))?;
    let most = match amount {
        Amount::Number(number) => *number,
        Amount::Text(text) => taskhost_api::limit_value(name, text).map_err(|error| format!("`{name}`: {error}"))?,
    };
    ceilings.set(limit, most).map_err(|error| error.to_string())
}

fn check_timeout(amount: &Amount) -> Result<Duration, String> {
    match parse_duration(&amount.to_string()).map_err(|error| format!("`timeout`: {error}"))? {
        timeout if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) => Ok(timeout),
        timeout => {
            let [given, min, max] = [timeout, MIN_TIMEOUT, MAX_TIMEOUT].map(format_duration);
            Err(format!("`timeout`: {given} is out of range; it must be from {min} to {max}"))
        }
    }
}

fn check_running(amount: &Amount) -> Result<u32, String> {
    match amount {
        Amount::Number(most) => u32::try_from(*most).ok().filter(|most| (1..=MAX_MAX_RUNNING).contains(most)),
        Amount::Text(_) => None,
    }
    .ok_or_else(|| format!("`max_running`: {amount} is no number from 1 to {MAX_MAX_RUNNING}"))
}

fn check_budget(amount: Amount) -> Result<u64, String> {
    let bytes = match &amount {
        Amount::Number(number) => *number,
        Amount::Text(text) => text.parse::<taskhost_api::Size>().map_err(|error| error.to_string())?.0,
    };
    if bytes < MIN_MEMORY_BYTES { Err(format!("{amount} is less than any guest needs, 64KiB")) } else { Ok(bytes) }
}

/// A list with every entry checked.
fn each<T, U>(list: Option<Vec<T>>, check: impl Fn(T) -> Result<U, String>) -> Result<Option<Vec<U>>, String> {
    match list {
        Some(list) if list.len() > MAX_GRANT_RULES => {
            Err(format!("{} entries are too many; at most {MAX_GRANT_RULES} are allowed", list.len()))
        }
        list => list.map(|list| list.into_iter().map(check).collect()).transpose(),
    }
}

fn check_root(path: PathBuf) -> Result<PathBuf, String> {
    let path = check_path(path)?;
    if path.is_absolute() { Ok(path) } else { Err(format!("`{}` does not begin with `/`", path.display())) }
}

fn check_secret(name: String) -> Result<String, String> {
    check_secret_name(&name).map_err(|error| error.to_string())?;
    Ok(name)
}

fn check_pattern(text: String) -> Result<HostPattern, String> {
    text.parse().map_err(|error: taskhost_core::spec::GrantError| error.to_string())
}

/// The number of an account: itself, or by its name in a table of the form of `/etc/passwd` and `/etc/group`.
fn account_id(name: &str, table: &str) -> Result<u32, String> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let id_of = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    table
        .lines()
        .find_map(id_of)
        .ok_or_else(|| format!("nobody here is named `{name}`; give the number if it is known elsewhere"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            data_home: Some("/home/a/.local/share".into()),
            config_home: None,
            runtime_dir: Some("/run/user/7".into()),
            cores: 4,
            passwd: "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n".to_owned(),
            group: "root:x:0:\noperators:x:2002:alice\n".to_owned(),
        }
    }

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    }

    fn load_file(text: &str) -> Result<Config, String> {
        let file = file(text);
        let path = file.path().to_owned();
        let loaded = Config::load(Layer::default(), Some(path.clone()), nothing, &surroundings());
        loaded.map_err(|error| crate::chain(&error).replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn the_defaults_are_those_of_the_embedded_file_and_of_xdg() {
        let config = Config::load(Layer::default(), None, nothing, &surroundings()).expect("defaults do");
        let expected = Config {
            data_dir: "/home/a/.local/share/taskhost".into(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], taskhost_api::DEFAULT_PORT))],
            socket: Some("/run/user/7/taskhost.sock".into()),
            workers: 4,
            grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
            timezone: Zone::utc(),
            echo: None,
            log: "info".to_owned(),
            access: AccessPolicy::default(),
            secrets_dir: None,
            ceilings: Ceilings::default(),
            memory_budget_bytes: None,
            wasi_0_3: false,
            grants: GrantRules::default(),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn ceilings_and_rules_for_grants_stand_in_the_file() {
        let config = load_file(
            "secrets_dir = '/etc/taskhost/secrets'\nmemory_budget = '8GiB'\n[limits]\ntimeout = '5m'\nmax_running = 4\n\
             memory_bytes = '64MiB'\ncpu_ms = '5s'\nlog_lines = 1000\n[grants]\ndirs = ['/srv/tasks']\nsecrets = ['hook-key']\n\
             private_hosts = ['10.0.0.0/8:*']",
        )
        .expect("all do");
        let mut ceilings = Ceilings::default();
        (ceilings.timeout, ceilings.max_running) = (Some(Duration::from_secs(300)), Some(4));
        for (limit, most) in [(Limit::MemoryBytes, 64 << 20), (Limit::CpuMs, 5000), (Limit::LogLines, 1000)] {
            ceilings.set(limit, most).expect("in range");
        }
        assert_eq!(config.ceilings, ceilings);
        assert_eq!(config.memory_budget_bytes, Some(8 << 30));
        assert_eq!(config.secrets_dir, Some("/etc/taskhost/secrets".into()));
        let rules = GrantRules {
            dirs: vec!["/srv/tasks".into()],
            secrets: vec!["hook-key".to_owned()],
            private_hosts: vec!["10.0.0.0/8:*".parse().expect("a pattern")],
        };
        assert_eq!(config.grants, rules);
    }

    #[test]
    fn secrets_are_where_the_setting_says_or_where_systemd_puts_them_or_beside_the_configuration() {
        let home = Surroundings { config_home: Some("/home/a/.config".into()), ..surroundings() };
        let dir = |own: Option<&'static str>, systemd: Option<&'static str>, home: &Surroundings| {
            let environment = |name: &str| match name {
                "TASKHOST_SECRETS_DIR" => own.map(OsString::from),
                "CREDENTIALS_DIRECTORY" => systemd.map(OsString::from),
                _ => None,
            };
            Config::load(Layer::default(), None, environment, home).expect("it does").secrets_dir
        };
        assert_eq!(dir(Some("/own"), Some("/run/credentials/x"), &home), Some("/own".into()));
        assert_eq!(dir(None, Some("/run/credentials/x"), &home), Some("/run/credentials/x".into()));
        assert_eq!(dir(None, None, &home), Some("/home/a/.config/taskhost/secrets".into()));
        assert_eq!(dir(Some(""), None, &home), None, "an empty one is none");
        assert_eq!(dir(None, None, &surroundings()), None);
    }

    #[test]
    fn an_option_beats_the_environment_which_beats_the_file() {
        let file =
            file("grace = '1s'\nworkers = 1\nlog = 'warn'\n[access]\nusers = ['alice', '7']\ngroups = ['operators']");
        let environment = |name: &str| match name {
            "TASKHOST_CONFIG" => Some(file.path().into()),
            "TASKHOST_GRACE" => Some("2s".into()),
            "TASKHOST_WORKERS" => Some("2".into()),
            "TASKHOST_LISTEN" => Some("127.0.0.1:0, [::1]:0".into()),
            _ => None,
        };
        let options = Layer { grace: Some("3s".to_owned()), ..Layer::default() };
        let config = Config::load(options, None, environment, &surroundings()).expect("all do");
        assert_eq!(config.grace, Duration::from_secs(3));
        assert_eq!(config.workers, 2);
        assert_eq!(config.log, "warn");
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.access, AccessPolicy { uids: vec![1001, 7], gids: vec![2002] });
    }

    #[test]
    fn an_empty_socket_is_none() {
        let options = Layer { socket: Some(PathBuf::new()), ..Layer::default() };
        let config = Config::load(options.clone(), None, nothing, &surroundings()).expect("it does");
        assert_eq!(config.socket, None);
        let options = Layer { listen: Some(Vec::new()), ..options };
        let error = Config::load(options, None, nothing, &surroundings()).expect_err("no way in");
        assert_eq!(error.to_string(), "there is no address to listen on; give --listen or --socket");
    }

    #[test]
    fn the_socket_of_another_host_than_the_usual_is_beside_its_data() {
        let options = Layer { data_dir: Some("/d".into()), ..Layer::default() };
        let config = Config::load(options, None, nothing, &surroundings()).expect("it does");
        assert_eq!(config.socket, Some("/d/taskhost.sock".into()));

        let no_runtime_dir = Surroundings { runtime_dir: None, ..surroundings() };
        let config = Config::load(Layer::default(), None, nothing, &no_runtime_dir).expect("it does");
        assert_eq!(config.socket, Some("/home/a/.local/share/taskhost/taskhost.sock".into()));

        let deep = Layer { data_dir: Some(format!("/{}", "d".repeat(100)).into()), ..Layer::default() };
        let config = Config::load(deep, None, nothing, &surroundings()).expect("it does");
        assert_eq!(config.socket, None, "the path is too long for a socket");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place_even_if_it_is_hidden() {
        let errors: Vec<String> = [
            "listen = ['0.0.0.0:3333']",
            "listen = ['example']",
            "workers = 0",
            "data_dir = '~/data'",
            "grace = 'soon'",
            "grace = '2d'",
            "log = 'a=b=c'",
            "[access]\nusers = ['mallory']",
            "[access]\nuser = ['alice']",
            "gracee = '1s'",
            "workers = 'two'",
            "secrets_dir = '~/secrets'",
            "memory_budget = '1KiB'",
            "memory_budget = '8GB'",
            "memory_budget = true",
            "[limits]\nmemory = 1",
            "[limits]\ncpu_ms = '64KiB'",
            "[limits]\nlog_lines = 0",
            "[limits]\ntimeout = '8d'",
            "[limits]\ntimeout = 5",
            "[limits]\nmax_running = 257",
            "[limits]\nmax_running = 'many'",
            "[grants]\ndirs = ['srv']",
            "[grants]\nsecrets = ['../key']",
            "[grants]\nprivate_hosts = ['10.0.0.0/8']",
            "[grants]\nfolders = ['/srv']",
        ]
        .into_iter()
        .map(|text| load_file(text).expect_err(text))
        .collect();
        insta::assert_snapshot!(errors.join("\n---\n"));

        let file = file("workers = 0");
        let hidden = Layer { workers: Some(2), ..Layer::default() };
        assert!(Config::load(hidden, Some(file.path().into()), nothing, &surroundings()).is_err());
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = Config::load(Layer::default(), Some("/nowhere/config.toml".into()), nothing, &surroundings());
        let message = error.expect_err("no such file").to_string();
        assert_eq!(message, "failed to read the configuration file /nowhere/config.toml");
    }

    #[test]
    fn the_whole_loopback_net_will_do_and_no_more() {
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:3333", "[::ffff:127.0.0.1]:1", "localhost:3333"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "localhost", "localhost:x", "127.0.0.1", ""] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}

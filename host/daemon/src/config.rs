//! Every setting of the host, and where it comes from. The first that is set wins:
//!
//! 1. options on the command line,
//! 2. `TASKHOST_…` in the environment (`TASKHOST_DATA_DIR`, `_LISTEN` with commas between, `_SOCKET`, `_WORKERS`, `_GRACE`,
//!    `_CANCEL_GRACE`, `_ECHO`, `_LOG`; `TASKHOST_CONFIG` names the file),
//! 3. the configuration file, by default `$XDG_CONFIG_HOME/taskhost/config.toml` if there is one,
//! 4. `default-config.toml`, which is part of the program, and for what depends on the machine, XDG's folders and the number
//!    of cores.
//!
//! Each layer is checked by itself, so that a wrong value is told with the place that it stands in, even if an upper layer
//! hides it. Nothing else reads the environment, and nothing here binds or makes anything.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use taskhost_core::schedule::Zone;
use taskhost_core::spec::Ceilings;
use taskhost_core::time::{DurationError, parse_duration};

use crate::access::AccessPolicy;

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
    #[serde(default)]
    pub access: AccessLayer,
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
        let Checked { data_dir, listen, socket, workers, grace, cancel_grace, timezone, echo, log, uids, gids } =
            check(command_line, Place::CommandLine)?
                .over(check(from_environment, Place::Environment)?)
                .over(match from_file {
                    Some((layer, path)) => check(layer, Place::File(path))?,
                    None => Checked::default(),
                })
                .over(check(defaults, Place::Defaults)?);
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
            access: AccessPolicy { uids: uids.unwrap_or_default(), gids: gids.unwrap_or_default() },
            secrets_dir: None,
            ceilings: Ceilings::default(),
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
        access: AccessLayer::default(),
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
        };
        assert_eq!(config, expected);
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

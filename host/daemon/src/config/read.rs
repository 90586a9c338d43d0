//! Reads the layers below the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place};
use super::layer::{Amount, Layer};

pub(super) fn environment_layer(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Layer, ConfigError> {
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
    let wasi_0_3 = text("TASKHOST_WASI_0_3")?.map(|text| {
        text.parse().map_err(|_| wrong("TASKHOST_WASI_0_3", format!("`{text}` is neither `true` nor `false`")))
    });
    Ok(Layer {
        data_dir: variable("TASKHOST_DATA_DIR").map(PathBuf::from),
        listen: text("TASKHOST_LISTEN")?.map(|list| list.split(',').map(|address| address.trim().to_owned()).collect()),
        socket: variable("TASKHOST_SOCKET").map(PathBuf::from),
        workers: workers.transpose()?,
        grace: text("TASKHOST_GRACE")?,
        cancel_grace: text("TASKHOST_CANCEL_GRACE")?,
        timer_slack: text("TASKHOST_TIMER_SLACK")?,
        timezone: text("TASKHOST_TIMEZONE")?,
        echo: echo.transpose()?,
        log: text("TASKHOST_LOG")?,
        memory_budget: text("TASKHOST_MEMORY_BUDGET")?.map(Amount::Text),
        wasi_0_3: wasi_0_3.transpose()?,
        secrets_dir: variable("TASKHOST_SECRETS_DIR").map(PathBuf::from),
        ..Layer::default()
    })
}

/// The file that was named, which must be there, or the usual one, which need not.
pub(super) fn file_layer(
    named: Option<PathBuf>,
    config_home: Option<&Path>,
) -> Result<Option<(Layer, PathBuf)>, ConfigError> {
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

pub(super) fn parse_layer(text: &str, place: Place) -> Result<Layer, ConfigError> {
    toml::from_str(text).map_err(|source| ConfigError::Syntax { place, source: Box::new(source) })
}

//! The world around a configuration.

use std::path::PathBuf;

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

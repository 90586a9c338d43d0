//! A layer with all its values checked, whether an upper one hides them or not.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use taskhost_core::schedule::Zone;
use taskhost_core::spec::{Ceilings, HostPattern};

use super::error::{ConfigError, Place};
use super::layer::Layer;
use super::limits::{check_budget, check_ceilings};
use super::surroundings::Surroundings;
use super::value::{
    account_id, check_data_dir, check_grace, check_listen, check_log, check_path, check_private, check_root,
    check_secret, check_slack, check_workers, check_zone, each,
};

/// A layer whose values all do.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) listen: Option<Vec<SocketAddr>>,
    pub(super) socket: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) grace: Option<Duration>,
    pub(super) cancel_grace: Option<Duration>,
    pub(super) timer_slack: Option<Duration>,
    pub(super) timezone: Option<Zone>,
    pub(super) echo: Option<bool>,
    pub(super) log: Option<String>,
    pub(super) uids: Option<Vec<u32>>,
    pub(super) gids: Option<Vec<u32>>,
    pub(super) secrets_dir: Option<PathBuf>,
    pub(super) ceilings: Option<Ceilings>,
    pub(super) memory_budget_bytes: Option<u64>,
    pub(super) wasi_0_3: Option<bool>,
    pub(super) grant_dirs: Option<Vec<PathBuf>>,
    pub(super) grant_secrets: Option<Vec<String>>,
    pub(super) grant_hosts: Option<Vec<HostPattern>>,
}

impl Checked {
    pub(super) fn new(layer: Layer, place: Place, surroundings: &Surroundings) -> Result<Self, ConfigError> {
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
            timer_slack: layer.timer_slack.map(check_slack).transpose().map_err(named("timer_slack"))?,
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
            grant_hosts: each(layer.grants.private_hosts, check_private).map_err(named("grants.private_hosts"))?,
        })
    }

    /// This, and for what is absent, `below`.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            listen: self.listen.or(below.listen),
            socket: self.socket.or(below.socket),
            workers: self.workers.or(below.workers),
            grace: self.grace.or(below.grace),
            cancel_grace: self.cancel_grace.or(below.cancel_grace),
            timer_slack: self.timer_slack.or(below.timer_slack),
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

//! What a plugin is granted on the command line, by `run` and by `dev`.

use anyhow::{Context as _, anyhow};
use clap::Args;
use taskhost_api::{Dir, DirText, Pair};
use taskhost_core::spec::{DirGrant, GrantsText};

/// What a plugin may do beside computing, flag for flag as with `taskctl add`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Grants: nothing by default; each but --kv may be repeated")]
pub(crate) struct GrantArgs {
    /// Set an environment variable
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<Pair>,
    /// Give it this folder, under another name with ::GUEST, only to read
    /// with :ro
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    dirs: Vec<DirText>,
    /// Let it connect there: a name, *.NAME, an address, a net like 10.0.0.0/8
    /// or *, with a port or *. Addresses that are not public must be named as
    /// addresses
    #[arg(long = "allow-host", value_name = "HOST:PORT")]
    hosts: Vec<String>,
    /// Set a value that it reads through wasi:config
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<Pair>,
    /// Let it read this secret through wasi:config
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// Give it a key-value store, which is gone at the end
    #[arg(long)]
    kv: bool,
}

impl GrantArgs {
    /// What is granted; relative paths are told from the working folder.
    pub(super) fn to_text(&self) -> anyhow::Result<GrantsText> {
        let Self { env, dirs, hosts, config, secrets, kv } = self;
        let pairs = |pairs: &[Pair]| pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        let here = || {
            let here = std::env::current_dir().context("failed to find the working folder")?;
            here.into_os_string()
                .into_string()
                .map_err(|here| anyhow!("the working folder {} is no UTF-8", here.display()))
        };
        let dir = |dir: &DirText| {
            let base = if dir.host.starts_with('/') { String::new() } else { here()? };
            let Dir { host, guest, read_only } = dir.clone().into_dir(&base);
            anyhow::Ok(DirGrant { host, guest, read_only })
        };
        Ok(GrantsText {
            env: pairs(env),
            dirs: dirs.iter().map(dir).collect::<Result<_, _>>()?,
            hosts: hosts.clone(),
            config: pairs(config),
            secrets: secrets.clone(),
            kv: *kv,
        })
    }
}

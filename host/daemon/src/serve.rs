//! `taskhost serve`: the life of a host, from its configuration to its end.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use taskhost_core::ports::SystemClock;
use taskhost_core::supervisor::{Supervisor, SupervisorConfig};
use taskhost_engine::{DEFAULT_POOL_SLOTS, EngineConfig, WasmEngine};
use taskhost_store::SqliteStore;
use tokio_util::sync::CancellationToken;

use crate::compiler::compiler;
use crate::config::{Config, ConfigError, Layer, Surroundings};
use crate::echo::Echo;
use crate::listen::{BindError, Listeners};
use crate::rpc::{About, Rpc};
use crate::secrets::{self, Secrets};
use crate::shutdown::{self, Signals};
use crate::upload::PluginUploads;
use crate::{Host, builtin, chain, failed_to, log, memory};

/// The exit code of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// How many threads may block at once on files and the like.
const MAX_BLOCKING_THREADS: usize = 64;

/// How long those may go on when all is done that is waited for.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Where tasks, plugins, history and logs are kept
    /// [default: $XDG_DATA_HOME/taskhost]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A TCP address to listen on; may be repeated; port 0 takes a free one
    /// [default: 127.0.0.1:3333]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// The Unix socket to listen on; empty for none
    /// [default: $XDG_RUNTIME_DIR/taskhost.sock; with --data-dir, in there]
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    socket: Option<PathBuf>,
    /// The configuration file
    /// [default: $XDG_CONFIG_HOME/taskhost/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many threads run tasks [default: one per core]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number)]
    workers: Option<usize>,
    /// How long runs may go on when the host is stopped [default: 10s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    grace: Option<String>,
    /// How long a due time may wait for others, so that they share a wake-up, at
    /// most 500ms: the more, the less CPU, and the later [default: 1ms]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    timer_slack: Option<String>,
    /// Write the lines of guests to stdout [default: if it is a terminal]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    echo: Option<bool>,
}

impl ServeArgs {
    /// What was given, as the uppermost layer of the configuration.
    pub(crate) fn into_layer(self) -> Layer {
        Layer {
            data_dir: self.data_dir,
            listen: (!self.listen.is_empty()).then_some(self.listen),
            socket: self.socket,
            workers: self.workers,
            grace: self.grace,
            timer_slack: self.timer_slack,
            echo: self.echo,
            ..Layer::default()
        }
    }
}

/// Reads a count; whether it is one that will do, is the configuration's to say.
fn number(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "it is no whole number")
}

pub(crate) fn serve(mut args: ServeArgs) -> anyhow::Result<ExitCode> {
    let file = args.config.take();
    let environment = |name: &str| std::env::var_os(name);
    let config = match Config::load(args.into_layer(), file, environment, &Surroundings::of_process()) {
        Ok(config) => config,
        Err(error) => return Ok(refuse(&error)),
    };
    serve_with(config)
}

/// Runs a host that is set up so, until a signal ends it.
pub(crate) fn serve_with(config: Config) -> anyhow::Result<ExitCode> {
    let _log = log::to_stderr(&config.log).context("failed to start a thread")?;
    raise_open_files();
    if let Some(dir) = config.secrets_dir.as_deref().filter(|dir| secrets::is_open_to_all(dir)) {
        tracing::warn!(dir = %dir.display(), "other users can read the folder of secrets; `chmod o= DIR` keeps them out");
    }
    // One thread for everything but tasks: those have threads of their own, a core each, and what is left to do here is
    // small or waits. More threads would only take turns with the workers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .context("failed to start the runtime")?;
    let done = runtime.block_on(run(config));
    // Dropped, it would wait for all that blocks: for a plugin that still compiles, minutes.
    runtime.shutdown_timeout(BLOCKING_PATIENCE);
    done?;
    Ok(ExitCode::SUCCESS)
}

/// Lets the process have as many files open as it may: every connection is one, and the usual limit is one of old.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "failed to raise the limit on open files");
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let store = Arc::new(SqliteStore::open(&config.data_dir)?);
    let listeners = Listeners::bind(&config.listen, config.socket.as_deref()).await.map_err(bind_failed)?;
    let addresses: Vec<String> = listeners.addresses().iter().map(ToString::to_string).collect();
    announce(addresses.iter().map(|address| format!("listening on {address}")));

    let key_values = store.key_values();
    let host = start(&config, store, listeners.tcp_addresses()).await?;
    let mut signals = Signals::listen().context("failed to take over signals")?;
    let echo = config.echo.unwrap_or_else(|| io::stdout().is_terminal());
    let echo = echo.then(|| Echo::spawn(host.subscribe(true))).transpose().context("failed to start a thread")?;
    let uploads = PluginUploads::new(&config.data_dir, host.clone()).context("failed to make the uploads folder")?;
    let about = Arc::new(About { started_at: Timestamp::now(), listen: addresses });
    let served = Rpc { host: host.clone(), uploads: uploads.clone(), key_values, about }.into_served()?;

    let stop_rpc = CancellationToken::new();
    let stopped = stop_rpc.clone().cancelled_owned();
    let mut serving = tokio::spawn(listeners.serve(served, uploads.clone(), config.access, stopped));
    let sweeping = tokio::spawn(async move { uploads.sweep().await });
    announce(["ready".to_owned()]);

    let served_early = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, grace = ?config.grace, "shutting down");
            None
        }
        served = &mut serving => Some(served),
    };
    let closed = shutdown::stop_tasks(&host, config.grace, &mut signals).await;
    stop_rpc.cancel();
    let served = match served_early {
        Some(served) => served,
        None => serving.await,
    };
    sweeping.abort();
    if let Some(echo) = echo {
        echo.finish().await;
    }
    served.context("the listeners did not end well")?;
    closed.context("failed to close the store")
}

/// Builds the engine on the store, and starts the tasks that the store has.
async fn start(config: &Config, store: Arc<SqliteStore>, own_addresses: Vec<SocketAddr>) -> anyhow::Result<Host> {
    let engine = WasmEngine::new(EngineConfig {
        workers: config.workers,
        pool_slots: DEFAULT_POOL_SLOTS,
        cache_dir: Some(config.data_dir.join("cache")),
        compiler: compiler(),
        most_loaded: None,
        builtins: builtin::plugins(),
        source: store.clone(),
        key_values: store.key_values(),
        secrets: Arc::new(Secrets::of_process(config.secrets_dir.clone())),
        memory_budget_bytes: config.memory_budget_bytes.unwrap_or_else(memory::default_budget_bytes),
        ceilings: config.ceilings.clone(),
        own_dirs: [&config.data_dir].into_iter().chain(&config.secrets_dir).cloned().collect(),
        own_addresses,
        wasi_0_3: config.wasi_0_3,
        virtual_time: None,
        requests: None,
        answers: None,
    })
    .map_err(failed_to)?;
    let supervisor = SupervisorConfig {
        workers: config.workers,
        cancel_grace: config.cancel_grace,
        timer_slack: config.timer_slack,
        zone: config.timezone.clone(),
        ceilings: config.ceilings.clone(),
        gate: Arc::new(config.grants.clone()),
    };
    Supervisor::start(supervisor, Arc::new(engine), store, SystemClock).await.context("failed to start the tasks")
}

/// Tells whoever started the host, line by line. A host whose stdout is closed runs all the same.
fn announce(lines: impl IntoIterator<Item = String>) {
    let mut stdout = io::stdout().lock();
    let told = lines.into_iter().try_for_each(|line| writeln!(stdout, "{line}")).and_then(|()| stdout.flush());
    if let Err(error) = told {
        tracing::warn!(%error, "failed to write to stdout");
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("taskhost: {}", chain(error));
    ExitCode::from(USAGE)
}

fn bind_failed(error: BindError) -> anyhow::Error {
    let in_use = match &error {
        BindError::Tcp { source, .. } | BindError::Unix { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
        BindError::UnixInUse(_) => true,
        _ => false,
    };
    let error = failed_to(error);
    if !in_use {
        return error;
    }
    let hint = "another program listens there, perhaps another host (`taskctl host` asks it); stop it, or choose other \
                addresses with --listen and --socket";
    anyhow::Error::msg(format!("{error}\nhint: {hint}"))
}

//! For tests: a host, the real supervisor, engine and store in a directory that goes with it; and a command's options.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskhost_core::key_value::KeyValue;
use taskhost_core::ports::{NoGate, NoSecrets, SystemClock};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::Ceilings;
use taskhost_core::supervisor::{Supervisor, SupervisorConfig};
use taskhost_engine::{CompilerConfig, EngineConfig, WasmEngine};
use taskhost_store::SqliteStore;
use tempfile::TempDir;

use crate::upload::PluginUploads;
use crate::{Host, builtin};

/// Enough for a test, and quick to set up.
const POOL_SLOTS: u32 = 8;

pub(crate) struct TestHost {
    pub(crate) host: Host,
    pub(crate) uploads: PluginUploads,
    pub(crate) key_values: Arc<dyn KeyValue>,
    dir: TempDir,
}

impl TestHost {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (host, key_values) = start_in(dir.path()).await;
        let uploads = PluginUploads::new(dir.path(), host.clone()).expect("an uploads folder");
        Self { host, uploads, key_values, dir }
    }

    pub(crate) async fn stop(self) {
        self.host.shutdown(tokio::time::sleep(Duration::from_secs(1))).await.expect("the store closes");
        self.dir.close().expect("the directory goes");
    }
}

async fn start_in(dir: &Path) -> (Host, Arc<dyn KeyValue>) {
    let store = Arc::new(SqliteStore::open(dir).expect("a new store"));
    let key_values = store.key_values();
    let engine = WasmEngine::new(EngineConfig {
        compiler: CompilerConfig::here(),
        most_loaded: None,
        workers: 1,
        pool_slots: POOL_SLOTS,
        cache_dir: None,
        builtins: builtin::plugins(),
        source: store.clone(),
        key_values: Arc::clone(&key_values),
        secrets: Arc::new(NoSecrets),
        memory_budget_bytes: u64::MAX,
        ceilings: Ceilings::default(),
        own_dirs: vec![dir.to_owned()],
        own_addresses: Vec::new(),
        wasi_0_3: true,
        virtual_time: None,
        requests: None,
        answers: None,
    });
    let config = SupervisorConfig {
        workers: 1,
        cancel_grace: Duration::from_millis(100),
        timer_slack: Duration::from_millis(1),
        zone: Zone::utc(),
        ceilings: Ceilings::default(),
        gate: Arc::new(NoGate),
    };
    let engine = Arc::new(engine.expect("an engine"));
    let host = Supervisor::start(config, engine, store, SystemClock).await.expect("an empty store starts");
    (host, key_values)
}

/// The options of a command, from the words that follow its name.
pub(crate) fn args_of<A: clap::Args>(words: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("command").no_binary_name(true));
    let given = command.try_get_matches_from(words).expect("a command line");
    A::from_arg_matches(&given).expect("what was just checked")
}

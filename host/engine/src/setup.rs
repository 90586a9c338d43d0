//! What the attempts of a task start from: its definition, the limits in force, and what they may reach of the host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use taskhost_core::key_value::{KeyValue, MemoryKeyValue};
use taskhost_core::ports::{NoSecrets, SecretSource};
use taskhost_core::spec::{Ceilings, TaskSpec};
use taskhost_core::weak_map::WeakMap;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::answers::Answers;
use crate::budget::Budget;
use crate::limits::{Bounds, Hits};
use crate::requests::Requests;
use crate::secrets::Secrets;
use crate::tls::Tls;
use crate::virtual_time::VirtualTime;

/// What all tasks reach of the host, each as far as it is granted.
pub(crate) struct Services {
    pub(crate) key_values: Arc<dyn KeyValue>,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) ceilings: Ceilings,
    /// Folders that are never granted, nor any that holds one of them or stands in one: the host's own.
    pub(crate) own_dirs: Vec<PathBuf>,
    /// Where the host itself listens.
    pub(crate) own_addresses: Vec<SocketAddr>,
    pub(crate) budget: Budget,
    pub(crate) hits: Hits,
    pub(crate) tls: Tls,
    /// Those of tasks that ask for no limits of their own: most, so they share one table.
    pub(crate) bounds: Arc<Bounds>,
    /// No host has it.
    pub(crate) virtual_time: Option<Arc<VirtualTime>>,
    /// Nor this.
    pub(crate) requests: Option<Arc<Requests>>,
    /// Nor this: what stands for the network.
    pub(crate) answers: Option<Arc<Answers>>,
}

impl Services {
    /// Those of no host: there is nothing to reach, and one worker.
    pub(crate) fn detached(memory_budget_bytes: u64) -> Self {
        Self {
            key_values: Arc::<MemoryKeyValue>::default(),
            secrets: Arc::new(NoSecrets),
            ceilings: Ceilings::default(),
            own_dirs: Vec::new(),
            own_addresses: Vec::new(),
            budget: Budget::new(memory_budget_bytes, 1, Vec::new()),
            hits: Hits::default(),
            tls: Tls::default(),
            bounds: Arc::new(Bounds::of_most_tasks(&Ceilings::default())),
            virtual_time: None,
            requests: None,
            answers: None,
        }
    }

    /// Now, as deadlines have it.
    pub(crate) fn now(&self) -> Instant {
        self.virtual_time.as_ref().map_or_else(Instant::now, |time| time.instant())
    }

    /// A point of real time, as deadlines have it.
    pub(crate) fn shifted(&self, real: Instant) -> Instant {
        self.virtual_time.as_ref().map_or(real, |time| time.shifted(real))
    }

    /// Whether the host itself listens there. Every loopback address is taken for the one that it listens on, and so is the unspecified
    /// one, which Linux connects to loopback.
    pub(crate) fn is_own_address(&self, address: IpAddr, port: u16) -> bool {
        let leads_here = address.is_loopback() || address.is_unspecified();
        self.own_addresses.iter().any(|own| own.port() == port && (leads_here || own.ip().to_canonical() == address))
    }
}

/// A task as its attempts need it, or several tasks that [are alike](Setups).
pub(crate) struct Setup {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) services: Arc<Services>,
    /// The worker that runs it.
    pub(crate) worker: usize,
    /// What only tasks have that are granted something; made when it is first needed.
    waits: OnceLock<Box<Waits>>,
}

/// What the attempts of a task share that have the host wait for something.
struct Waits {
    /// Turns to block on its behalf.
    turns: Arc<Semaphore>,
    /// As the last attempt had them. Locked for a comparison, by threads that may block.
    last_secrets: Mutex<Option<Arc<Secrets>>>,
}

impl Default for Waits {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_BLOCKING_AT_ONCE)), last_secrets: Mutex::default() }
    }
}

/// How often at once the host opens folders, reads secrets and looks up names for a task, over all its attempts. Each takes a blocking
/// thread, for as long as disks and name servers that do not answer keep it.
const MAX_BLOCKING_AT_ONCE: usize = 4;

impl Setup {
    pub(crate) fn new(spec: Arc<TaskSpec>, services: Arc<Services>, worker: usize) -> Self {
        let own = Bounds::of_task(&spec, &services.ceilings);
        let bounds = if own == *services.bounds { Arc::clone(&services.bounds) } else { Arc::new(own) };
        Self { spec, bounds, services, worker, waits: OnceLock::new() }
    }

    fn waits(&self) -> &Waits {
        self.waits.get_or_init(Box::default)
    }

    /// The secrets as the last attempt had them.
    pub(crate) fn last_secrets(&self) -> &Mutex<Option<Arc<Secrets>>> {
        &self.waits().last_secrets
    }

    /// Does something that blocks, when it is the task's turn. The turn is over when that is done, though the attempt may be gone.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Nobody closes the semaphore.
        let turn = Arc::clone(&self.waits().turns).acquire_owned().await.ok();
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await
    }
}

/// What attempts start from, one for all tasks of a worker that share a definition: who goes through many of them has it at hand, and each
/// takes less memory. A task that is granted something has its own, with what it waits for.
#[derive(Default)]
pub(crate) struct Setups {
    /// By the address of the definition, which the setup holds, and by worker. Locked for a look, by who adds, edits or loads tasks.
    known: Mutex<WeakMap<(usize, usize), Setup>>,
}

impl Setups {
    pub(crate) fn of(&self, spec: &Arc<TaskSpec>, services: &Arc<Services>, worker: usize) -> Arc<Setup> {
        let new = || Arc::new(Setup::new(Arc::clone(spec), Arc::clone(services), worker));
        if spec.grants.is_some() {
            return new();
        }
        let key = (Arc::as_ptr(spec).addr(), worker);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).unwrap_or_else(|| {
            let setup = new();
            known.insert(key, &setup);
            setup
        })
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::spec::Grants;

    use super::*;

    #[test]
    fn whatever_leads_to_loopback_leads_to_the_host() {
        let own_addresses = vec!["127.0.0.1:3333".parse().expect("an address")];
        let services = Services { own_addresses, ..Services::detached(0) };
        for address in ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::"] {
            let address = address.parse().expect("an address");
            assert!(services.is_own_address(address, 3333) && !services.is_own_address(address, 3334), "{address}");
        }
        assert!(!services.is_own_address("10.0.0.1".parse().expect("an address"), 3333));
    }

    #[test]
    fn tasks_of_one_definition_and_worker_share_what_they_start_from_unless_they_are_granted_something() {
        let (setups, services) = (Setups::default(), Arc::new(Services::detached(0)));
        let shares = |[one, other]: [(&Arc<TaskSpec>, usize); 2]| {
            Arc::ptr_eq(&setups.of(one.0, &services, one.1), &setups.of(other.0, &services, other.1))
        };
        let [plain, same]: [Arc<TaskSpec>; 2] = Default::default();
        let granted = Arc::new(TaskSpec { grants: Some(Box::new(Grants::none())), ..TaskSpec::default() });
        let held = setups.of(&plain, &services, 0);
        assert!(shares([(&plain, 0), (&plain, 0)]));
        assert!(Arc::ptr_eq(&held, &setups.of(&plain, &services, 0)));
        assert!(!shares([(&plain, 0), (&plain, 1)]), "each worker counts on cache lines of its own");
        assert!(!shares([(&plain, 0), (&same, 0)]), "an equal one is another, though nobody has two");
        assert!(!shares([(&granted, 0), (&granted, 0)]));
    }
}

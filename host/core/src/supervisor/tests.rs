mod bulk;
mod change;
mod history;
mod life;
mod plugins;
mod read;
mod run;

use tokio::time::sleep;

use super::*;
use crate::outcome::Outcome;
use crate::plugin::PluginError;
use crate::ports::{Actor, GrantFault, StoreError, SystemClock};
use crate::schedule::ScheduleText;
use crate::spec::{Grants, SpecPatch};
use crate::testing::{FakeEngine, MemoryStore};

type TestSupervisor = Supervisor<FakeEngine, SystemClock>;

const BY: Actor = Actor::Uid(1001);

/// Lets nobody but [`BY`] grant anything.
#[derive(Debug)]
struct OnlyOwner;

impl GrantGate for OnlyOwner {
    fn check(&self, by: Actor, _grants: &Grants) -> Result<(), GrantFault> {
        if by == BY { Ok(()) } else { Err(GrantFault { message: format!("{by} may not"), hint: "ask".to_owned() }) }
    }
}

async fn start(store: &Arc<MemoryStore>) -> TestSupervisor {
    start_with(store, FakeEngine::default()).await
}

async fn start_with(store: &Arc<MemoryStore>, engine: FakeEngine) -> TestSupervisor {
    let config = SupervisorConfig {
        workers: 2,
        cancel_grace: Duration::from_millis(50),
        timer_slack: Duration::from_millis(1),
        zone: Zone::utc(),
        ceilings: Ceilings::default(),
        gate: Arc::new(OnlyOwner),
    };
    let store = Arc::clone(store);
    Supervisor::start(config, Arc::new(engine), store, SystemClock).await.expect("the store loads")
}

/// A task that does what `args` say, so seldom that only manual runs count.
fn patch(args: &[&str]) -> SpecPatch {
    SpecPatch {
        schedules: Some(Some(vec![ScheduleText { every: Some("1h".to_owned()), ..ScheduleText::default() }])),
        args: Some(Some(args.iter().map(ToString::to_string).collect())),
        ..SpecPatch::default()
    }
}

async fn add(supervisor: &TestSupervisor, name: &str, args: &[&str]) -> TaskView {
    supervisor.add(name, patch(args), false, false, BY).await.expect("the task is added")
}

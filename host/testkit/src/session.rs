//! A trial at work, tick by tick: for who does something between ticks. The others have [`Trial::run`].

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use taskhost_core::events::{Event, EventBus, EventKind, EventStream, Next};
use taskhost_core::key_value::{KeyValue, MemoryKeyValue};
use taskhost_core::log::TaskLog;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunId, RunKey, RunReport, TaskId};
use taskhost_core::plugin::{PluginFacts, PluginRef};
use taskhost_core::ports::{Attempt, Engine, RunControl, Runner};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;
use taskhost_engine::{EngineConfig, Job, WasmEngine, WasmRunner};

use crate::due::{DueTimes, RunClock};
use crate::engine::{engine, engine_config};
use crate::record::Record;
use crate::recorder::Recorder;
use crate::trial::{Trial, TrialError};

/// The only task there is.
const TASK: TaskId = 0;

/// A plugin that is handed ticks.
pub struct Session {
    name: TaskName,
    spec: Arc<TaskSpec>,
    facts: PluginFacts,
    clock: RunClock,
    began: Time,
    runner: WasmRunner,
    job: Job,
    /// Whose threads end with it.
    _engine: WasmEngine,
    bus: EventBus,
    log: Arc<TaskLog>,
    recorder: Option<(Recorder, EventStream)>,
    keeps_going: bool,
    /// The due time of the last success.
    since: Option<Time>,
    is_over: bool,
}

impl Session {
    /// Makes the plugin ready. The runtime in which that is done is the one that runs the ticks too, and runs on one thread.
    ///
    /// # Errors
    /// If it can't be tried so.
    pub async fn begin(trial: &Trial) -> Result<Self, TrialError> {
        let (mut spec, clock, found) = (trial.spec()?, trial.clock()?, trial.found());
        let values = Arc::<MemoryKeyValue>::default();
        for change in found.changes()? {
            values.change(TASK, change, u64::MAX).await.map_err(TrialError::Store)?;
        }
        let recorder = trial.is_recorded.then(|| Recorder::new(Arc::clone(&values)));
        let engine = engine(EngineConfig {
            key_values: recorder.as_ref().map_or(values, Recorder::store),
            secrets: trial.secret_source(),
            virtual_time: clock.0.clone(),
            requests: recorder.as_ref().map(Recorder::requests),
            answers: found.answers()?.map(Arc::new),
            ..engine_config(trial.wasm.clone(), trial.compiler.clone())
        })
        .map_err(TrialError::Engine)?;
        let facts = engine.admit(trial.wasm.clone()).await?;
        if let Some(manifest) = facts.about.as_ref().and_then(|about| about.manifest.as_ref()) {
            manifest.check(spec.grants())?;
        }
        engine.check_grants(spec.grants().clone()).await?;
        spec.plugin = PluginRef::Sha256(facts.sha256);
        let spec = Arc::new(spec);
        let job = engine.prepare(0, Arc::clone(&spec)).await?;

        let bus = recorder.as_ref().map_or_else(EventBus::new, |recorder| EventBus::with_witness(recorder.witness()));
        let time = clock.clone();
        Ok(Self {
            log: TaskLog::detached_on(TASK, trial.name.clone(), bus.clone(), move || time.now()),
            name: trial.name.clone(),
            spec,
            facts,
            began: clock.now(),
            clock,
            runner: engine.runner(0),
            job,
            _engine: engine,
            // Lines are published where somebody wants them.
            recorder: recorder.map(|recorder| (recorder, bus.subscribe(true))),
            bus,
            keeps_going: trial.keeps_going,
            since: None,
            is_over: false,
        })
    }

    /// Where its lines go.
    pub fn log(&self) -> &Arc<TaskLog> {
        &self.log
    }

    /// Its lines as they come, from now on, and a last event.
    pub fn events(&self) -> EventStream {
        self.bus.subscribe(true)
    }

    /// When the next tick is due; `None` if none is any more.
    pub fn next_due(&self) -> Option<Time> {
        self.due_times().next(self.clock.now())
    }

    fn due_times(&self) -> DueTimes<'_> {
        DueTimes::new(&self.spec, self.began)
    }

    /// Waits for this time, or passes over what is left until then.
    pub async fn reach(&self, due: Time) {
        self.clock.reach(due).await;
    }

    /// Hands it the tick that is due at this time. If `stop` ends before, the tick is stopped hard, and what `stop` came to is told too.
    pub async fn tick<T>(&mut self, due: Time, stop: impl Future<Output = T>) -> (RunReport, Option<T>) {
        let due_times = self.due_times();
        let attempt = Attempt {
            task: self.name.clone(),
            run_id: RunId { task: TASK, key: RunKey::of(due) },
            number: 1,
            since: self.since,
            reason: if due_times.are_scheduled() { Reason::Schedule } else { Reason::Manual },
            trigger: None,
            due_local: due_times.local(due),
            timeout: self.spec.timeout(),
            control: Arc::new(RunControl::default()),
            log: Arc::clone(&self.log),
        };
        let (began, mut run) = (self.clock.now(), self.runner.run(&self.job, attempt.clone()));
        let (report, stopped) = tokio::select! {
            biased;
            report = &mut run => (report, None),
            stopped = stop => {
                attempt.control.stop();
                (run.await, Some(stopped))
            }
        };
        if let Some((recorder, published)) = &mut self.recorder {
            recorder.ended(&attempt, &report, self.clock.now().since(began));
            // They are on record, and would be kept for a reader.
            while let Some(Next::Event(_) | Next::Lagged(_)) = published.next().now_or_never() {}
        }
        self.is_over = stopped.is_some() || report.outcome != Outcome::Success && !self.keeps_going;
        if report.outcome == Outcome::Success {
            self.since = Some(due);
        }
        (report, stopped)
    }

    /// Whether no further tick should follow.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends the last event.
    pub fn end(&self) {
        self.bus.publish(|| Event { time: self.clock.now(), kind: EventKind::Shutdown });
    }

    /// All that it did; nothing, of a trial that is not recorded.
    ///
    /// # Errors
    /// If its keys and values can't be read.
    pub async fn record(self) -> Result<Record, TrialError> {
        let recorder = self.recorder.map_or_else(|| Recorder::new(Arc::default()), |(recorder, _)| recorder);
        recorder.record(&self.facts, TASK).await.map_err(TrialError::Store)
    }
}

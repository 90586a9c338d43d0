//! `TaskUnit.*`.

use bytes::Bytes;
use jsonrpsee::core::{RpcResult, SubscriptionResult, async_trait};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::{Extensions, PendingSubscriptionSink};
use sha2::Digest;
use taskhost_api::{
    Accepted, AddRequest, AddTask, Applied, ApplyRequest, BackfillRequest, Backfilled, BulkAction, BulkDone,
    BulkRequest, CancelRequest, Cancelled, Changes, ChangesRequest, DeleteMode, DeleteRequest, DeleteTask, Deleted,
    EditRequest, Explanation, GetRequest, ListRequest, Logs, LogsRequest, MAX_LIST_LIMIT, NextDue, NextRequest,
    PauseRequest, PluginRef, ResumeRequest, RunRequest, Runs, RunsRequest, Started, Task, TaskList, TaskUnitApiServer,
    WatchRequest, WhyRequest,
};
use taskhost_core::label::Selector;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, RunOf};
use taskhost_core::plugin::{PluginRef as CorePluginRef, Sha256};
use taskhost_core::ports::Actor;
use taskhost_core::schedule::parse_time;
use taskhost_core::spec::{SpecError, SpecPatch, TaskSpec};
use taskhost_core::supervisor::{self, ListQuery, NextQuery, RunsFilter, TaskError, TaskState};
use taskhost_core::time::Time;

use super::errors::to_rpc;
use super::{Rpc, caller, convert, gets, invalid_params, watch};
use crate::access::Caller;
use crate::upload::decode_base64;

/// How many tasks can be applied at once.
const MAX_APPLIED: usize = 10_000;

/// The bounds of `TaskUnit.Next`.
const DEFAULT_DUE_TIMES: u32 = 10;
const MAX_DUE_TIMES: u32 = 1000;

/// The bounds of `TaskUnit.Runs` and `TaskUnit.Changes`.
const DEFAULT_RUNS: u32 = 20;
const MAX_RUNS: u32 = 1000;

/// The bounds of `TaskUnit.Logs`.
const DEFAULT_LOG_LINES: u32 = 100;
const MAX_LOG_LINES: u32 = 10_000;

/// About how many bytes of JSON one answer has at most: what would make it longer is left for the next page, or left out
/// where there are no pages. The listeners bound answers too, but there it is an error.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

#[async_trait]
impl TaskUnitApiServer for Rpc {
    async fn add(&self, extensions: &Extensions, request: AddTask) -> RpcResult<Accepted<Task>> {
        let caller = caller(extensions)?;
        match request {
            AddTask::Name(name) => {
                self.add_task(AddRequest { name, ..AddRequest::default() }, caller).await?;
                Ok(Accepted::True)
            }
            AddTask::Spec(request) => self.add_task(*request, caller).await.map(Accepted::With),
        }
    }

    async fn edit(&self, extensions: &Extensions, mut request: EditRequest) -> RpcResult<Task> {
        let caller = caller(extensions)?;
        let plugin = match request.plugin.take() {
            Some(plugin) => {
                // Before a plugin is stored for an edit that can't be.
                let patch = convert::edit_patch(request.clone().into_patch(), None);
                let now = self.host.get(&request.name).await.map_err(to_rpc)?;
                TaskSpec::clone(&now.spec).patched(patch, self.host.zone()).map_err(|error| to_rpc(error.into()))?;
                Some(self.resolve(plugin, caller).await?)
            }
            None => None,
        };
        let (name, if_revision) = (request.name.clone(), request.if_revision);
        let patch = convert::edit_patch(request.into_patch(), plugin);
        let edited = self.host.edit(&name, patch, if_revision, actor(caller)).await;
        edited.map(|view| convert::task(view, false)).map_err(to_rpc)
    }

    async fn delete(&self, extensions: &Extensions, request: DeleteTask) -> RpcResult<Accepted<Deleted>> {
        let caller = caller(extensions)?;
        match request {
            DeleteTask::Name(name) => {
                self.delete_task(DeleteRequest { name, ..DeleteRequest::default() }, caller).await?;
                Ok(Accepted::True)
            }
            DeleteTask::Request(request) => self.delete_task(request, caller).await.map(Accepted::With),
        }
    }

    async fn get(&self, request: GetRequest) -> RpcResult<Task> {
        let view = self.host.get(&request.name).await.map_err(to_rpc)?;
        Ok(gets::task(&self.host, view, request.effective))
    }

    async fn list(&self, request: ListRequest) -> RpcResult<TaskList> {
        let state = match request.state.as_deref() {
            None => None,
            Some("running") => Some(TaskState::Running),
            Some("idle") => Some(TaskState::Idle),
            Some("paused") => Some(TaskState::Paused),
            Some(_) => return Err(invalid_params("`state` is none of `idle`, `running` and `paused`", None)),
        };
        let query = ListQuery {
            selector: selector(request.selector.as_deref())?,
            state,
            last_outcome: outcome(request.outcome.as_deref())?,
            after: request.cursor,
            limit: limit(request.limit, MAX_LIST_LIMIT, MAX_LIST_LIMIT)?,
        };
        let (views, mut more) = self.host.list(query).await.map_err(to_rpc)?;
        let mut tasks = Vec::with_capacity(views.len());
        let mut room = MAX_ANSWER_BYTES;
        for view in views {
            let task = convert::task(view, false);
            // The first one always fits, or there would be no end to the pages.
            match room.checked_sub(json_bytes(&task)) {
                None if !tasks.is_empty() => {
                    more = true;
                    break;
                }
                rest => room = rest.unwrap_or(0),
            }
            tasks.push(task);
        }
        let next_cursor = tasks.last().filter(|_| more).map(|task| task.spec.name.clone());
        Ok(TaskList { tasks, next_cursor })
    }

    async fn pause(&self, extensions: &Extensions, request: PauseRequest) -> RpcResult<Task> {
        let by = actor(caller(extensions)?);
        let paused = self.host.pause(&request.name, request.note, request.until.as_deref(), by).await;
        paused.map(|view| convert::task(view, false)).map_err(to_rpc)
    }

    async fn resume(&self, extensions: &Extensions, request: ResumeRequest) -> RpcResult<Task> {
        let resumed = self.host.resume(&request.name, actor(caller(extensions)?)).await;
        resumed.map(|view| convert::task(view, false)).map_err(to_rpc)
    }

    async fn bulk(&self, extensions: &Extensions, request: BulkRequest) -> RpcResult<BulkDone> {
        let caller = caller(extensions)?;
        let selector = match (&request.selector, request.all) {
            (Some(_), false) => selector(request.selector.as_deref())?,
            (None, true) => None,
            _ => return Err(invalid_params("give exactly one of `selector` and `all`", None)),
        };
        let action = match request.action {
            BulkAction::Edit(mut patch) => {
                let plugin = match patch.plugin.take() {
                    Some(plugin) => Some(self.resolve(plugin, caller).await?),
                    None => None,
                };
                supervisor::BulkAction::Edit(Box::new(convert::edit_patch(*patch, plugin)))
            }
            BulkAction::Pause { note, until } => supervisor::BulkAction::Pause { note, until },
            BulkAction::Resume {} => supervisor::BulkAction::Resume,
            BulkAction::Run { overlap } => supervisor::BulkAction::Run { overlap },
            BulkAction::Delete { mode } => supervisor::BulkAction::Delete(delete_mode(mode)),
        };
        let dry_run = request.dry_run;
        let (tasks, changed) = self.host.bulk(selector, action, dry_run, actor(caller)).await.map_err(to_rpc)?;
        let tasks = tasks.iter().map(ToString::to_string).collect();
        Ok(BulkDone { tasks, changed: changed as u64, dry_run })
    }

    async fn apply(&self, extensions: &Extensions, request: ApplyRequest) -> RpcResult<Applied> {
        let caller = caller(extensions)?;
        if request.tasks.len() > MAX_APPLIED {
            let message = format!("{} tasks are too many to apply at once; at most {MAX_APPLIED}", request.tasks.len());
            return Err(invalid_params(message, None));
        }
        if request.selector.is_some() && !request.prune {
            return Err(invalid_params("`selector` goes with `prune` only", None));
        }
        let prune = request.prune.then(|| selector(request.selector.as_deref())).transpose()?;
        let mut tasks = Vec::with_capacity(request.tasks.len());
        for mut spec in request.tasks {
            let plugin = self.resolve(std::mem::take(&mut spec.plugin), caller).await?;
            tasks.push((spec.name.clone(), convert::add_patch(spec, plugin)));
        }
        let applied = self.host.apply(tasks, prune, request.dry_run, actor(caller)).await.map_err(to_rpc)?;
        Ok(Applied { changes: applied.iter().map(convert::task_change).collect(), applied: !request.dry_run })
    }

    async fn run(&self, extensions: &Extensions, request: RunRequest) -> RpcResult<Started> {
        caller(extensions)?;
        let run = self.host.run(&request.name, request.wait, request.overlap.as_deref()).await.map_err(to_rpc)?;
        Ok(Started { run: convert::run(run) })
    }

    async fn cancel(&self, extensions: &Extensions, request: CancelRequest) -> RpcResult<Cancelled> {
        caller(extensions)?;
        let run: Option<RunOf> = request
            .run_id
            .map(|run| run.parse())
            .transpose()
            .map_err(|error| invalid_params(format!("`run_id` is none: {error}"), None))?;
        let run = self.host.cancel(&request.name, run).await.map_err(to_rpc)?;
        Ok(Cancelled { run_id: run.to_string() })
    }

    async fn runs(&self, request: RunsRequest) -> RpcResult<Runs> {
        let outcomes = request.outcomes.iter().flatten().chain(&request.outcome);
        let filter = RunsFilter {
            outcomes: outcomes.map(|text| one_outcome(text)).collect::<Result<_, _>>()?,
            from: time("from", request.from.as_deref())?,
            until: time("until", request.until.as_deref())?,
            limit: limit(request.limit, DEFAULT_RUNS, MAX_RUNS)?,
        };
        let page = self.host.runs(&request.name, filter).await.map_err(to_rpc)?;
        let mut room = MAX_ANSWER_BYTES;
        let runs = page.runs.into_iter().map(convert::run).take_while(|run| takes_room(&mut room, run)).collect();
        Ok(Runs { runs, history_lost: page.history_lost })
    }

    async fn backfill(&self, extensions: &Extensions, request: BackfillRequest) -> RpcResult<Backfilled> {
        caller(extensions)?;
        let (from, until) = (one_time("from", &request.from)?, one_time("until", &request.until)?);
        let (due_times, backfill) =
            self.host.backfill(&request.name, from, until, request.dry_run).await.map_err(to_rpc)?;
        Ok(Backfilled { due_times, backfill })
    }

    async fn changes(&self, request: ChangesRequest) -> RpcResult<Changes> {
        let limit = limit(request.limit, DEFAULT_RUNS, MAX_RUNS)?;
        // One more, to tell what the last one changed.
        let revisions = self.host.changes(&request.name, limit + 1).await.map_err(to_rpc)?;
        let mut room = MAX_ANSWER_BYTES;
        let changes = convert::changes(&revisions, limit).into_iter();
        Ok(Changes { changes: changes.take_while(|change| takes_room(&mut room, change)).collect() })
    }

    async fn why(&self, request: WhyRequest) -> RpcResult<Explanation> {
        let at = time("at", request.at.as_deref())?;
        self.host.why(&request.name, at).await.map(convert::why).map_err(to_rpc)
    }

    async fn next(&self, request: NextRequest) -> RpcResult<NextDue> {
        if request.name.is_some() == request.schedules.is_some() {
            return Err(invalid_params("give exactly one of `name` and `schedules`", None));
        }
        let patch = SpecPatch {
            schedules: request.schedules.map(|given| Some(convert::schedule_texts(given))),
            starts_at: request.starts_at.map(Some),
            expires_at: request.expires_at.map(Some),
            timeout: request.timeout.map(Some),
            ..SpecPatch::default()
        };
        let query = NextQuery {
            task: request.name,
            patch,
            from: time("from", request.from.as_deref())?,
            limit: limit(request.limit, DEFAULT_DUE_TIMES, MAX_DUE_TIMES)?,
        };
        self.host.next(query).await.map(convert::next).map_err(to_rpc)
    }

    async fn logs(&self, request: LogsRequest) -> RpcResult<Logs> {
        let limit = limit(request.limit, DEFAULT_LOG_LINES, MAX_LOG_LINES)?;
        let (level, after_seq) = (watch::log_level(request.level.as_deref())?, request.after_seq.unwrap_or(0));
        let page = self.host.logs(&request.name, level, after_seq, limit).await.map_err(to_rpc)?;
        let mut room = MAX_ANSWER_BYTES;
        // The newest lines are what was asked for.
        let newest = page.lines.into_iter().rev().map(convert::line);
        let mut lines: Vec<_> = newest.take_while(|line| takes_room(&mut room, line)).collect();
        lines.reverse();
        Ok(Logs { lines, dropped: page.dropped })
    }

    async fn watch(&self, pending: PendingSubscriptionSink, request: WatchRequest) -> SubscriptionResult {
        watch::serve(&self.host, pending, request).await
    }
}

impl Rpc {
    async fn add_task(&self, request: AddRequest, caller: Caller) -> Result<Task, ErrorObjectOwned> {
        let (now, replace) = (request.now, request.replace);
        let mut spec = request.into_spec();
        let plugin = std::mem::take(&mut spec.plugin);
        if matches!(plugin, PluginRef::Wasm(_)) {
            // Before a plugin is stored for a task that can't be.
            self.check_addable(&spec, replace).await.map_err(to_rpc)?;
        }
        let plugin = self.resolve(plugin, caller).await?;
        let name = spec.name.clone();
        let added = self.host.add(&name, convert::add_patch(spec, plugin), now, replace, actor(caller)).await;
        added.map(|view| convert::task(view, false)).map_err(to_rpc)
    }

    /// Whether a task of this definition could be added, whatever its plugin.
    async fn check_addable(&self, spec: &taskhost_api::Spec, replace: bool) -> Result<(), TaskError> {
        let name = TaskName::new(&spec.name).map_err(SpecError::from)?;
        let defaults = TaskSpec::default();
        let plugin = defaults.plugin.clone();
        defaults.patched(convert::add_patch(spec.clone(), plugin), self.host.zone())?;
        match self.host.get(&spec.name).await {
            Ok(_) if !replace => Err(TaskError::Exists(name)),
            _ => Ok(()),
        }
    }

    async fn delete_task(&self, request: DeleteRequest, caller: Caller) -> Result<Deleted, ErrorObjectOwned> {
        match self.host.delete(&request.name, delete_mode(request.mode), actor(caller)).await {
            Ok(()) => Ok(Deleted { deleted: true }),
            Err(TaskError::NotFound(_)) if request.if_exists => Ok(Deleted { deleted: false }),
            Err(error) => Err(to_rpc(error)),
        }
    }

    /// Names a plugin as the core does; one that was sent along is stored first.
    ///
    /// It stays if the change that it was sent with fails after all: somebody else may have been told by then that it is
    /// stored. `Plugin.Prune` deletes what no task uses.
    async fn resolve(&self, plugin: PluginRef, caller: Caller) -> Result<CorePluginRef, ErrorObjectOwned> {
        match plugin {
            PluginRef::Builtin(name) => Ok(CorePluginRef::Builtin(name)),
            PluginRef::Sha256(text) => {
                let sha256 = text.parse().map_err(|error| invalid_params(format!("`plugin.sha256`: {error}"), None))?;
                Ok(CorePluginRef::Sha256(sha256))
            }
            PluginRef::Wasm(base64) => {
                let wasm = Bytes::from(decode_base64("plugin.wasm", &base64)?);
                let sha256 = Sha256(sha2::Sha256::digest(&wasm).into());
                let size_bytes = wasm.len();
                self.host.put_plugin(wasm).await.map_err(to_rpc)?;
                tracing::info!(%sha256, size_bytes, uid = caller.uid, "plugin stored");
                Ok(CorePluginRef::Sha256(sha256))
            }
        }
    }
}

fn actor(caller: Caller) -> Actor {
    Actor::Uid(caller.uid)
}

fn delete_mode(mode: DeleteMode) -> supervisor::DeleteMode {
    match mode {
        DeleteMode::Cancel => supervisor::DeleteMode::Cancel,
        DeleteMode::Wait => supervisor::DeleteMode::Wait,
    }
}

fn outcome(text: Option<&str>) -> Result<Option<Outcome>, ErrorObjectOwned> {
    text.map(one_outcome).transpose()
}

/// All levels, if none is given.
fn one_outcome(text: &str) -> Result<Outcome, ErrorObjectOwned> {
    text.parse().map_err(|error| invalid_params(format!("`outcome`: {error}"), None))
}

fn time(member: &str, text: Option<&str>) -> Result<Option<Time>, ErrorObjectOwned> {
    text.map(|text| one_time(member, text)).transpose()
}

fn one_time(member: &str, text: &str) -> Result<Time, ErrorObjectOwned> {
    parse_time(text).map_err(|error| invalid_params(format!("`{member}`: {error}"), None))
}

fn selector(text: Option<&str>) -> Result<Option<Selector>, ErrorObjectOwned> {
    text.map(str::parse).transpose().map_err(|error| invalid_params(format!("{error}"), None))
}

pub(super) fn limit(given: Option<u32>, default: u32, max: u32) -> Result<usize, ErrorObjectOwned> {
    match given.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit as usize),
        limit => Err(invalid_params(format!("`limit` is {limit}; it must be from 1 to {max}"), None)),
    }
}

/// Takes the room that a value needs in an answer; whether there was enough.
pub(super) fn takes_room(room: &mut usize, value: &impl serde::Serialize) -> bool {
    match room.checked_sub(json_bytes(value)) {
        Some(rest) => {
            *room = rest;
            true
        }
        None => false,
    }
}

/// How many bytes a value has as JSON.
fn json_bytes(value: &impl serde::Serialize) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // What can't be written is found out when the answer is.
    drop(serde_json::to_writer(&mut count, value));
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_range_is_refused_with_the_range() {
        assert_eq!(limit(None, 20, 1000).expect("the default"), 20);
        assert_eq!(limit(Some(1000), 20, 1000).expect("the most"), 1000);
        for given in [0, 1001] {
            let error = limit(Some(given), 20, 1000).expect_err("out of range");
            assert_eq!(error.message(), format!("`limit` is {given}; it must be from 1 to 1000"));
        }
    }

    #[test]
    fn room_is_counted_as_it_is_sent() {
        let escaped = "\u{1b}".repeat(10);
        assert_eq!(json_bytes(&escaped), serde_json::to_string(&escaped).expect("text is JSON").len());
        let mut room = 10;
        assert!(takes_room(&mut room, &"12345678"), "quotes count");
        assert!(!takes_room(&mut room, &1));
    }
}

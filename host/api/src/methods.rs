//! The methods, as jsonrpsee traits: the daemon implements the `…Server` halves, clients call the
//! `…Client` halves.

use jsonrpsee::core::{RpcResult, SubscriptionResult};
use jsonrpsee::proc_macros::rpc;

use crate::{
    Accepted, AddTask, Applied, ApplyRequest, BackfillRequest, Backfilled, BulkDone, BulkRequest, CancelRequest,
    Cancelled, Changes, ChangesRequest, DeleteTask, EditRequest, Event, Explanation, GetRequest, HostInfo,
    KeyValueEntry, KeyValueGetRequest, KeyValueList, KeyValueListRequest, KeyValueRemoveRequest, KeyValueRemoved,
    KeyValueSetRequest, ListRequest, Logs, LogsRequest, NextDue, NextRequest, PauseRequest, PluginChunk,
    PluginChunkReceived, PluginDeleted, PluginHas, PluginInfo, PluginList, PluginPruned, PluginSelector, ResumeRequest,
    RunRequest, Runs, RunsRequest, Started, Task, TaskList, WatchRequest, WhyRequest,
};

/// Tasks: what they are, what they did, and what they are doing.
#[rpc(server, client)]
pub trait TaskUnitApi {
    /// Adds a task, durable and running when this answers. `true` when called with a plain name, else the task.
    #[method(name = "TaskUnit.Add", with_extensions)]
    async fn add(&self, request: AddTask) -> RpcResult<Accepted<Task>>;

    /// Changes the given members of a task's definition; phase and history stay.
    #[method(name = "TaskUnit.Edit", with_extensions)]
    async fn edit(&self, request: EditRequest) -> RpcResult<Task>;

    /// Deletes a task; no run of it starts after this has answered. `true` when called with a plain name.
    #[method(name = "TaskUnit.Delete", with_extensions)]
    async fn delete(&self, request: DeleteTask) -> RpcResult<Accepted<crate::Deleted>>;

    /// One task.
    #[method(name = "TaskUnit.Get")]
    async fn get(&self, request: GetRequest) -> RpcResult<Task>;

    /// The tasks in order of name, a page at a time.
    #[method(name = "TaskUnit.List")]
    async fn list(&self, request: ListRequest) -> RpcResult<TaskList>;

    /// Pauses a task: no due time of it runs until it is resumed. One that is paused stays paused.
    #[method(name = "TaskUnit.Pause", with_extensions)]
    async fn pause(&self, request: PauseRequest) -> RpcResult<Task>;

    /// Lets a paused task go on; its phase stays. One that is not paused stays as it is.
    #[method(name = "TaskUnit.Resume", with_extensions)]
    async fn resume(&self, request: ResumeRequest) -> RpcResult<Task>;

    /// Does the same with many tasks: with all of them or, if one can't be, with none; the error names that one.
    #[method(name = "TaskUnit.Bulk", with_extensions)]
    async fn bulk(&self, request: BulkRequest) -> RpcResult<BulkDone>;

    /// Makes tasks exactly as given: all of them or, if one can't be, none; the error names that one.
    #[method(name = "TaskUnit.Apply", with_extensions)]
    async fn apply(&self, request: ApplyRequest) -> RpcResult<Applied>;

    /// Runs a task once, now, beside its schedules.
    #[method(name = "TaskUnit.Run", with_extensions)]
    async fn run(&self, request: RunRequest) -> RpcResult<Started>;

    /// Cancels the run that is going on: tells the guest, and stops it hard after the cancel grace.
    #[method(name = "TaskUnit.Cancel", with_extensions)]
    async fn cancel(&self, request: CancelRequest) -> RpcResult<Cancelled>;

    /// The last runs of a task, newest first.
    #[method(name = "TaskUnit.Runs")]
    async fn runs(&self, request: RunsRequest) -> RpcResult<Runs>;

    /// Runs the due times that a task had, or would have had, in a stretch of time, one after the other.
    #[method(name = "TaskUnit.Backfill", with_extensions)]
    async fn backfill(&self, request: BackfillRequest) -> RpcResult<Backfilled>;

    /// The last changes of a task, newest first.
    #[method(name = "TaskUnit.Changes")]
    async fn changes(&self, request: ChangesRequest) -> RpcResult<Changes>;

    /// Why a task ran at a time, or did not.
    #[method(name = "TaskUnit.Why")]
    async fn why(&self, request: WhyRequest) -> RpcResult<Explanation>;

    /// The due times to come, of a task or of schedules that no task has yet.
    #[method(name = "TaskUnit.Next")]
    async fn next(&self, request: NextRequest) -> RpcResult<NextDue>;

    /// The last log lines of a task, oldest first.
    #[method(name = "TaskUnit.Logs")]
    async fn logs(&self, request: LogsRequest) -> RpcResult<Logs>;

    /// Events as they happen, until unsubscribed. A subscriber that reads too slowly is told how many it lost.
    #[subscription(name = "TaskUnit.Watch", unsubscribe = "TaskUnit.Unwatch", item = Event)]
    async fn watch(&self, request: WatchRequest) -> SubscriptionResult;
}

/// Plugins: the wasm programs that tasks run, known by the sha256 of their bytes.
#[rpc(server, client)]
pub trait PluginApi {
    /// Sends a piece of a plugin. The last one compiles and stores it; an interrupted upload goes on at `received`.
    #[method(name = "Plugin.Put", with_extensions)]
    async fn put(&self, request: PluginChunk) -> RpcResult<PluginChunkReceived>;

    /// Whether a plugin is stored and can be run.
    #[method(name = "Plugin.Has")]
    async fn has(&self, request: PluginSelector) -> RpcResult<PluginHas>;

    /// One plugin, by sha256 (or a unique beginning of it) or by the name of a built-in one.
    #[method(name = "Plugin.Get")]
    async fn get_plugin(&self, request: PluginSelector) -> RpcResult<PluginInfo>;

    /// Every plugin, in order of sha256.
    #[method(name = "Plugin.List")]
    async fn list_plugins(&self) -> RpcResult<PluginList>;

    /// Deletes a plugin that no task uses.
    #[method(name = "Plugin.Delete", with_extensions)]
    async fn delete_plugin(&self, request: PluginSelector) -> RpcResult<PluginDeleted>;

    /// Deletes every plugin that no task uses.
    #[method(name = "Plugin.Prune", with_extensions)]
    async fn prune_plugins(&self) -> RpcResult<PluginPruned>;
}

/// Keys and values that tasks keep from run to run.
#[rpc(server, client)]
pub trait KeyValueApi {
    /// The keys of a task, a page at a time, and how much of its quota it uses.
    #[method(name = "KeyValue.List")]
    async fn list_keys(&self, request: KeyValueListRequest) -> RpcResult<KeyValueList>;

    /// One value.
    #[method(name = "KeyValue.Get", with_extensions)]
    async fn get_value(&self, request: KeyValueGetRequest) -> RpcResult<KeyValueEntry>;

    /// Sets a value, durable and seen by the task's runs when this answers. Always `true`.
    #[method(name = "KeyValue.Set", with_extensions)]
    async fn set_value(&self, request: KeyValueSetRequest) -> RpcResult<bool>;

    /// Removes keys with their values, all in one change.
    #[method(name = "KeyValue.Remove", with_extensions)]
    async fn remove_keys(&self, request: KeyValueRemoveRequest) -> RpcResult<KeyValueRemoved>;
}

/// The host itself.
#[rpc(server, client)]
pub trait HostApi {
    /// What the host is and how it does.
    #[method(name = "Host.Info")]
    async fn info(&self) -> RpcResult<HostInfo>;

    /// This document: every method with its parameters and answer, as OpenRPC.
    #[method(name = "rpc.discover")]
    async fn discover(&self) -> RpcResult<serde_json::Value>;
}

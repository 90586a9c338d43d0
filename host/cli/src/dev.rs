//! What `taskhost dev` does in a host: the same calls as `taskctl`'s verbs, on the same connection and told in the same words.

use std::path::Path;

use jsonrpsee::core::client::Client;
use taskhost_api::{
    AddRequest, AddTask, DeleteMode, DeleteRequest, DeleteTask, EditRequest, ErrorCode, EventKind, GetRequest, Patch,
    PluginApiClient, PluginRef, PluginSelector, Schedule, TaskUnitApiClient, WatchRequest,
};

use crate::addr::HostAddr;
use crate::call_error::CallError;
use crate::client::{self, Events, Next};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::{Format, Output, chain};
use crate::text::quoted;
use crate::upload::Module;
pub use crate::verb::logs::{Followed, LogStart};
use crate::verb::{in_words, logs, outcome, remark};

/// One task of a host, whose plugin is in the making.
pub struct DevTask {
    client: Client,
    name: String,
}

/// Why something was not done in the host.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One sentence, with all causes.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// As `taskctl` would end.
    pub exit: u8,
    /// Whether the host is gone, so that nothing else can be done in it either.
    pub is_host_gone: bool,
}

/// A plugin that the host has.
pub struct Brought {
    pub sha256: String,
    /// Whether it had to be sent.
    pub is_new: bool,
    /// The schedule that it suggests.
    pub suggested: Option<Schedule>,
}

impl DevTask {
    /// Reaches the host in which the task is, or is to be.
    pub async fn connect(host: &HostAddr, name: String) -> Result<Self, Refusal> {
        let client = client::connect(host).await.map_err(Failure::from)?;
        Ok(Self { client, name })
    }

    /// The plugin that the task runs, by its sha256 or, of a built-in one, its name. `None` if there is no such task.
    pub async fn plugin(&self) -> Result<Option<String>, Refusal> {
        let request = GetRequest { name: self.name.clone(), effective: false };
        match self.client.get(request).await.map_err(CallError::from) {
            Ok(task) => Ok(Some(match task.spec.plugin {
                PluginRef::Builtin(plugin) | PluginRef::Sha256(plugin) | PluginRef::Wasm(plugin) => plugin,
            })),
            Err(error) if is_no_task(&error) => Ok(None),
            Err(error) => Err(error).doing(|| format!("show {}", quoted(&self.name))).map_err(Refusal::from),
        }
    }

    /// Sees to it that the host has the plugin in this file, which people know by this name.
    pub async fn bring(&self, file: &Path, called: &str) -> Result<Brought, Refusal> {
        let doing = || format!("run {called}");
        let module = Module::read(file)?;
        let selector = PluginSelector { plugin: module.sha256().to_owned() };
        let is_new = !self.client.has(selector.clone()).await.doing(doing)?.has;
        let sha256 = module.upload(&self.client, &Output::of_process(Format::Table), &doing()).await?;
        let plugin = self.client.get_plugin(selector).await.doing(doing)?;
        let suggested = plugin.manifest.and_then(|manifest| manifest.schedule);
        Ok(Brought { sha256, is_new, suggested })
    }

    /// Makes the task this, from its next run on. `false` if there is none.
    pub async fn edit(&self, patch: Patch) -> Result<bool, Refusal> {
        match self.client.edit(EditRequest::new(self.name.clone(), None, patch)).await.map_err(CallError::from) {
            Ok(_) => Ok(true),
            Err(error) if is_no_task(&error) => Ok(false),
            Err(error) => Err(error).doing(|| format!("edit {}", quoted(&self.name))).map_err(Refusal::from),
        }
    }

    /// Adds the task.
    pub async fn add(&self, patch: Patch) -> Result<(), Refusal> {
        let request = AddTask::Spec(Box::new(AddRequest::new(self.name.clone(), patch)));
        self.client.add(request).await.doing(|| format!("add {}", quoted(&self.name)))?;
        Ok(())
    }

    /// Deletes the task, unless it is gone already.
    pub async fn delete(&self) -> Result<(), Refusal> {
        let request = DeleteRequest { name: self.name.clone(), mode: DeleteMode::Cancel, if_exists: true };
        let deleted = self.client.delete(DeleteTask::Request(request)).await;
        deleted.doing(|| format!("delete {}", quoted(&self.name)))?;
        Ok(())
    }

    /// Deletes a plugin; `false` if a task or a run still needs it.
    pub async fn forget(&self, sha256: &str) -> bool {
        self.client.delete_plugin(PluginSelector { plugin: sha256.to_owned() }).await.is_ok()
    }

    /// Shows what the task prints on the standard output, as `taskctl logs --follow` does.
    pub async fn follow(&self, start: LogStart) -> Result<Followed, Refusal> {
        let mut output = Output::of_process(Format::Table);
        Ok(logs::follow(&self.client, &mut output, self.name.clone(), start).await?)
    }

    /// Tells of each run that did not end well; of several of one revision that end alike one after the other, of the first.
    pub async fn watch_failures(&self, mut tell: impl FnMut(&str)) -> Result<(), Refusal> {
        let request =
            WatchRequest { name: Some(self.name.clone()), kinds: Some(vec![EventKind::RunFinished]), level: None };
        let doing = || format!("watch {}", quoted(&self.name));
        let mut told = None;
        loop {
            let mut events = Events::subscribe(&self.client, request.clone()).await.doing(doing)?;
            loop {
                let event = match events.next().await.doing(doing)? {
                    Next::Event(event) => event,
                    Next::Lagged => break,
                    Next::Ended => return Ok(()),
                };
                if event.kind == EventKind::Shutdown {
                    return Ok(());
                }
                let Some(run) = event.run else { continue };
                let ended = match (outcome(&run), remark(&run)) {
                    ("success", _) => None,
                    (outcome, Some(remark)) => Some((run.revision, format!("{outcome}: {remark}"))),
                    (outcome, None) => Some((run.revision, outcome.to_owned())),
                };
                if let Some((_, ended)) = ended.as_ref().filter(|_| ended != told) {
                    tell(ended);
                }
                told = ended;
            }
        }
    }
}

/// The sha256 of the plugin in a file, in lower-case hex.
///
/// # Errors
/// If it can't be read, or is larger than a plugin may be.
pub fn sha256_of(file: &Path) -> Result<String, Refusal> {
    Ok(Module::read(file)?.into_sha256())
}

/// When a task of this schedule runs, as `taskctl add` says it: what completes "runs …".
pub fn schedule_in_words(schedule: &Schedule) -> String {
    in_words(std::slice::from_ref(schedule), None)
}

fn is_no_task(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code: Some(ErrorCode::TaskNotFound), .. })
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let exit = failure.exit();
        Self {
            message: chain(&failure),
            hint: failure.hint(),
            exit: exit as u8,
            is_host_gone: matches!(exit, Exit::Unreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taskhost_api::Event;

    use super::*;
    use crate::testing::{Call, a_run, client_of, event, notification};

    #[tokio::test]
    async fn a_failure_is_told_once_for_each_revision_until_something_else_happens() {
        let finished = |revision, outcome: &str, detail: Option<&str>| {
            let run = taskhost_api::Run { revision, ..a_run(outcome, detail, None) };
            notification(&Event { run: Some(run), ..event(EventKind::RunFinished) })
        };
        let client = client_of(move |call: &Call| {
            assert_eq!(call.request, json!({"name": "mine", "kinds": ["run_finished"]}));
            vec![
                call.answer(1),
                finished(1, "success", None),
                finished(1, "error", Some("no")),
                finished(1, "error", Some("no")),
                finished(2, "error", Some("no")),
                finished(2, "timed_out", None),
                finished(2, "success", None),
                finished(2, "timed_out", None),
                notification(&event(EventKind::Shutdown)),
            ]
        });
        let task = DevTask { client, name: "mine".to_owned() };
        let mut told = Vec::new();
        task.watch_failures(|ended| told.push(ended.to_owned())).await.expect("the host answers");
        assert_eq!(told, ["error: no", "error: no", "timed_out", "timed_out"]);
    }

    #[tokio::test]
    async fn a_task_that_is_not_there_is_no_error_and_a_host_that_is_gone_is_one() {
        let client = client_of(|call: &Call| match call.method.as_str() {
            "TaskUnit.Get" | "TaskUnit.Edit" => vec![call.refuse(ErrorCode::TaskNotFound, "no such task", None)],
            _ => Vec::new(),
        });
        let task = DevTask { client, name: "mine".to_owned() };
        assert_eq!(task.plugin().await.expect("an answer"), None);
        assert!(!task.edit(Patch::default()).await.expect("an answer"));
        let refusal = task.add(Patch::default()).await.expect_err("it closes the connection");
        assert!(refusal.is_host_gone && refusal.message.starts_with("failed to add `mine`: "), "{refusal}");
    }
}

//! `taskctl watch`

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jsonrpsee::core::client::Client;
use taskhost_api::{ErrorCode, Event, EventKind, GetRequest, TaskUnitApiClient, WatchRequest};

use super::{logs, outcome, remark, took};
use crate::call_error::CallError;
use crate::cell::{Cell, Style};
use crate::client::{Events, Next, until_interrupted};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted};

/// Show what happens as it happens, one event a line, until Ctrl-C
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only this task
    name: Option<String>,

    /// Only events of this kind; may be repeated [default: all but log]
    #[arg(long = "kind", value_name = "KIND", value_parser = kind_parser())]
    kinds: Vec<EventKind>,
}

impl Watch {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, kinds } = self;
        let request = WatchRequest { name, kinds: (!kinds.is_empty()).then_some(kinds), level: None };
        if let Some(watched) = until_interrupted(watch(client, request, output)).await {
            watched?;
        }
        Ok(Exit::Done)
    }
}

async fn watch(client: &Client, request: WatchRequest, output: &mut Output) -> Result<(), Failure> {
    let doing = || "watch".to_owned();
    let mut unheard_of = request.name.as_deref();
    loop {
        let mut events = Events::subscribe(client, request.clone()).await.doing(doing)?;
        // Asked once, and after subscribing: a task that is added in between is heard of.
        if let Some(name) = unheard_of.take()
            && !exists(client, name).await.doing(doing)?
        {
            output.note(&format!("no task is named {} yet; waiting for it", quoted(name)));
        }
        loop {
            match events.next().await.doing(doing)? {
                Next::Event(event) => {
                    if output.is_json() {
                        output.object(&event)?
                    } else {
                        output.cells(&cells(&event))?
                    }
                    if event.kind == EventKind::Shutdown {
                        return Ok(());
                    }
                }
                Next::Lagged => {
                    output.note("lagged: events were lost");
                    break;
                }
                Next::Ended => return Ok(()),
            }
        }
    }
}

async fn exists(client: &Client, name: &str) -> Result<bool, CallError> {
    match client.get(GetRequest { name: name.to_owned(), effective: false }).await.map_err(CallError::from) {
        Ok(_) => Ok(true),
        Err(CallError::Refused { code: Some(ErrorCode::TaskNotFound), .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every kind by the name that it has on the wire.
fn kind_parser() -> impl TypedValueParser<Value = EventKind> {
    let kinds = [
        EventKind::TaskAdded,
        EventKind::TaskEdited,
        EventKind::TaskPaused,
        EventKind::TaskResumed,
        EventKind::TaskDeleted,
        EventKind::RunFinished,
        EventKind::Log,
        EventKind::Lagged,
        EventKind::Shutdown,
    ];
    PossibleValuesParser::new(kinds.map(name))
        .map(move |text| kinds.into_iter().find(|&kind| name(kind) == text).expect("the parser knows only these"))
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::TaskAdded => "task_added",
        EventKind::TaskEdited => "task_edited",
        EventKind::TaskPaused => "task_paused",
        EventKind::TaskResumed => "task_resumed",
        EventKind::TaskDeleted => "task_deleted",
        EventKind::RunFinished => "run_finished",
        EventKind::Log => "log",
        EventKind::Lagged => "lagged",
        EventKind::Shutdown => "shutdown",
    }
}

fn cells(event: &Event) -> Vec<Cell> {
    let kind = Cell::bold(format!("{:12}", name(event.kind)));
    let mut cells = vec![Cell::new(absolute(event.time), Style::Dim), kind];
    cells.extend(event.task.as_deref().map(Cell::plain));
    cells.extend(event.revision.map(|revision| Cell::plain(format!("revision {revision}"))));
    if let Some(run) = &event.run {
        cells.push(Cell::outcome(outcome(run)));
        cells.extend(took(run).map(|took| Cell::plain(format!("in {took}"))));
        cells.push(Cell::new(format!("({}, {})", run.reason, run.run_id), Style::Dim));
        cells.extend(remark(run).map(Cell::plain));
    }
    if let Some(line) = &event.line {
        let [_, stream, text] = logs::cells(line);
        cells.extend([stream, text]);
    }
    cells.extend(event.lost.map(|lost| Cell::new(format!("{lost} events lost"), Style::Warning)));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shown, events};

    #[test]
    fn an_event_is_a_line() {
        let mut shown = Shown::new();
        for event in events() {
            shown.output.cells(&cells(&event)).expect("memory takes all");
        }
        insta::assert_snapshot!(shown.out());
    }

    #[test]
    fn kinds_have_the_names_of_the_wire() {
        for event in events() {
            assert_eq!(serde_json::to_value(event.kind).expect("a string"), name(event.kind));
        }
    }
}

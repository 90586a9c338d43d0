//! `taskctl list`

use std::cmp::Reverse;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{GetRequest, ListRequest, MAX_LIST_LIMIT, Task, TaskList, TaskUnitApiClient};

use super::outcome;
use super::schedule_words::in_brief;
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::table::Column;
use crate::text::relative;

const COLUMNS: [Column; 8] = [
    Column::elastic("NAME"),
    Column::text("STATE"),
    Column::text("SCHEDULE"),
    Column::text("NEXT"),
    Column::text("LAST"),
    Column::text("OUTCOME"),
    Column::number("RUNS"),
    Column::number("FAILED"),
];

/// Outcomes of due times that no guest was entered for.
const DID_NOT_RUN: [&str; 2] = ["missed", "skipped"];

/// Outcomes of runs that are nobody's failure.
const DID_NOT_FAIL: [&str; 2] = ["success", "cancelled"];

/// List tasks
#[derive(Debug, Args)]
#[command(visible_alias = "ls")]
pub(crate) struct List {
    /// Only tasks with these labels: team=web,env!=dev,owner,!legacy
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Only tasks in this state: idle, running or paused
    #[arg(long)]
    state: Option<String>,

    /// Only tasks whose last run ended so: success, error, trapped, timed_out, …
    #[arg(long)]
    outcome: Option<String>,

    /// In order of name, or what is next to run, was late to start, or was last to finish first
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    sort: Sort,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Sort {
    #[default]
    Name,
    Next,
    Late,
    Last,
}

impl List {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { selector, state, outcome, sort } = self;
        let filtered = selector.is_some() || state.is_some() || outcome.is_some();
        let mut tasks = fetch(client, ListRequest { selector, state, outcome, ..ListRequest::default() }).await?;
        sort.apply(&mut tasks);
        if output.is_json() {
            output.document(&TaskList { tasks, next_cursor: None })?;
        } else if tasks.is_empty() {
            let note = if filtered {
                "no such tasks; see all with `taskctl list`"
            } else {
                "no tasks; add one with `taskctl add NAME`"
            };
            output.note(note);
        } else {
            let default_schedule = default_schedule(client, &tasks).await;
            let rows: Vec<_> = tasks.iter().map(|task| row(task, &default_schedule, output.now)).collect();
            output.table(&COLUMNS, &rows)?;
            for task in &tasks {
                if let Some(fault) = &task.fault {
                    output.note(&format!("{} can't run: {fault}", task.spec.name));
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// The tasks that are asked for: every page.
pub(super) async fn fetch(client: &Client, mut request: ListRequest) -> Result<Vec<Task>, Failure> {
    request.limit = Some(MAX_LIST_LIMIT);
    let mut tasks = Vec::new();
    loop {
        let page = client.list(request.clone()).await.doing(|| "list tasks".to_owned())?;
        tasks.extend(page.tasks);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(tasks),
        }
    }
}

impl Sort {
    fn apply(self, tasks: &mut [Task]) {
        let last = |task: &Task| task.last_run.as_ref().and_then(|run| run.finished);
        let late = |task: &Task| task.last_run.as_ref().and_then(|run| run.lateness_ms).unwrap_or(f64::NEG_INFINITY);
        match self {
            // The host's order.
            Self::Name => {}
            Self::Next => tasks.sort_by_key(|task| task.next_due.unwrap_or(Timestamp::MAX)),
            Self::Late => tasks.sort_by(|a, b| late(b).total_cmp(&late(a))),
            Self::Last => tasks.sort_by_key(|task| Reverse(last(task))),
        }
    }
}

/// The schedule of tasks that were given none, as the host tells it of one of them; it is the same for all.
async fn default_schedule(client: &Client, tasks: &[Task]) -> String {
    let unnamed = || "default".to_owned();
    let Some(task) = tasks.iter().find(|task| task.spec.schedules.is_none()) else { return unnamed() };
    // The task may be gone by now: no reason to show no list.
    match client.get(GetRequest { name: task.spec.name.clone(), effective: true }).await {
        Ok(task) => task.spec.schedules.as_deref().map_or_else(unnamed, in_brief),
        Err(_) => unnamed(),
    }
}

fn row(task: &Task, default_schedule: &str, now: Timestamp) -> [Cell; COLUMNS.len()] {
    let time = |time: Option<Timestamp>| Cell::plain(time.map_or("-".to_owned(), |time| relative(time, now)));
    let sum = |except: &[&str]| -> u64 {
        task.counts.iter().filter(|(outcome, _)| !except.contains(&outcome.as_str())).map(|(_, count)| count).sum()
    };
    let failed = sum(&[DID_NOT_RUN, DID_NOT_FAIL].concat());
    [
        Cell::bold(&task.spec.name),
        Cell::new(&task.state, if task.fault.is_some() { Style::Bad } else { Style::Plain }),
        Cell::plain(task.spec.schedules.as_deref().map_or_else(|| default_schedule.to_owned(), in_brief)),
        time(task.next_due),
        time(task.last_run.as_ref().map(|run| run.started.unwrap_or(run.due))),
        task.last_run.as_ref().map_or(Cell::plain("-"), |run| Cell::outcome(outcome(run))),
        Cell::plain(sum(&DID_NOT_RUN).to_string()),
        Cell::new(failed.to_string(), if failed > 0 { Style::Bad } else { Style::Plain }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, tasks, time};

    #[test]
    fn a_list_fits_eighty_columns() {
        let rows: Vec<_> = tasks().iter().map(|task| row(task, "1s", time(testing::NOW))).collect();
        let table = crate::table::render(&COLUMNS, &rows, Some(80), false);
        assert!(table.lines().all(|line| console::measure_text_width(line) <= 80), "{table}");
        insta::assert_snapshot!(table);
    }

    #[test]
    fn tasks_are_sorted_as_asked() {
        let sorted = |sort: Sort| {
            let mut tasks = tasks();
            sort.apply(&mut tasks);
            tasks.into_iter().map(|task| task.spec.name.chars().take(6).collect::<String>()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(Sort::Name), ["backup", "hello", "paused"]);
        assert_eq!(sorted(Sort::Next), ["hello", "backup", "paused"]);
        assert_eq!(sorted(Sort::Late), ["backup", "hello", "paused"]);
        assert_eq!(sorted(Sort::Last), ["hello", "backup", "paused"]);
    }
}

//! `taskctl next`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{NextDue, NextRequest, TaskUnitApiClient};

use super::schedule_flags::{GivenSchedule, ScheduleFlags};
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::table::Column;
use crate::text::{absolute, quoted, relative};
use crate::value::{number, when};

const COLUMNS: [Column; 3] = [Column::text("LOCAL TIME"), Column::text("UTC"), Column::text("IN")];

/// Show the due times to come, of a task or of a schedule that none has yet
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl next backup
  taskctl next --cron '30 2 * * *' --timezone Europe/Berlin -n 365")]
pub(crate) struct Next {
    /// The task
    name: Option<String>,

    /// Show so many, 1 to 1000 [the host's default: 10]
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u32>)]
    limit: Option<u32>,

    /// Show those after this time: RFC 3339, or from now like +1d [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,

    /// Warn where due times come closer together than this
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, conflicts_with = "name")]
    timeout: Option<String>,

    #[command(flatten)]
    schedule: ScheduleFlags,
}

impl Next {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, limit, from, timeout, schedule } = self;
        let GivenSchedule { schedules, starts_at, expires_at } = schedule.given(output.now)?;
        let (schedules, starts_at, expires_at) = (schedules.flatten(), starts_at.flatten(), expires_at.flatten());
        let hint = "give one of them, like `taskctl next NAME` or `taskctl next --cron '0 3 * * *'`";
        let doing = match (&name, &schedules) {
            (Some(name), None) if starts_at.is_none() && expires_at.is_none() => {
                format!("show the due times of {}", quoted(name))
            }
            (None, Some(_)) => "show the due times of the schedule".to_owned(),
            (Some(_), _) => return Err(Failure::usage("a task is named, and a schedule given", hint)),
            (None, None) => return Err(Failure::usage("no task is named, and no schedule given", hint)),
        };
        let from = from.map(|from| when(&from, output.now));
        let request = NextRequest { name, schedules, starts_at, expires_at, timeout, from, limit };
        let next = client.next(request).await.doing(|| doing)?;
        if output.is_json() {
            output.document(&next)?;
        } else if next.due.is_empty() {
            output.note("it is not due again by itself");
        } else {
            output.table(&COLUMNS, &rows(&next, output.now))?;
        }
        if !output.is_json() {
            next.warnings.iter().for_each(|warning| output.warning(warning));
        }
        Ok(Exit::Done)
    }
}

fn rows(next: &NextDue, now: Timestamp) -> Vec<[Cell; COLUMNS.len()]> {
    let times = next.due.iter().zip(&next.local);
    let row = |(due, local): (&Timestamp, &String)| {
        [Cell::bold(local), Cell::new(absolute(*due), Style::Dim), Cell::plain(relative(*due, now))]
    };
    times.map(row).collect()
}

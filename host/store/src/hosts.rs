//! When the host was up, in `history.db`: one row for each of its runs, written over while it lasts.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskhost_core::ports::HostRun;
use taskhost_core::time::Time;

/// How long a run of the host is kept after it was last seen, counted back from the newest.
pub const MAX_HOST_RUN_AGE: Duration = Duration::from_secs(90 * 86_400);

/// The most runs of the host that are kept; the oldest go.
pub const MAX_HOST_RUNS: u32 = 10_000;

/// Writes what is known of a run of the host, and lets go of the oldest ones if it is new.
pub(crate) fn write(conn: &Connection, run: &HostRun) -> rusqlite::Result<()> {
    let row = params![run.started.0, run.seen.0, run.stopped.map(|stopped| stopped.0), run.claimed.0];
    let updated = conn
        .prepare_cached("UPDATE host_runs SET seen = ?2, stopped = ?3, claimed = ?4 WHERE started = ?1")?
        .execute(row)?;
    if updated > 0 {
        return Ok(());
    }
    conn.execute("INSERT INTO host_runs (started, seen, stopped, claimed) VALUES (?1, ?2, ?3, ?4)", row)?;
    // Not this one itself, whatever the clock was before.
    conn.execute(
        "DELETE FROM host_runs WHERE started <> ?1 AND (seen < ?2 OR number <= (
             SELECT number FROM host_runs ORDER BY number DESC LIMIT 1 OFFSET ?3))",
        params![run.started.0, run.seen.0.saturating_sub(MAX_HOST_RUN_AGE.as_nanos() as i64), MAX_HOST_RUNS],
    )?;
    Ok(())
}

/// The run of the host that began last, whatever the clock said.
pub(crate) fn newest(conn: &Connection) -> rusqlite::Result<Option<HostRun>> {
    conn.query_row("SELECT started, seen, stopped, claimed FROM host_runs ORDER BY number DESC LIMIT 1", [], parse)
        .optional()
}

/// The runs of the host that touch the time between, oldest first.
pub(crate) fn between(conn: &Connection, from: Time, until: Time) -> rusqlite::Result<Vec<HostRun>> {
    conn.prepare_cached(
        "SELECT started, seen, stopped, claimed FROM host_runs
         WHERE started < ?2 AND coalesce(stopped, seen) >= ?1 ORDER BY started",
    )?
    .query_map([from.0, until.0], parse)?
    .collect()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<HostRun> {
    Ok(HostRun {
        started: Time(row.get(0)?),
        seen: Time(row.get(1)?),
        stopped: row.get::<_, Option<i64>>(2)?.map(Time),
        claimed: Time(row.get(3)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::{HISTORY, migrate};

    fn run(started: i64, seen: i64) -> HostRun {
        HostRun { started: Time(started), seen: Time(seen), stopped: None, claimed: Time(seen) }
    }

    fn memory(runs: impl IntoIterator<Item = HostRun>) -> Connection {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("a schema");
        runs.into_iter().for_each(|run| write(&conn, &run).expect("writes"));
        conn
    }

    fn started(conn: &Connection) -> Vec<i64> {
        let all = between(conn, Time(i64::MIN), Time(i64::MAX)).expect("reads");
        all.into_iter().map(|run| run.started.0).collect()
    }

    #[test]
    fn runs_that_ended_too_long_ago_go_with_the_next_one() {
        let conn = memory([run(1, 2), run(3, 4), run(5, 6)]);
        let now = Time(4).saturating_add(MAX_HOST_RUN_AGE).0;
        write(&conn, &run(5, now)).expect("writes");
        assert_eq!(started(&conn), [1, 3, 5]);
        write(&conn, &run(now, now)).expect("writes");
        assert_eq!(started(&conn), [3, 5, now]);
    }

    #[test]
    fn of_too_many_the_oldest_go_but_never_the_one_that_is_written() {
        let most = i64::from(MAX_HOST_RUNS);
        let conn = memory((1..=most + 1).map(|number| run(number, number)));
        assert_eq!(started(&conn), (2..=most + 1).collect::<Vec<_>>());
        write(&conn, &run(0, 0)).expect("writes with the clock set back");
        assert_eq!(started(&conn)[..2], [0, 3], "the one that began first went");
    }

    #[test]
    fn the_newest_is_the_one_that_began_last_whatever_the_clock_said() {
        let conn = memory([run(100, 200), run(10, 20)]);
        write(&conn, &run(10, 30)).expect("writes it over");
        assert_eq!(newest(&conn).expect("reads"), Some(run(10, 30)));
        write(&conn, &run(100, 210)).expect("writes an older one over");
        assert_eq!(newest(&conn).expect("reads"), Some(run(10, 30)));
    }

    #[test]
    fn runs_that_an_older_schema_has_are_taken_to_have_begun_in_the_order_of_their_starts() {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), &HISTORY[..4]).expect("the schema before");
        conn.execute_batch("INSERT INTO host_runs VALUES (30, 40, NULL, 45), (10, 20, 20, 20)").expect("two runs");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("the schema of today");
        assert_eq!(started(&conn), [10, 30]);
        assert_eq!(newest(&conn).expect("reads"), Some(HostRun { claimed: Time(45), ..run(30, 40) }));
    }
}

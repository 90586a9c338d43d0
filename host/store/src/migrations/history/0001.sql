-- What tasks did and what they wrote. May be lost without harm to the definitions, so it is a file of its own. Ids and
-- times as in the definitions; `format` is the version of the encoding beside it.

CREATE TABLE unit_state (
    task INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

-- What became of due times. A record that stands for several keeps its first one while it grows.
CREATE TABLE runs (
    task INTEGER NOT NULL,
    first_due INTEGER NOT NULL,
    backfill INTEGER NOT NULL,
    due INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    format INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (task, first_due, backfill)
) STRICT, WITHOUT ROWID;

-- For reading newest first, and for dropping the oldest.
CREATE INDEX runs_by_due ON runs (task, due);

-- The same for the few that people look for.
CREATE INDEX non_successes_by_due ON runs (task, due) WHERE outcome <> 'success';

-- Runs that were about to start and of which no end is known.
CREATE TABLE starts (
    task INTEGER NOT NULL,
    due INTEGER NOT NULL,
    backfill INTEGER NOT NULL,
    format INTEGER NOT NULL,
    run BLOB NOT NULL,
    PRIMARY KEY (task, due, backfill)
) STRICT, WITHOUT ROWID;

-- When the host was up. `stopped` is missing where it crashed or still runs.
CREATE TABLE host_runs (
    started INTEGER PRIMARY KEY,
    seen INTEGER NOT NULL,
    stopped INTEGER,
    claimed INTEGER NOT NULL
) STRICT;

-- `failed`: whether the chunk has lines of a run that did not succeed.
CREATE TABLE log_chunks (
    task INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    first_time INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (task, first_seq)
) STRICT, WITHOUT ROWID;

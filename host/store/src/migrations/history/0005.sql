-- The runs of the host in the order in which they began, whatever the clock said then: after it was set back, the run that went on
-- last is not the one with the latest start.
ALTER TABLE host_runs RENAME TO host_runs_by_time;

CREATE TABLE host_runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    started INTEGER NOT NULL UNIQUE,
    seen INTEGER NOT NULL,
    stopped INTEGER,
    claimed INTEGER NOT NULL
) STRICT;

INSERT INTO host_runs (started, seen, stopped, claimed)
    SELECT started, seen, stopped, claimed FROM host_runs_by_time ORDER BY started;

DROP TABLE host_runs_by_time;

-- What tasks did and what they wrote. May be lost without harm to the definitions, so it is a file of its own. Ids and
-- times as in the definitions.

CREATE TABLE unit_state (
    task INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    state BLOB NOT NULL
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

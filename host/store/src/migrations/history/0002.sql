-- What successes of fast tasks change of their states: patches, one behind the other. `start` counts the bytes of all that were
-- before. A state is brought up to date by the patches of its task that begin at or after its place in the journal.

CREATE TABLE journal (
    start INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    patches BLOB NOT NULL
) STRICT;

ALTER TABLE unit_state ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;

-- Log lines of many tasks that have few each, as they came; in the end they become `log_chunks`. A slice is those tasks whose ids
-- begin alike.
CREATE TABLE log_blocks (
    slice INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    format INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (slice, seq)
) STRICT, WITHOUT ROWID;

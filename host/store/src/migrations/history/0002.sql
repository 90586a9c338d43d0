-- What successes of fast tasks change of their states: patches, one behind the other. `start` counts the bytes of all that were
-- before. A state is brought up to date by the patches of its task that begin at or after its place in the journal.

CREATE TABLE journal (
    start INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    patches BLOB NOT NULL
) STRICT;

ALTER TABLE unit_state ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;

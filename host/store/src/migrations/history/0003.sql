-- Blocks of log lines under one number each: the slice above 48 bits of `seq`. With two numbers as its key, a table keeps rows in an
-- index, and whoever looks for a place there reads the rows whole that lie beside it.
ALTER TABLE log_blocks RENAME TO log_blocks_by_slice;

CREATE TABLE log_blocks (
    place INTEGER PRIMARY KEY,
    format INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

INSERT INTO log_blocks SELECT slice << 48 | seq, format, data FROM log_blocks_by_slice ORDER BY slice, seq;

DROP TABLE log_blocks_by_slice;

-- Timelines get a turn, texts the version of their renderer, the sequence its lanes; jobs get what they keep.

ALTER TABLE customer ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE customer ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE conversation ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE message ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE note ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE record ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- What an older renderer made. Empty once the re-rendering is through, and of no cost to rows that are up to date.
-- A new renderer version needs these indexes anew, in a migration.
CREATE INDEX customer_outdated ON customer (org, id) WHERE version < 2;
CREATE INDEX conversation_outdated ON conversation (org, id) WHERE version < 2;
CREATE INDEX message_outdated ON message (org, id) WHERE version < 2;
CREATE INDEX note_outdated ON note (org, id) WHERE version < 2;
CREATE INDEX record_outdated ON record (kind, org, id) WHERE version < 2;

-- `seq` is the newest event's number, `at` the newest updatedAt given and `used` how many records of a kind share it,
-- `gone` the newest number that is no longer kept.
CREATE TABLE lane (
    org BLOB NOT NULL,
    n INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    used INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (org, n)
) WITHOUT ROWID;

-- The one sequence. An event's id is made of its moment, lane and number.
CREATE TABLE lane_event (
    org BLOB NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    customer BLOB,
    actor BLOB,
    rev INTEGER NOT NULL,
    changes TEXT,
    PRIMARY KEY (org, lane, seq)
) WITHOUT ROWID;
INSERT INTO lane_event (org, lane, seq, at, verb, kind, object, customer, actor, rev, changes)
    SELECT org, 0, row_number() OVER (PARTITION BY org ORDER BY seq), at, verb, kind, object, customer, actor, rev, changes
    FROM event;
DROP TABLE event;
ALTER TABLE lane_event RENAME TO event;
-- A lane begins after every moment that was given, so that no record has its first. An import gave some that lie ahead of
-- their events. A moment far ahead of all that happened (callers could give one) counts for nothing: it would pin the lane.
WITH o AS MATERIALIZED
    (SELECT id, coalesce((SELECT max(at) FROM event WHERE org = org.id), created_at) + 86400000 AS latest FROM org)
INSERT INTO lane (org, n, seq, at, used, gone)
    SELECT o.id, 0, (SELECT coalesce(max(seq), 0) FROM event WHERE org = o.id), (SELECT coalesce(max(at) + 1, 0) FROM (
        SELECT max(at) AS at FROM event WHERE org = o.id
        UNION ALL SELECT max(updated_at) FROM customer WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM conversation WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM message WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM note WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM record WHERE org = o.id AND updated_at <= o.latest)), 0, 0
    FROM o;

-- Work that runs by itself: who does it, what failed, how far it came.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder BLOB NOT NULL,
    ends_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE trouble (
    job TEXT NOT NULL,
    org BLOB NOT NULL,
    item BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    retry_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (job, org, item)
) WITHOUT ROWID;
CREATE TABLE follower (
    name TEXT NOT NULL,
    org BLOB NOT NULL,
    position TEXT NOT NULL,
    PRIMARY KEY (name, org)
) WITHOUT ROWID;

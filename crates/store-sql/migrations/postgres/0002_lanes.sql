-- Timelines get a turn, texts the version of their renderer, the sequence its lanes; jobs get what they keep.

ALTER TABLE customer ADD COLUMN turn bigint NOT NULL DEFAULT 0;
ALTER TABLE customer ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE conversation ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE message ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE note ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE record ADD COLUMN version bigint NOT NULL DEFAULT 1;

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
    org bytea NOT NULL,
    n bigint NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    used bigint NOT NULL,
    gone bigint NOT NULL,
    PRIMARY KEY (org, n)
);

-- The one sequence. An event's id is made of its moment, lane and number.
CREATE TABLE lane_event (
    org bytea NOT NULL,
    lane bigint NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    verb text NOT NULL,
    kind text NOT NULL,
    object bytea NOT NULL,
    customer bytea,
    actor bytea,
    rev bigint NOT NULL,
    changes text,
    CONSTRAINT lane_event_key PRIMARY KEY (org, lane, seq)
);
INSERT INTO lane_event (org, lane, seq, at, verb, kind, object, customer, actor, rev, changes)
    SELECT org, lane, row_number() OVER (PARTITION BY org, lane ORDER BY seq), at, verb, kind, object, customer, actor, rev, changes
    FROM (SELECT *, CASE WHEN customer IS NULL THEN 0 ELSE 1 + (get_byte(customer, 10) * 256 + get_byte(customer, 11)) % 15 END AS lane FROM event) numbered;
DROP TABLE event;
ALTER TABLE lane_event RENAME TO event;
-- A lane begins after every moment that was given, so that no record has its first. An import gave some that lie ahead of
-- their events. A moment far ahead of all that happened (callers could give one) counts for nothing: it would pin the lane.
WITH o AS MATERIALIZED
    (SELECT id, coalesce((SELECT max(at) FROM event WHERE org = org.id), created_at) + 86400000 AS latest FROM org)
INSERT INTO lane (org, n, seq, at, used, gone)
    SELECT given.org, l.n, (SELECT coalesce(max(seq), 0) FROM event e WHERE e.org = given.org AND e.lane = l.n), given.at, 0, 0
    FROM generate_series(0, 15) AS l (n) CROSS JOIN (SELECT o.id AS org, (SELECT coalesce(max(at) + 1, 0) FROM (
        SELECT max(at) AS at FROM event WHERE org = o.id
        UNION ALL SELECT max(updated_at) FROM customer WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM conversation WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM message WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM note WHERE org = o.id AND updated_at <= o.latest
        UNION ALL SELECT max(updated_at) FROM record WHERE org = o.id AND updated_at <= o.latest) AS moments) AS at
        FROM o) AS given;

-- Work that runs by itself: who does it, what failed, how far it came.
CREATE TABLE lease (
    name text NOT NULL PRIMARY KEY,
    holder bytea NOT NULL,
    ends_at bigint NOT NULL
);
CREATE TABLE trouble (
    job text NOT NULL,
    org bytea NOT NULL,
    item bytea NOT NULL,
    attempts bigint NOT NULL,
    retry_at bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (job, org, item)
);
CREATE TABLE follower (
    name text NOT NULL,
    org bytea NOT NULL,
    position text NOT NULL,
    PRIMARY KEY (name, org)
);

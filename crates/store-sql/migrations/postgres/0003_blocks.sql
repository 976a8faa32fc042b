-- Counted blocks: lists know how many rows lie before each of their parts, so that a page is found by its number without
-- walking to it; and `fromDate` gets an index of what it compares.

-- A block of a list covers its rows that show with `created_at` from `at` up to the next block's. `list` is a kind and what
-- it is listed by (1 customers of the org, 2 conversations, 3 messages, 4 notes of the org, 5 conversations, 6 messages,
-- 7 notes of a customer, 8 messages, 9 notes of a conversation), `scope` the org, customer or conversation. The first
-- block's `at` lies before every moment. A list without blocks is walked: it is short, or not counted yet.
-- `n` and `rows_before` are as of the last count; what has changed since stands in `block_change`.
CREATE TABLE block (
    org bytea NOT NULL,
    list bigint NOT NULL,
    scope bytea NOT NULL,
    at bigint NOT NULL,
    n bigint NOT NULL,
    rows_before bigint NOT NULL,
    PRIMARY KEY (org, list, scope, at)
);
CREATE INDEX block_by_number ON block (org, list, scope, rows_before, at);

-- Rows a block has gained or lost since it was counted. The lane is part of the key: whoever writes has locked a lane, and
-- so never waits here for one who writes in another.
CREATE TABLE block_change (
    org bytea NOT NULL,
    list bigint NOT NULL,
    scope bytea NOT NULL,
    at bigint NOT NULL,
    lane bigint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (org, list, scope, at, lane)
);

-- Lists to look at: they may have become long, or have a block that is too large.
CREATE TABLE block_due (
    org bytea NOT NULL,
    list bigint NOT NULL,
    scope bytea NOT NULL,
    PRIMARY KEY (org, list, scope)
);

INSERT INTO block (org, list, scope, at, n, rows_before)
    SELECT o.id, 1, o.id, -4611686018427387904, (SELECT count(*) FROM customer r WHERE r.org = o.id AND r.hidden = 0), 0 FROM org o;
INSERT INTO block (org, list, scope, at, n, rows_before)
    SELECT o.id, 2, o.id, -4611686018427387904, (SELECT count(*) FROM conversation r WHERE r.org = o.id AND r.hidden = 0), 0 FROM org o;
INSERT INTO block (org, list, scope, at, n, rows_before)
    SELECT o.id, 3, o.id, -4611686018427387904, (SELECT count(*) FROM message r WHERE r.org = o.id AND r.hidden = 0), 0 FROM org o;
INSERT INTO block (org, list, scope, at, n, rows_before)
    SELECT o.id, 4, o.id, -4611686018427387904, (SELECT count(*) FROM note r WHERE r.org = o.id AND r.hidden = 0), 0 FROM org o;
INSERT INTO block_due (org, list, scope) SELECT org, list, scope FROM block;
INSERT INTO block_due (org, list, scope)
    SELECT org, 5, customer FROM conversation WHERE hidden = 0 GROUP BY org, customer HAVING count(*) > 256;
INSERT INTO block_due (org, list, scope)
    SELECT org, 6, customer FROM message WHERE hidden = 0 GROUP BY org, customer HAVING count(*) > 256;
INSERT INTO block_due (org, list, scope)
    SELECT org, 7, customer FROM note WHERE hidden = 0 GROUP BY org, customer HAVING count(*) > 256;
INSERT INTO block_due (org, list, scope)
    SELECT org, 8, conversation FROM message WHERE hidden = 0 GROUP BY org, conversation HAVING count(*) > 256;
INSERT INTO block_due (org, list, scope)
    SELECT org, 9, conversation FROM note WHERE hidden = 0 GROUP BY org, conversation HAVING count(*) > 256;

-- The keys of a customer's list by what `fromDate` compares, with what gives their order.
CREATE INDEX conversation_by_update ON conversation (org, customer, updated_at) INCLUDE (created_at, id) WHERE hidden = 0;

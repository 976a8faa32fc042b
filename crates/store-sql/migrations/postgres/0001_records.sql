-- Ids are 12-byte bytea values, instants integer milliseconds. `doc` is the finished resource object.
-- `hidden`: 0 shows, 1 deleted, 2 its conversation was deleted, 4 its customer was deleted.
-- Every key begins with `org`.

CREATE TABLE org (
    id bytea NOT NULL PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at bigint NOT NULL
);

CREATE TABLE credential (
    hash bytea NOT NULL PRIMARY KEY,
    org bytea NOT NULL,
    token bytea NOT NULL,
    user_id bytea NOT NULL,
    roles text NOT NULL,
    cidr text,
    expires_at bigint
);
CREATE UNIQUE INDEX credential_by_token ON credential (org, token);

CREATE TABLE customer (
    org bytea NOT NULL,
    id bytea NOT NULL,
    hidden bigint NOT NULL,
    rev bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    doc text NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX customer_by_creation ON customer (org, created_at, id) WHERE hidden = 0;
CREATE INDEX customer_by_update ON customer (org, updated_at, id) WHERE hidden = 0;

-- PostgreSQL keeps rows in a heap; the list's order is an index.
CREATE TABLE conversation (
    org bytea NOT NULL,
    customer bytea NOT NULL,
    hidden bigint NOT NULL,
    created_at bigint NOT NULL,
    id bytea NOT NULL,
    rev bigint NOT NULL,
    updated_at bigint NOT NULL,
    wake_at bigint,
    external_id text,
    doc text NOT NULL,
    state text,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX conversation_by_external_id ON conversation (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX conversation_by_creation ON conversation (org, created_at, id) WHERE hidden = 0;
-- The list's order; skipping to page N and `fromDate` read this instead of the rows.
CREATE INDEX conversation_keys ON conversation (org, customer, hidden, created_at DESC, id DESC, updated_at);
CREATE INDEX conversation_due ON conversation (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE message (
    org bytea NOT NULL,
    conversation bytea NOT NULL,
    created_at bigint NOT NULL,
    id bytea NOT NULL,
    customer bytea NOT NULL,
    hidden bigint NOT NULL,
    rev bigint NOT NULL,
    updated_at bigint NOT NULL,
    external_id text,
    doc text NOT NULL,
    PRIMARY KEY (org, conversation, created_at, id)
);
CREATE UNIQUE INDEX message_by_id ON message (org, id);
CREATE UNIQUE INDEX message_by_external_id ON message (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX message_by_customer ON message (org, customer, created_at, id) WHERE hidden = 0;
CREATE INDEX message_by_creation ON message (org, created_at, id) WHERE hidden = 0;

CREATE TABLE note (
    org bytea NOT NULL,
    conversation bytea NOT NULL,
    created_at bigint NOT NULL,
    id bytea NOT NULL,
    customer bytea NOT NULL,
    hidden bigint NOT NULL,
    rev bigint NOT NULL,
    updated_at bigint NOT NULL,
    external_id text,
    doc text NOT NULL,
    PRIMARY KEY (org, conversation, created_at, id)
);
CREATE UNIQUE INDEX note_by_id ON note (org, id);
CREATE UNIQUE INDEX note_by_external_id ON note (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX note_by_customer ON note (org, customer, created_at, id) WHERE hidden = 0;
CREATE INDEX note_by_creation ON note (org, created_at, id) WHERE hidden = 0;

-- Users, teams, tags and tokens: few, small, read whole.
CREATE TABLE record (
    org bytea NOT NULL,
    kind text NOT NULL,
    id bytea NOT NULL,
    hidden bigint NOT NULL,
    rev bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    label text,
    doc text NOT NULL,
    PRIMARY KEY (org, kind, id)
);
CREATE INDEX record_by_creation ON record (org, kind, created_at, id);

-- Names only one record may hold: e-mail addresses, phone numbers, tag names …
CREATE TABLE identifier (
    org bytea NOT NULL,
    space text NOT NULL,
    value text NOT NULL,
    owner bytea NOT NULL,
    PRIMARY KEY (org, space, value)
);
CREATE INDEX identifier_by_owner ON identifier (org, owner);

CREATE TABLE membership (
    org bytea NOT NULL,
    user_id bytea NOT NULL,
    team bytea NOT NULL,
    PRIMARY KEY (org, user_id, team)
);

-- Kept counts, spread over slots.
CREATE TABLE tally (
    org bytea NOT NULL,
    name text NOT NULL,
    slot bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (org, name, slot)
);

-- The one sequence: every applied change leaves its events here, in the org's order.
CREATE TABLE event (
    org bytea NOT NULL,
    seq bigint NOT NULL,
    id bytea NOT NULL,
    at bigint NOT NULL,
    verb text NOT NULL,
    kind text NOT NULL,
    object bytea NOT NULL,
    customer bytea,
    actor bytea,
    rev bigint NOT NULL,
    changes text,
    -- The writing transaction: a reader holds back at the oldest one still running, so no number is skipped.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (org, seq)
);

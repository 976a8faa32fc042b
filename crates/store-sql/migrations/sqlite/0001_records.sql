-- Ids are 12-byte blobs, instants integer milliseconds. `doc` is the finished resource object.
-- `hidden`: 0 shows, 1 deleted, 2 its conversation was deleted, 4 its customer was deleted.
-- Every key begins with `org`.

CREATE TABLE org (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE credential (
    hash BLOB NOT NULL PRIMARY KEY,
    org BLOB NOT NULL,
    token BLOB NOT NULL,
    user_id BLOB NOT NULL,
    roles TEXT NOT NULL,
    cidr TEXT,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX credential_by_token ON credential (org, token);

CREATE TABLE customer (
    org BLOB NOT NULL,
    id BLOB NOT NULL,
    hidden INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (org, id)
) WITHOUT ROWID;
CREATE INDEX customer_by_creation ON customer (org, created_at, id) WHERE hidden = 0;
CREATE INDEX customer_by_update ON customer (org, updated_at, id) WHERE hidden = 0;

-- The rows of one customer's list lie together, newest first, in the order they are answered.
CREATE TABLE conversation (
    org BLOB NOT NULL,
    customer BLOB NOT NULL,
    hidden INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    rev INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    wake_at INTEGER,
    external_id TEXT,
    doc TEXT NOT NULL,
    state TEXT,
    PRIMARY KEY (org, customer, hidden, created_at DESC, id DESC)
) WITHOUT ROWID;
CREATE UNIQUE INDEX conversation_by_id ON conversation (org, id);
CREATE UNIQUE INDEX conversation_by_external_id ON conversation (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX conversation_by_creation ON conversation (org, created_at, id) WHERE hidden = 0;
-- The list's keys without its texts: skipping to page N and `fromDate` read this instead of the rows.
CREATE INDEX conversation_keys ON conversation (org, customer, hidden, created_at DESC, id DESC, updated_at);
CREATE INDEX conversation_due ON conversation (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE message (
    org BLOB NOT NULL,
    conversation BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    customer BLOB NOT NULL,
    hidden INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    external_id TEXT,
    doc TEXT NOT NULL,
    PRIMARY KEY (org, conversation, created_at, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX message_by_id ON message (org, id);
CREATE UNIQUE INDEX message_by_external_id ON message (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX message_by_customer ON message (org, customer, created_at, id) WHERE hidden = 0;
CREATE INDEX message_by_creation ON message (org, created_at, id) WHERE hidden = 0;

CREATE TABLE note (
    org BLOB NOT NULL,
    conversation BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    customer BLOB NOT NULL,
    hidden INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    external_id TEXT,
    doc TEXT NOT NULL,
    PRIMARY KEY (org, conversation, created_at, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX note_by_id ON note (org, id);
CREATE UNIQUE INDEX note_by_external_id ON note (org, external_id) WHERE external_id IS NOT NULL AND hidden = 0;
CREATE INDEX note_by_customer ON note (org, customer, created_at, id) WHERE hidden = 0;
CREATE INDEX note_by_creation ON note (org, created_at, id) WHERE hidden = 0;

-- Users, teams, tags and tokens: few, small, read whole.
CREATE TABLE record (
    org BLOB NOT NULL,
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    hidden INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    label TEXT,
    doc TEXT NOT NULL,
    PRIMARY KEY (org, kind, id)
) WITHOUT ROWID;
CREATE INDEX record_by_creation ON record (org, kind, created_at, id);

-- Names only one record may hold: e-mail addresses, phone numbers, tag names …
CREATE TABLE identifier (
    org BLOB NOT NULL,
    space TEXT NOT NULL,
    value TEXT NOT NULL,
    owner BLOB NOT NULL,
    PRIMARY KEY (org, space, value)
) WITHOUT ROWID;
CREATE INDEX identifier_by_owner ON identifier (org, owner);

CREATE TABLE membership (
    org BLOB NOT NULL,
    user_id BLOB NOT NULL,
    team BLOB NOT NULL,
    PRIMARY KEY (org, user_id, team)
) WITHOUT ROWID;

-- Kept counts, spread over slots.
CREATE TABLE tally (
    org BLOB NOT NULL,
    name TEXT NOT NULL,
    slot INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (org, name, slot)
) WITHOUT ROWID;

-- The one sequence: every applied change leaves its events here, in the org's order.
CREATE TABLE event (
    org BLOB NOT NULL,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    kind TEXT NOT NULL,
    object BLOB NOT NULL,
    customer BLOB,
    actor BLOB,
    rev INTEGER NOT NULL,
    changes TEXT,
    PRIMARY KEY (org, seq)
) WITHOUT ROWID;

-- Sign-in of people: their passwords, where they signed in from, and failures; and what a session may do, which is looked
-- up along with its token, so that a change of roles holds from the next request on.

-- Hashes of passwords lie outside the records, which everybody with the right to read users reads.
CREATE TABLE password (
    org BLOB NOT NULL,
    user_id BLOB NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (org, user_id)
) WITHOUT ROWID;

-- Networks somebody signed in from, the last few of each user.
CREATE TABLE network (
    org BLOB NOT NULL,
    user_id BLOB NOT NULL,
    prefix TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (org, user_id, prefix)
) WITHOUT ROWID;

-- Failures to sign in, by a hash of org, address and, for one of the two, network: also of orgs and people there are not,
-- so that nobody can tell. Rows are of the last minutes.
CREATE TABLE attempt (
    hash BLOB NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    since INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX attempt_by_age ON attempt (last_at);

-- The roles of users (kind 1) and role groups (3), separated by spaces, as their records say.
CREATE TABLE holding (
    org BLOB NOT NULL,
    kind INTEGER NOT NULL,
    owner BLOB NOT NULL,
    roles TEXT NOT NULL,
    PRIMARY KEY (org, kind, owner)
) WITHOUT ROWID;

-- The role groups of users (kind 1) and teams (2), as their records say.
CREATE TABLE assignment (
    org BLOB NOT NULL,
    kind INTEGER NOT NULL,
    owner BLOB NOT NULL,
    role_group BLOB NOT NULL,
    PRIMARY KEY (org, kind, owner, role_group)
) WITHOUT ROWID;

-- A session's credential has no roles of its own.
CREATE INDEX credential_by_user ON credential (org, user_id);

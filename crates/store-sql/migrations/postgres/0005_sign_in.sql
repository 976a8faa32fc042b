-- Sign-in of people: their passwords, where they signed in from, and failures; and what a session may do, which is looked
-- up along with its token, so that a change of roles holds from the next request on.

-- Hashes of passwords lie outside the records, which everybody with the right to read users reads.
CREATE TABLE password (
    org bytea NOT NULL,
    user_id bytea NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (org, user_id)
);

-- Networks somebody signed in from, the last few of each user.
CREATE TABLE network (
    org bytea NOT NULL,
    user_id bytea NOT NULL,
    prefix text NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (org, user_id, prefix)
);

-- Failures to sign in, by a hash of org, address and, for one of the two, network: also of orgs and people there are not,
-- so that nobody can tell. Rows are of the last minutes.
CREATE TABLE attempt (
    hash bytea NOT NULL PRIMARY KEY,
    failures bigint NOT NULL,
    since bigint NOT NULL,
    last_at bigint NOT NULL
);
CREATE INDEX attempt_by_age ON attempt (last_at);

-- The roles of users (kind 1) and role groups (3), separated by spaces, as their records say.
CREATE TABLE holding (
    org bytea NOT NULL,
    kind bigint NOT NULL,
    owner bytea NOT NULL,
    roles text NOT NULL,
    PRIMARY KEY (org, kind, owner)
);

-- The role groups of users (kind 1) and teams (2), as their records say.
CREATE TABLE assignment (
    org bytea NOT NULL,
    kind bigint NOT NULL,
    owner bytea NOT NULL,
    role_group bytea NOT NULL,
    PRIMARY KEY (org, kind, owner, role_group)
);

-- A session's credential has no roles of its own.
CREATE INDEX credential_by_user ON credential (org, user_id);

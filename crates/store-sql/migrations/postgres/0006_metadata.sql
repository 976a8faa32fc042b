-- How an org describes its custom attributes: how often that has changed, and what of them is sensitive, as JSON. It comes
-- with every look-up of a token, so that whoever must not see something is known when they come in.

ALTER TABLE org ADD COLUMN described bigint NOT NULL DEFAULT 0;
ALTER TABLE org ADD COLUMN masks text;

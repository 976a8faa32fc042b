-- Companies may be many, and are found by their names.

CREATE INDEX record_by_label ON record (org, kind, label, created_at, id) WHERE label IS NOT NULL;

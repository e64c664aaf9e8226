-- What only a quorum may ask for. The bytes are what officers sign; they are written once.
CREATE TABLE plan (
    id        TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    bytes     BLOB    NOT NULL CHECK (length(bytes) BETWEEN 1 AND 4096),
    hash      TEXT    NOT NULL UNIQUE CHECK (length(hash) = 64),
    requester TEXT    NOT NULL CHECK (length(requester) BETWEEN 1 AND 255),
    deed      TEXT    NOT NULL CHECK (deed IN ('destroy-key', 'report-compromise', 'export-key', 'import-key', 'change-policy',
                                               'change-officers', 'use-root-ca')),
    resource  TEXT    NOT NULL CHECK (length(resource) BETWEEN 1 AND 80),
    acquirer  TEXT    CHECK (length(acquirer) BETWEEN 1 AND 36),
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('open', 'executed', 'cancelled')),
    closed_by TEXT    CHECK (length(closed_by) BETWEEN 1 AND 255),
    closed_at INTEGER,
    CHECK (created < expires),
    CHECK ((state = 'open') = (closed_at IS NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL))
) STRICT;
CREATE INDEX plan_by_time ON plan (created, id);

CREATE TABLE approval (
    plan      TEXT    NOT NULL REFERENCES plan (id),
    officer   TEXT    NOT NULL CHECK (length(officer) BETWEEN 1 AND 255),
    signature BLOB    NOT NULL CHECK (length(signature) = 64),
    at        INTEGER NOT NULL,
    PRIMARY KEY (plan, officer)
) STRICT;

CREATE TRIGGER plan_begins_open BEFORE INSERT ON plan
WHEN NEW.state <> 'open'
BEGIN SELECT RAISE(ABORT, 'a plan begins open'); END;

CREATE TRIGGER plan_is_what_was_signed BEFORE UPDATE ON plan
WHEN NEW.id <> OLD.id OR NEW.bytes <> OLD.bytes OR NEW.hash <> OLD.hash OR NEW.requester <> OLD.requester OR NEW.deed <> OLD.deed
    OR NEW.resource <> OLD.resource OR NEW.acquirer IS NOT OLD.acquirer OR NEW.created <> OLD.created OR NEW.expires <> OLD.expires
BEGIN SELECT RAISE(ABORT, 'a plan never changes'); END;

CREATE TRIGGER plan_life_cycle BEFORE UPDATE ON plan
WHEN OLD.state <> 'open'
BEGIN SELECT RAISE(ABORT, 'only an open plan is executed or cancelled, and once'); END;

CREATE TRIGGER plan_needs_two BEFORE UPDATE OF state ON plan
WHEN NEW.state = 'executed' AND (SELECT count(*) FROM approval WHERE plan = NEW.id) < 2
BEGIN SELECT RAISE(ABORT, 'no plan is executed on fewer than two approvals'); END;

CREATE TRIGGER plan_stays BEFORE DELETE ON plan
BEGIN SELECT RAISE(ABORT, 'a plan is never deleted'); END;

CREATE TRIGGER approval_of_an_open_plan BEFORE INSERT ON approval
WHEN EXISTS (SELECT 1 FROM plan WHERE id = NEW.plan AND (state <> 'open' OR requester = NEW.officer))
BEGIN SELECT RAISE(ABORT, 'an open plan is approved, and not by its requester'); END;

CREATE TRIGGER approval_never_changes BEFORE UPDATE ON approval
BEGIN SELECT RAISE(ABORT, 'an approval never changes'); END;

CREATE TRIGGER approval_stays BEFORE DELETE ON approval
BEGIN SELECT RAISE(ABORT, 'an approval is never deleted'); END;

-- What is in force by digest: the first of a kind was found at the first start, every later one was approved.
CREATE TABLE pinned (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq > 0),
    kind   TEXT    NOT NULL CHECK (kind IN ('policy', 'officers')),
    digest TEXT    NOT NULL CHECK (length(digest) = 64),
    plan   TEXT    UNIQUE REFERENCES plan (id),
    at     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_first_pin_of_a_kind ON pinned (kind) WHERE plan IS NULL;

CREATE TRIGGER pinned_never_changes BEFORE UPDATE ON pinned
BEGIN SELECT RAISE(ABORT, 'what was pinned stays'); END;

CREATE TRIGGER pinned_stays BEFORE DELETE ON pinned
BEGIN SELECT RAISE(ABORT, 'what was pinned stays'); END;

-- In the order of the code: the plan is executed, then what it approved is pinned.
CREATE TRIGGER pinned_was_approved BEFORE INSERT ON pinned
WHEN NEW.plan IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM plan WHERE id = NEW.plan AND state = 'executed' AND deed = 'change-' || NEW.kind)
BEGIN SELECT RAISE(ABORT, 'what is pinned was approved by a plan to change it, which is executed'); END;

-- REPLACE deletes without asking delete triggers (https://www.sqlite.org/lang_conflict.html), so it is caught at the insert.
CREATE TRIGGER plan_no_replace BEFORE INSERT ON plan
WHEN EXISTS (SELECT 1 FROM plan WHERE id = NEW.id OR hash = NEW.hash)
BEGIN SELECT RAISE(ABORT, 'there is this plan'); END;

CREATE TRIGGER approval_no_replace BEFORE INSERT ON approval
WHEN EXISTS (SELECT 1 FROM approval WHERE plan = NEW.plan AND officer = NEW.officer)
BEGIN SELECT RAISE(ABORT, 'there is this approval'); END;

CREATE TRIGGER pinned_no_replace BEFORE INSERT ON pinned
WHEN EXISTS (SELECT 1 FROM pinned WHERE seq = NEW.seq OR plan = NEW.plan OR (NEW.plan IS NULL AND plan IS NULL AND kind = NEW.kind))
BEGIN SELECT RAISE(ABORT, 'there is this pin'); END;

-- What only a quorum may ask for. The bytes are what officers sign; they are written once.
CREATE TABLE plan (
    id        TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    bytes     BYTEA   NOT NULL CHECK (length(bytes) BETWEEN 1 AND 4096),
    hash      TEXT    NOT NULL UNIQUE CHECK (length(hash) = 64),
    requester TEXT    NOT NULL CHECK (length(requester) BETWEEN 1 AND 255),
    deed      TEXT    NOT NULL CHECK (deed IN ('destroy-key', 'report-compromise', 'export-key', 'import-key', 'change-policy',
                                               'change-officers', 'use-root-ca')),
    resource  TEXT    NOT NULL CHECK (length(resource) BETWEEN 1 AND 80),
    acquirer  TEXT    CHECK (length(acquirer) BETWEEN 1 AND 36),
    created   BIGINT  NOT NULL,
    expires   BIGINT  NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('open', 'executed', 'cancelled')),
    closed_by TEXT    CHECK (length(closed_by) BETWEEN 1 AND 255),
    closed_at BIGINT,
    CHECK (created < expires),
    CHECK ((state = 'open') = (closed_at IS NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL))
);
CREATE INDEX plan_by_time ON plan (created, id);

CREATE TABLE approval (
    plan      TEXT    NOT NULL REFERENCES plan (id),
    officer   TEXT    NOT NULL CHECK (length(officer) BETWEEN 1 AND 255),
    signature BYTEA   NOT NULL CHECK (length(signature) = 64),
    at        BIGINT  NOT NULL,
    PRIMARY KEY (plan, officer)
);

CREATE TRIGGER plan_begins_open BEFORE INSERT ON plan FOR EACH ROW
WHEN (NEW.state <> 'open')
EXECUTE FUNCTION refuse('a plan begins open');

CREATE TRIGGER plan_is_what_was_signed BEFORE UPDATE ON plan FOR EACH ROW
WHEN (NEW.id <> OLD.id OR NEW.bytes <> OLD.bytes OR NEW.hash <> OLD.hash OR NEW.requester <> OLD.requester OR NEW.deed <> OLD.deed
    OR NEW.resource <> OLD.resource OR NEW.acquirer IS DISTINCT FROM OLD.acquirer OR NEW.created <> OLD.created OR NEW.expires <> OLD.expires)
EXECUTE FUNCTION refuse('a plan never changes');

CREATE TRIGGER plan_life_cycle BEFORE UPDATE ON plan FOR EACH ROW
WHEN (OLD.state <> 'open')
EXECUTE FUNCTION refuse('only an open plan is executed or cancelled, and once');

CREATE FUNCTION plan_needs_two() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM approval WHERE plan = NEW.id) < 2 THEN
        RAISE EXCEPTION 'no plan is executed on fewer than two approvals' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER plan_needs_two BEFORE UPDATE OF state ON plan FOR EACH ROW
WHEN (NEW.state = 'executed')
EXECUTE FUNCTION plan_needs_two();

CREATE TRIGGER plan_stays BEFORE DELETE ON plan FOR EACH ROW
EXECUTE FUNCTION refuse('a plan is never deleted');

CREATE FUNCTION approval_of_an_open_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The lock waits for an execution that is under way, and lets none begin before this is decided.
    PERFORM 1 FROM plan WHERE id = NEW.plan FOR SHARE;
    IF EXISTS (SELECT 1 FROM plan WHERE id = NEW.plan AND (state <> 'open' OR requester = NEW.officer)) THEN
        RAISE EXCEPTION 'an open plan is approved, and not by its requester' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER approval_of_an_open_plan BEFORE INSERT ON approval FOR EACH ROW
EXECUTE FUNCTION approval_of_an_open_plan();

CREATE TRIGGER approval_never_changes BEFORE UPDATE ON approval FOR EACH ROW
EXECUTE FUNCTION refuse('an approval never changes');

CREATE TRIGGER approval_stays BEFORE DELETE ON approval FOR EACH ROW
EXECUTE FUNCTION refuse('an approval is never deleted');

-- What is in force by digest: the first of a kind was found at the first start, every later one was approved.
CREATE TABLE pinned (
    seq    BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind   TEXT    NOT NULL CHECK (kind IN ('policy', 'officers')),
    digest TEXT    NOT NULL CHECK (length(digest) = 64),
    plan   TEXT    UNIQUE REFERENCES plan (id),
    at     BIGINT  NOT NULL
);
CREATE UNIQUE INDEX one_first_pin_of_a_kind ON pinned (kind) WHERE plan IS NULL;

CREATE TRIGGER pinned_never_changes BEFORE UPDATE ON pinned FOR EACH ROW
EXECUTE FUNCTION refuse('what was pinned stays');

CREATE TRIGGER pinned_stays BEFORE DELETE ON pinned FOR EACH ROW
EXECUTE FUNCTION refuse('what was pinned stays');

-- In the order of the code: the plan is executed, then what it approved is pinned.
CREATE FUNCTION pinned_was_approved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM plan WHERE id = NEW.plan AND state = 'executed' AND deed = 'change-' || NEW.kind) THEN
        RAISE EXCEPTION 'what is pinned was approved by a plan to change it, which is executed' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pinned_was_approved BEFORE INSERT ON pinned FOR EACH ROW
WHEN (NEW.plan IS NOT NULL)
EXECUTE FUNCTION pinned_was_approved();

CREATE TRIGGER plan_no_truncate BEFORE TRUNCATE ON plan FOR EACH STATEMENT
EXECUTE FUNCTION refuse('a plan is never deleted');

CREATE TRIGGER approval_no_truncate BEFORE TRUNCATE ON approval FOR EACH STATEMENT
EXECUTE FUNCTION refuse('an approval is never deleted');

CREATE TRIGGER pinned_no_truncate BEFORE TRUNCATE ON pinned FOR EACH STATEMENT
EXECUTE FUNCTION refuse('what was pinned stays');

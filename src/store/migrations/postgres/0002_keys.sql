-- Managed keys (src/key/): a logical key, its aliases, and a row for each of its versions, for good.

CREATE TABLE key (
    name             TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    class            TEXT    NOT NULL CHECK (class IN ('kms', 'kek', 'design')),
    form             TEXT    CHECK (form IN ('key-block', 'kwp')),
    -- The tenant that owns it; none: the service.
    acquirer         TEXT    CHECK (length(acquirer) BETWEEN 1 AND 36),
    purpose          TEXT    NOT NULL CHECK (purpose IN ('sign', 'mac', 'encrypt', 'wrap', 'derive', 'ca')),
    algorithm        TEXT    NOT NULL CHECK (length(algorithm) BETWEEN 1 AND 32),
    exportable       BIGINT  NOT NULL CHECK (exportable IN (0, 1)),
    rotation_seconds BIGINT  CHECK (rotation_seconds > 0),
    protect_seconds  BIGINT  CHECK (protect_seconds > 0),
    process_seconds  BIGINT  CHECK (process_seconds > 0),
    uses_limit       BIGINT  CHECK (uses_limit > 0),
    primary_version  BIGINT ,
    created          BIGINT  NOT NULL,
    CHECK ((class = 'kek') = (form IS NOT NULL))
);
CREATE INDEX key_of_acquirer ON key (acquirer, name);

CREATE TABLE key_alias (
    alias   TEXT    NOT NULL PRIMARY KEY CHECK (length(alias) BETWEEN 1 AND 64),
    key     TEXT    NOT NULL REFERENCES key (name),
    created BIGINT  NOT NULL
);
CREATE INDEX alias_of_key ON key_alias (key);

CREATE TABLE key_version (
    key           TEXT    NOT NULL REFERENCES key (name),
    version       BIGINT  NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    label         TEXT    NOT NULL UNIQUE CHECK (length(label) BETWEEN 1 AND 200),
    origin        TEXT    NOT NULL CHECK (origin IN ('generated', 'imported', 'design')),
    state         TEXT    NOT NULL CHECK (state IN ('pre-activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    -- What is not finished yet: the key may or may not be on the token.
    intent        TEXT    CHECK (intent IN ('make', 'make-active')),
    created       BIGINT  NOT NULL,
    made          BIGINT ,
    activated     BIGINT ,
    suspended     BIGINT ,
    deactivated   BIGINT ,
    compromised   BIGINT ,
    -- The end of the waiting period, and the plan with its approvals that began it.
    destroy_at    BIGINT ,
    destroy_order TEXT    CHECK (length(destroy_order) BETWEEN 1 AND 65536),
    -- Since when the token is being asked to destroy it: from then on there is no way back.
    destroying    BIGINT ,
    destroyed     BIGINT ,
    not_before    BIGINT ,
    protect_until BIGINT ,
    not_after     BIGINT ,
    uses          BIGINT  NOT NULL DEFAULT 0 CHECK (uses >= 0),
    uses_limit    BIGINT  CHECK (uses_limit > 0),
    kcv           TEXT    CHECK (length(kcv) BETWEEN 1 AND 64),
    fingerprint   BYTEA  CHECK (length(fingerprint) = 32),
    spki          BYTEA  CHECK (length(spki) BETWEEN 1 AND 1024),
    escrow        BYTEA  CHECK (length(escrow) BETWEEN 1 AND 8192),
    PRIMARY KEY (key, version),
    CHECK ((intent IS NULL) = (made IS NOT NULL)),
    CHECK (made IS NOT NULL OR (state = 'pre-activation' AND destroy_at IS NULL AND escrow IS NULL)),
    CHECK (state <> 'active' OR (activated IS NOT NULL AND deactivated IS NULL AND destroy_at IS NULL)),
    CHECK (state <> 'suspended' OR suspended IS NOT NULL),
    CHECK (state <> 'deactivated' OR deactivated IS NOT NULL),
    CHECK (state <> 'compromised' OR compromised IS NOT NULL),
    CHECK (compromised IS NULL OR state IN ('compromised', 'destroyed')),
    CHECK ((state = 'destroyed') = (destroyed IS NOT NULL)),
    CHECK (state <> 'destroyed' OR (destroy_at IS NOT NULL AND destroyed >= destroy_at AND escrow IS NULL)),
    CHECK ((destroy_at IS NULL) = (destroy_order IS NULL)),
    CHECK (destroying IS NULL OR (destroy_at IS NOT NULL AND destroying >= destroy_at)),
    CHECK (state <> 'destroyed' OR destroying IS NOT NULL),
    CHECK (uses_limit IS NULL OR uses <= uses_limit),
    CHECK (fingerprint IS NULL OR spki IS NOT NULL)
);
CREATE UNIQUE INDEX one_intent_of_key ON key_version (key) WHERE intent IS NOT NULL;
CREATE INDEX key_version_to_destroy ON key_version (destroy_at) WHERE destroy_at IS NOT NULL AND destroyed IS NULL;
ALTER TABLE key ADD FOREIGN KEY (name, primary_version) REFERENCES key_version (key, version);

CREATE TRIGGER key_stays_itself BEFORE UPDATE ON key FOR EACH ROW
WHEN (NEW.name IS DISTINCT FROM OLD.name OR NEW.class IS DISTINCT FROM OLD.class OR NEW.form IS DISTINCT FROM OLD.form
    OR NEW.acquirer IS DISTINCT FROM OLD.acquirer OR NEW.purpose IS DISTINCT FROM OLD.purpose
    OR NEW.algorithm IS DISTINCT FROM OLD.algorithm OR NEW.exportable IS DISTINCT FROM OLD.exportable
    OR NEW.created IS DISTINCT FROM OLD.created)
EXECUTE FUNCTION refuse('what a key is does not change');

CREATE TRIGGER key_stays BEFORE DELETE ON key FOR EACH ROW
EXECUTE FUNCTION refuse('a key is never deleted');

-- A WHEN of PostgreSQL has no subquery.
CREATE FUNCTION refuse_name_and_alias() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'key' THEN
        IF EXISTS (SELECT 1 FROM key_alias WHERE alias = NEW.name) THEN
            RAISE EXCEPTION 'the name of a key is not an alias' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF EXISTS (SELECT 1 FROM key WHERE name = NEW.alias) THEN
        RAISE EXCEPTION 'an alias is not the name of a key' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alias_is_no_name BEFORE INSERT ON key_alias FOR EACH ROW EXECUTE FUNCTION refuse_name_and_alias();
CREATE TRIGGER name_is_no_alias BEFORE INSERT ON key FOR EACH ROW EXECUTE FUNCTION refuse_name_and_alias();

CREATE TRIGGER alias_does_not_move BEFORE UPDATE ON key_alias FOR EACH ROW
EXECUTE FUNCTION refuse('an alias is removed and made anew');

-- SP 800-57 part 1 rev. 5, §7, as src/key/state.rs has it.
CREATE TRIGGER key_version_life_cycle BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (NEW.state <> OLD.state AND NOT (
    (OLD.state = 'pre-activation' AND NEW.state IN ('active', 'suspended', 'compromised', 'destroyed'))
    OR (OLD.state = 'active' AND NEW.state IN ('suspended', 'deactivated', 'compromised'))
    OR (OLD.state = 'suspended' AND NEW.state IN ('active', 'deactivated', 'compromised', 'destroyed'))
    OR (OLD.state = 'deactivated' AND NEW.state IN ('suspended', 'compromised', 'destroyed'))
    OR (OLD.state = 'compromised' AND NEW.state = 'destroyed')
))
EXECUTE FUNCTION refuse('the life cycle of a key has no such transition');

CREATE TRIGGER key_version_waits BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (OLD.destroy_at IS NOT NULL AND (
    (NEW.destroy_at IS NULL AND NEW.state <> 'suspended' AND NOT (NEW.state = 'compromised' AND OLD.state = 'compromised'))
    OR (NEW.destroy_at IS NOT NULL AND NEW.state <> OLD.state AND NEW.state NOT IN ('compromised', 'destroyed'))
    OR (NEW.destroying IS NULL AND OLD.destroying IS NOT NULL)
    OR NEW.destroy_at <> OLD.destroy_at OR NEW.destroy_order <> OLD.destroy_order
))
EXECUTE FUNCTION refuse('a key that waits for its destruction is restored, reported as compromised or destroyed, and its day does not move');

CREATE TRIGGER key_version_begins_to_wait BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (OLD.destroy_at IS NULL AND NEW.destroy_at IS NOT NULL AND NEW.state <> OLD.state)
EXECUTE FUNCTION refuse('the waiting period begins in the state that the key has');

CREATE TRIGGER key_version_was_there BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (NEW.key IS DISTINCT FROM OLD.key OR NEW.version IS DISTINCT FROM OLD.version OR NEW.label IS DISTINCT FROM OLD.label
    OR NEW.origin IS DISTINCT FROM OLD.origin OR NEW.created IS DISTINCT FROM OLD.created
    OR (OLD.made IS NOT NULL AND NEW.made IS DISTINCT FROM OLD.made)
    OR (OLD.activated IS NOT NULL AND NEW.activated IS DISTINCT FROM OLD.activated)
    OR (OLD.deactivated IS NOT NULL AND NEW.deactivated IS DISTINCT FROM OLD.deactivated)
    OR (OLD.compromised IS NOT NULL AND NEW.compromised IS DISTINCT FROM OLD.compromised)
    OR (OLD.destroyed IS NOT NULL AND NEW.destroyed IS DISTINCT FROM OLD.destroyed)
    OR (OLD.kcv IS NOT NULL AND NEW.kcv IS DISTINCT FROM OLD.kcv)
    OR (OLD.fingerprint IS NOT NULL AND NEW.fingerprint IS DISTINCT FROM OLD.fingerprint)
    OR (OLD.spki IS NOT NULL AND NEW.spki IS DISTINCT FROM OLD.spki))
EXECUTE FUNCTION refuse('what happened to a key is not taken back');

CREATE TRIGGER key_version_stays_destroyed BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (OLD.state = 'destroyed')
EXECUTE FUNCTION refuse('a destroyed key stays as it is');

CREATE TRIGGER key_version_escrow BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (OLD.made IS NOT NULL AND NEW.escrow IS NOT NULL AND (OLD.escrow IS NULL OR NEW.escrow <> OLD.escrow))
EXECUTE FUNCTION refuse('the escrow of a key is written when the key is made');

CREATE TRIGGER key_version_uses BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (NEW.uses < OLD.uses)
EXECUTE FUNCTION refuse('uses are not taken back');

CREATE TRIGGER key_version_used BEFORE UPDATE ON key_version FOR EACH ROW
WHEN (NEW.uses > OLD.uses AND OLD.state <> 'active')
EXECUTE FUNCTION refuse('only an active key protects');

CREATE TRIGGER key_version_begins BEFORE INSERT ON key_version FOR EACH ROW
WHEN (NOT (NEW.state = 'pre-activation' OR (NEW.state = 'active' AND NEW.origin = 'design'))
    OR NEW.destroy_at IS NOT NULL OR NEW.uses <> 0)
EXECUTE FUNCTION refuse('a key begins before its activation');

CREATE TRIGGER key_version_stays BEFORE DELETE ON key_version FOR EACH ROW
EXECUTE FUNCTION refuse('a version of a key is never deleted');

CREATE TRIGGER key_no_truncate BEFORE TRUNCATE ON key FOR EACH STATEMENT
EXECUTE FUNCTION refuse('a key is never deleted');

CREATE TRIGGER key_version_no_truncate BEFORE TRUNCATE ON key_version FOR EACH STATEMENT
EXECUTE FUNCTION refuse('a version of a key is never deleted');

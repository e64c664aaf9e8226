-- Managed keys (src/key/): a logical key, its aliases, and a row for each of its versions, for good.

CREATE TABLE key (
    name             TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    class            TEXT    NOT NULL CHECK (class IN ('kms', 'kek', 'design')),
    form             TEXT    CHECK (form IN ('key-block', 'kwp')),
    -- The tenant that owns it; none: the service.
    acquirer         TEXT    CHECK (length(acquirer) BETWEEN 1 AND 36),
    purpose          TEXT    NOT NULL CHECK (purpose IN ('sign', 'mac', 'encrypt', 'wrap', 'derive', 'ca')),
    algorithm        TEXT    NOT NULL CHECK (length(algorithm) BETWEEN 1 AND 32),
    exportable       INTEGER NOT NULL CHECK (exportable IN (0, 1)),
    rotation_seconds INTEGER CHECK (rotation_seconds > 0),
    protect_seconds  INTEGER CHECK (protect_seconds > 0),
    process_seconds  INTEGER CHECK (process_seconds > 0),
    uses_limit       INTEGER CHECK (uses_limit > 0),
    primary_version  INTEGER,
    created          INTEGER NOT NULL,
    FOREIGN KEY (name, primary_version) REFERENCES key_version (key, version),
    CHECK ((class = 'kek') = (form IS NOT NULL))
) STRICT;
CREATE INDEX key_of_acquirer ON key (acquirer, name);

CREATE TABLE key_alias (
    alias   TEXT    NOT NULL PRIMARY KEY CHECK (length(alias) BETWEEN 1 AND 64),
    key     TEXT    NOT NULL REFERENCES key (name),
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_of_key ON key_alias (key);

CREATE TABLE key_version (
    key           TEXT    NOT NULL REFERENCES key (name),
    version       INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    label         TEXT    NOT NULL UNIQUE CHECK (length(label) BETWEEN 1 AND 200),
    origin        TEXT    NOT NULL CHECK (origin IN ('generated', 'imported', 'design')),
    state         TEXT    NOT NULL CHECK (state IN ('pre-activation', 'active', 'suspended', 'deactivated', 'compromised', 'destroyed')),
    -- What is not finished yet: the key may or may not be on the token.
    intent        TEXT    CHECK (intent IN ('make', 'make-active')),
    created       INTEGER NOT NULL,
    made          INTEGER,
    activated     INTEGER,
    suspended     INTEGER,
    deactivated   INTEGER,
    compromised   INTEGER,
    -- The end of the waiting period, and the plan with its approvals that began it.
    destroy_at    INTEGER,
    destroy_order TEXT    CHECK (length(destroy_order) BETWEEN 1 AND 65536),
    -- Since when the token is being asked to destroy it: from then on there is no way back.
    destroying    INTEGER,
    destroyed     INTEGER,
    not_before    INTEGER,
    protect_until INTEGER,
    not_after     INTEGER,
    uses          INTEGER NOT NULL DEFAULT 0 CHECK (uses >= 0),
    uses_limit    INTEGER CHECK (uses_limit > 0),
    kcv           TEXT    CHECK (length(kcv) BETWEEN 1 AND 64),
    fingerprint   BLOB   CHECK (length(fingerprint) = 32),
    spki          BLOB   CHECK (length(spki) BETWEEN 1 AND 1024),
    escrow        BLOB   CHECK (length(escrow) BETWEEN 1 AND 8192),
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
) STRICT;
CREATE UNIQUE INDEX one_intent_of_key ON key_version (key) WHERE intent IS NOT NULL;
CREATE INDEX key_version_to_destroy ON key_version (destroy_at) WHERE destroy_at IS NOT NULL AND destroyed IS NULL;

CREATE TRIGGER key_stays_itself BEFORE UPDATE ON key
WHEN NEW.name IS NOT OLD.name OR NEW.class IS NOT OLD.class OR NEW.form IS NOT OLD.form OR NEW.acquirer IS NOT OLD.acquirer
    OR NEW.purpose IS NOT OLD.purpose OR NEW.algorithm IS NOT OLD.algorithm OR NEW.exportable IS NOT OLD.exportable
    OR NEW.created IS NOT OLD.created
BEGIN SELECT RAISE(ABORT, 'what a key is does not change'); END;

CREATE TRIGGER key_stays BEFORE DELETE ON key
BEGIN SELECT RAISE(ABORT, 'a key is never deleted'); END;

CREATE TRIGGER alias_is_no_name BEFORE INSERT ON key_alias
WHEN EXISTS (SELECT 1 FROM key WHERE name = NEW.alias)
BEGIN SELECT RAISE(ABORT, 'an alias is not the name of a key'); END;

CREATE TRIGGER name_is_no_alias BEFORE INSERT ON key
WHEN EXISTS (SELECT 1 FROM key_alias WHERE alias = NEW.name)
BEGIN SELECT RAISE(ABORT, 'the name of a key is not an alias'); END;

CREATE TRIGGER alias_does_not_move BEFORE UPDATE ON key_alias
BEGIN SELECT RAISE(ABORT, 'an alias is removed and made anew'); END;

-- SP 800-57 part 1 rev. 5, §7, as src/key/state.rs has it.
CREATE TRIGGER key_version_life_cycle BEFORE UPDATE ON key_version
WHEN NEW.state <> OLD.state AND NOT (
    (OLD.state = 'pre-activation' AND NEW.state IN ('active', 'suspended', 'compromised', 'destroyed'))
    OR (OLD.state = 'active' AND NEW.state IN ('suspended', 'deactivated', 'compromised'))
    OR (OLD.state = 'suspended' AND NEW.state IN ('active', 'deactivated', 'compromised', 'destroyed'))
    OR (OLD.state = 'deactivated' AND NEW.state IN ('suspended', 'compromised', 'destroyed'))
    OR (OLD.state = 'compromised' AND NEW.state = 'destroyed')
)
BEGIN SELECT RAISE(ABORT, 'the life cycle of a key has no such transition'); END;

CREATE TRIGGER key_version_waits BEFORE UPDATE ON key_version
WHEN OLD.destroy_at IS NOT NULL AND (
    (NEW.destroy_at IS NULL AND NEW.state <> 'suspended' AND NOT (NEW.state = 'compromised' AND OLD.state = 'compromised'))
    OR (NEW.destroy_at IS NOT NULL AND NEW.state <> OLD.state AND NEW.state NOT IN ('compromised', 'destroyed'))
    OR (NEW.destroying IS NULL AND OLD.destroying IS NOT NULL)
    OR NEW.destroy_at <> OLD.destroy_at OR NEW.destroy_order <> OLD.destroy_order
)
BEGIN SELECT RAISE(ABORT, 'a key that waits for its destruction is restored, reported as compromised or destroyed, and its day does not move'); END;

CREATE TRIGGER key_version_begins_to_wait BEFORE UPDATE ON key_version
WHEN OLD.destroy_at IS NULL AND NEW.destroy_at IS NOT NULL AND NEW.state <> OLD.state
BEGIN SELECT RAISE(ABORT, 'the waiting period begins in the state that the key has'); END;

CREATE TRIGGER key_version_was_there BEFORE UPDATE ON key_version
WHEN NEW.key IS NOT OLD.key OR NEW.version IS NOT OLD.version OR NEW.label IS NOT OLD.label OR NEW.origin IS NOT OLD.origin
    OR NEW.created IS NOT OLD.created OR (OLD.made IS NOT NULL AND NEW.made IS NOT OLD.made)
    OR (OLD.activated IS NOT NULL AND NEW.activated IS NOT OLD.activated)
    OR (OLD.deactivated IS NOT NULL AND NEW.deactivated IS NOT OLD.deactivated)
    OR (OLD.compromised IS NOT NULL AND NEW.compromised IS NOT OLD.compromised)
    OR (OLD.destroyed IS NOT NULL AND NEW.destroyed IS NOT OLD.destroyed) OR (OLD.kcv IS NOT NULL AND NEW.kcv IS NOT OLD.kcv)
    OR (OLD.fingerprint IS NOT NULL AND NEW.fingerprint IS NOT OLD.fingerprint)
    OR (OLD.spki IS NOT NULL AND NEW.spki IS NOT OLD.spki)
BEGIN SELECT RAISE(ABORT, 'what happened to a key is not taken back'); END;

CREATE TRIGGER key_version_stays_destroyed BEFORE UPDATE ON key_version
WHEN OLD.state = 'destroyed'
BEGIN SELECT RAISE(ABORT, 'a destroyed key stays as it is'); END;

CREATE TRIGGER key_version_escrow BEFORE UPDATE ON key_version
WHEN OLD.made IS NOT NULL AND NEW.escrow IS NOT NULL AND (OLD.escrow IS NULL OR NEW.escrow <> OLD.escrow)
BEGIN SELECT RAISE(ABORT, 'the escrow of a key is written when the key is made'); END;

CREATE TRIGGER key_version_uses BEFORE UPDATE ON key_version
WHEN NEW.uses < OLD.uses
BEGIN SELECT RAISE(ABORT, 'uses are not taken back'); END;

CREATE TRIGGER key_version_used BEFORE UPDATE ON key_version
WHEN NEW.uses > OLD.uses AND OLD.state <> 'active'
BEGIN SELECT RAISE(ABORT, 'only an active key protects'); END;

CREATE TRIGGER key_version_begins BEFORE INSERT ON key_version
WHEN NOT (NEW.state = 'pre-activation' OR (NEW.state = 'active' AND NEW.origin = 'design'))
    OR NEW.destroy_at IS NOT NULL OR NEW.uses <> 0
BEGIN SELECT RAISE(ABORT, 'a key begins before its activation'); END;

CREATE TRIGGER key_version_stays BEFORE DELETE ON key_version
BEGIN SELECT RAISE(ABORT, 'a version of a key is never deleted'); END;

-- REPLACE deletes without asking delete triggers (https://www.sqlite.org/lang_conflict.html), so it is caught at the insert.
CREATE TRIGGER key_version_no_replace BEFORE INSERT ON key_version
WHEN EXISTS (SELECT 1 FROM key_version WHERE (key = NEW.key AND version = NEW.version) OR label = NEW.label)
BEGIN SELECT RAISE(ABORT, 'there is this version'); END;

CREATE TRIGGER key_no_replace BEFORE INSERT ON key
WHEN EXISTS (SELECT 1 FROM key WHERE name = NEW.name)
BEGIN SELECT RAISE(ABORT, 'there is this key'); END;

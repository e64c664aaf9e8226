-- Times are seconds since 1970-01-01T00:00:00Z. The checks repeat what the types in src/ promise, the triggers repeat the
-- life cycles: a row that breaks them was not written by the service.

-- The service's own certificates.
CREATE TABLE authority (
    name TEXT    NOT NULL PRIMARY KEY CHECK (name IN ('root', 'issuing', 'attestation-signing', 'personalization-signing')),
    der  BLOB    NOT NULL CHECK (length(der) BETWEEN 1 AND 8192),
    made INTEGER NOT NULL
) STRICT;

CREATE TABLE merchant (
    id       TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 36),
    acquirer TEXT    NOT NULL CHECK (length(acquirer) BETWEEN 1 AND 36),
    name     TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created  INTEGER NOT NULL,
    UNIQUE (id, acquirer)
) STRICT;

-- The acquirer is repeated downwards and held by the foreign keys, so that one row is enough to authorize.
CREATE TABLE terminal (
    id            TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 36),
    merchant      TEXT    NOT NULL,
    acquirer      TEXT    NOT NULL,
    level         TEXT    NOT NULL CHECK (length(level) BETWEEN 1 AND 36),
    configuration TEXT    NOT NULL CHECK (length(configuration) <= 16384),
    created       INTEGER NOT NULL,
    UNIQUE (id, acquirer),
    UNIQUE (id, merchant, acquirer),
    FOREIGN KEY (merchant, acquirer) REFERENCES merchant (id, acquirer)
) STRICT;
CREATE INDEX terminal_of_merchant ON terminal (merchant);

CREATE TABLE device (
    id            TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 30),
    terminal      TEXT    NOT NULL,
    merchant      TEXT    NOT NULL,
    acquirer      TEXT    NOT NULL,
    level         TEXT    NOT NULL CHECK (length(level) BETWEEN 1 AND 36),
    state         TEXT    NOT NULL CHECK (state IN ('active', 'suspended', 'retired')),
    state_reason  TEXT    CHECK (length(state_reason) BETWEEN 1 AND 64),
    ikid          TEXT    NOT NULL UNIQUE CHECK (length(ikid) = 16),
    derivation_id INTEGER NOT NULL CHECK (derivation_id BETWEEN 0 AND 4294967295),
    secret        BLOB    NOT NULL CHECK (length(secret) BETWEEN 1 AND 1024),
    spki          BLOB    NOT NULL UNIQUE CHECK (length(spki) BETWEEN 1 AND 512),
    package       TEXT    NOT NULL CHECK (length(package) BETWEEN 1 AND 65536),
    transcript    BLOB    NOT NULL CHECK (length(transcript) = 32),
    enrolled      INTEGER NOT NULL,
    retired       INTEGER,
    -- Results up to this id do not count: the device has to attest afresh.
    forgotten     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (acquirer, derivation_id),
    FOREIGN KEY (terminal, merchant, acquirer) REFERENCES terminal (id, merchant, acquirer),
    CHECK ((state = 'retired') = (retired IS NOT NULL)),
    CHECK (state <> 'suspended' OR state_reason IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX one_live_device_of_terminal ON device (terminal) WHERE state <> 'retired';
CREATE INDEX device_of_merchant ON device (merchant);

CREATE TRIGGER device_life_cycle BEFORE UPDATE OF state ON device
WHEN OLD.state = 'retired' AND NEW.state <> 'retired'
BEGIN SELECT RAISE(ABORT, 'a retired device stays retired'); END;

CREATE TRIGGER device_stays BEFORE DELETE ON device
BEGIN SELECT RAISE(ABORT, 'a device is never deleted'); END;

CREATE TABLE activation (
    id              TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 7),
    terminal        TEXT    NOT NULL,
    acquirer        TEXT    NOT NULL,
    mac             BLOB    NOT NULL CHECK (length(mac) = 32),
    derivation_id   INTEGER NOT NULL CHECK (derivation_id BETWEEN 0 AND 4294967295),
    ikid            TEXT    NOT NULL UNIQUE CHECK (length(ikid) = 16),
    state           TEXT    NOT NULL CHECK (state IN ('open', 'used', 'locked', 'revoked')),
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 5),
    created         INTEGER NOT NULL,
    expires         INTEGER NOT NULL,
    used_transcript BLOB    CHECK (length(used_transcript) = 32),
    device          TEXT    REFERENCES device (id),
    UNIQUE (acquirer, derivation_id),
    FOREIGN KEY (terminal, acquirer) REFERENCES terminal (id, acquirer),
    CHECK ((state = 'used') = (used_transcript IS NOT NULL)),
    CHECK ((state = 'used') = (device IS NOT NULL)),
    CHECK (state <> 'locked' OR attempts = 5),
    CHECK (state NOT IN ('open', 'used') OR attempts < 5)
) STRICT;
CREATE UNIQUE INDEX one_open_activation_of_terminal ON activation (terminal) WHERE state = 'open';

CREATE TRIGGER activation_life_cycle BEFORE UPDATE OF state ON activation
WHEN NEW.state <> OLD.state AND NOT (OLD.state = 'open' OR (OLD.state = 'locked' AND NEW.state = 'revoked'))
BEGIN SELECT RAISE(ABORT, 'only an open activation moves, and a locked one to revoked'); END;

CREATE TRIGGER activation_attempts BEFORE UPDATE OF attempts ON activation
WHEN NEW.attempts < OLD.attempts
BEGIN SELECT RAISE(ABORT, 'wrong tries are not taken back'); END;

CREATE TRIGGER activation_stays BEFORE DELETE ON activation
BEGIN SELECT RAISE(ABORT, 'an activation is never deleted'); END;

CREATE TABLE certificate (
    serial            TEXT    NOT NULL PRIMARY KEY CHECK (length(serial) BETWEEN 2 AND 40),
    device            TEXT    NOT NULL REFERENCES device (id),
    der               BLOB    NOT NULL CHECK (length(der) BETWEEN 1 AND 8192),
    not_before        INTEGER NOT NULL,
    not_after         INTEGER NOT NULL,
    revoked_at        INTEGER,
    -- CRLReason, RFC 5280 §5.3.1; 7 is not used, 8 (removeFromCRL) is for delta lists.
    revocation_reason INTEGER CHECK (revocation_reason BETWEEN 0 AND 10 AND revocation_reason NOT IN (7, 8)),
    CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL)),
    CHECK (not_before < not_after)
) STRICT;
CREATE INDEX certificate_of_device ON certificate (device, not_before);
CREATE INDEX certificate_revoked ON certificate (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TRIGGER certificate_stays_revoked BEFORE UPDATE ON certificate
WHEN OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NOT OLD.revoked_at
BEGIN SELECT RAISE(ABORT, 'a revocation is not taken back'); END;

CREATE TRIGGER certificate_stays BEFORE DELETE ON certificate
BEGIN SELECT RAISE(ABORT, 'a certificate is never deleted'); END;

CREATE TABLE crl (
    number      INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
    der         BLOB    NOT NULL CHECK (length(der) >= 1),
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    covers      INTEGER NOT NULL CHECK (covers >= 0),
    CHECK (this_update < next_update)
) STRICT;

CREATE TABLE challenge_use (
    nonce   BLOB    NOT NULL PRIMARY KEY CHECK (length(nonce) = 32),
    device  TEXT    NOT NULL REFERENCES device (id),
    used    INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX challenge_use_expires ON challenge_use (expires);

CREATE TABLE attestation_result (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    device   TEXT    NOT NULL REFERENCES device (id),
    status   TEXT    NOT NULL CHECK (status IN ('affirming', 'warning', 'contraindicated', 'none')),
    issued   INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    policy   TEXT    NOT NULL CHECK (length(policy) BETWEEN 1 AND 200),
    evidence TEXT    NOT NULL CHECK (length(evidence) <= 65536),
    result   TEXT    NOT NULL CHECK (length(result) BETWEEN 1 AND 16384)
) STRICT;
CREATE INDEX last_result_of_device ON attestation_result (device, id);

CREATE TABLE clearance (
    id      TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    device  TEXT    NOT NULL REFERENCES device (id),
    purpose TEXT    NOT NULL CHECK (purpose IN ('payment', 'pin')),
    given   INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    result  INTEGER NOT NULL REFERENCES attestation_result (id)
) STRICT;

CREATE TABLE derivation_mark (
    acquirer TEXT    NOT NULL PRIMARY KEY CHECK (length(acquirer) BETWEEN 1 AND 36),
    mark     INTEGER NOT NULL CHECK (mark BETWEEN 0 AND 4294967296)
) STRICT;

CREATE TRIGGER derivation_mark_rises BEFORE UPDATE ON derivation_mark
WHEN NEW.mark < OLD.mark OR NEW.acquirer <> OLD.acquirer
BEGIN SELECT RAISE(ABORT, 'a derivation mark only rises'); END;

CREATE TRIGGER derivation_mark_stays BEFORE DELETE ON derivation_mark
BEGIN SELECT RAISE(ABORT, 'a derivation mark is never deleted'); END;

CREATE TABLE audit (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq > 0),
    at            INTEGER NOT NULL,
    request       TEXT    NOT NULL CHECK (length(request) BETWEEN 1 AND 64),
    caller        TEXT    NOT NULL CHECK (length(caller) BETWEEN 1 AND 300),
    action        TEXT    NOT NULL CHECK (length(action) BETWEEN 1 AND 64),
    resource_kind TEXT    NOT NULL CHECK (length(resource_kind) BETWEEN 1 AND 64),
    resource_id   TEXT    NOT NULL CHECK (length(resource_id) BETWEEN 1 AND 64),
    acquirers     TEXT    NOT NULL CHECK (length(acquirers) <= 4096),
    policies      TEXT    NOT NULL CHECK (length(policies) <= 4096),
    outcome       TEXT    NOT NULL CHECK (outcome IN ('effect', 'refused')),
    reason        TEXT    CHECK (length(reason) BETWEEN 1 AND 64),
    detail        TEXT    NOT NULL CHECK (length(detail) <= 4096),
    CHECK ((outcome = 'refused') = (reason IS NOT NULL)),
    CHECK (outcome = 'refused' OR length(policies) > 0)
) STRICT;

-- REPLACE deletes without asking delete triggers (https://www.sqlite.org/lang_conflict.html), so it is caught at the insert.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

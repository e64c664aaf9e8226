-- Times are seconds since 1970-01-01T00:00:00Z. The checks repeat what the types in src/ promise, the triggers repeat the
-- life cycles: a row that breaks them was not written by the service.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- The service's own certificates.
CREATE TABLE authority (
    name TEXT    NOT NULL PRIMARY KEY CHECK (name IN ('root', 'issuing', 'attestation-signing', 'personalization-signing')),
    der  BYTEA    NOT NULL CHECK (length(der) BETWEEN 1 AND 8192),
    made BIGINT NOT NULL
);

CREATE TABLE merchant (
    id       TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 36),
    acquirer TEXT    NOT NULL CHECK (length(acquirer) BETWEEN 1 AND 36),
    name     TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created  BIGINT  NOT NULL,
    UNIQUE (id, acquirer)
);

-- The acquirer is repeated downwards and held by the foreign keys, so that one row is enough to authorize.
CREATE TABLE terminal (
    id            TEXT    NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 36),
    merchant      TEXT    NOT NULL,
    acquirer      TEXT    NOT NULL,
    level         TEXT    NOT NULL CHECK (length(level) BETWEEN 1 AND 36),
    configuration TEXT    NOT NULL CHECK (length(configuration) <= 16384),
    created       BIGINT  NOT NULL,
    UNIQUE (id, acquirer),
    UNIQUE (id, merchant, acquirer),
    FOREIGN KEY (merchant, acquirer) REFERENCES merchant (id, acquirer)
);
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
    derivation_id BIGINT  NOT NULL CHECK (derivation_id BETWEEN 0 AND 4294967295),
    secret        BYTEA   NOT NULL CHECK (length(secret) BETWEEN 1 AND 1024),
    spki          BYTEA   NOT NULL UNIQUE CHECK (length(spki) BETWEEN 1 AND 512),
    package       TEXT    NOT NULL CHECK (length(package) BETWEEN 1 AND 65536),
    transcript    BYTEA   NOT NULL CHECK (length(transcript) = 32),
    enrolled      BIGINT  NOT NULL,
    retired       BIGINT,
    -- Results up to this id do not count: the device has to attest afresh.
    forgotten     BIGINT  NOT NULL DEFAULT 0,
    UNIQUE (acquirer, derivation_id),
    FOREIGN KEY (terminal, merchant, acquirer) REFERENCES terminal (id, merchant, acquirer),
    CHECK ((state = 'retired') = (retired IS NOT NULL)),
    CHECK (state <> 'suspended' OR state_reason IS NOT NULL)
);
CREATE UNIQUE INDEX one_live_device_of_terminal ON device (terminal) WHERE state <> 'retired';
CREATE INDEX device_of_merchant ON device (merchant);

CREATE TRIGGER device_life_cycle BEFORE UPDATE OF state ON device FOR EACH ROW
WHEN (OLD.state = 'retired' AND NEW.state <> 'retired')
EXECUTE FUNCTION refuse('a retired device stays retired');

CREATE TRIGGER device_stays BEFORE DELETE ON device FOR EACH ROW
EXECUTE FUNCTION refuse('a device is never deleted');

CREATE TABLE activation (
    id              TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 7),
    terminal        TEXT    NOT NULL,
    acquirer        TEXT    NOT NULL,
    mac             BYTEA   NOT NULL CHECK (length(mac) = 32),
    derivation_id   BIGINT  NOT NULL CHECK (derivation_id BETWEEN 0 AND 4294967295),
    ikid            TEXT    NOT NULL UNIQUE CHECK (length(ikid) = 16),
    state           TEXT    NOT NULL CHECK (state IN ('open', 'used', 'locked', 'revoked')),
    attempts        BIGINT  NOT NULL CHECK (attempts BETWEEN 0 AND 5),
    created         BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    used_transcript BYTEA   CHECK (length(used_transcript) = 32),
    device          TEXT    REFERENCES device (id),
    UNIQUE (acquirer, derivation_id),
    FOREIGN KEY (terminal, acquirer) REFERENCES terminal (id, acquirer),
    CHECK ((state = 'used') = (used_transcript IS NOT NULL)),
    CHECK ((state = 'used') = (device IS NOT NULL)),
    CHECK (state <> 'locked' OR attempts = 5),
    CHECK (state NOT IN ('open', 'used') OR attempts < 5)
);
CREATE UNIQUE INDEX one_open_activation_of_terminal ON activation (terminal) WHERE state = 'open';

CREATE TRIGGER activation_life_cycle BEFORE UPDATE OF state ON activation FOR EACH ROW
WHEN (NEW.state <> OLD.state AND NOT (OLD.state = 'open' OR (OLD.state = 'locked' AND NEW.state = 'revoked')))
EXECUTE FUNCTION refuse('only an open activation moves, and a locked one to revoked');

CREATE TRIGGER activation_attempts BEFORE UPDATE OF attempts ON activation FOR EACH ROW
WHEN (NEW.attempts < OLD.attempts)
EXECUTE FUNCTION refuse('wrong tries are not taken back');

CREATE TRIGGER activation_stays BEFORE DELETE ON activation FOR EACH ROW
EXECUTE FUNCTION refuse('an activation is never deleted');

CREATE TABLE certificate (
    serial            TEXT    NOT NULL PRIMARY KEY CHECK (length(serial) BETWEEN 2 AND 40),
    device            TEXT    NOT NULL REFERENCES device (id),
    der               BYTEA   NOT NULL CHECK (length(der) BETWEEN 1 AND 8192),
    not_before        BIGINT  NOT NULL,
    not_after         BIGINT  NOT NULL,
    revoked_at        BIGINT,
    -- CRLReason, RFC 5280 §5.3.1; 7 is not used, 8 (removeFromCRL) is for delta lists.
    revocation_reason BIGINT  CHECK (revocation_reason BETWEEN 0 AND 10 AND revocation_reason NOT IN (7, 8)),
    CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL)),
    CHECK (not_before < not_after)
);
CREATE INDEX certificate_of_device ON certificate (device, not_before);
CREATE INDEX certificate_revoked ON certificate (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TRIGGER certificate_stays_revoked BEFORE UPDATE ON certificate FOR EACH ROW
WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
EXECUTE FUNCTION refuse('a revocation is not taken back');

CREATE TRIGGER certificate_stays BEFORE DELETE ON certificate FOR EACH ROW
EXECUTE FUNCTION refuse('a certificate is never deleted');

CREATE TABLE crl (
    number      BIGINT  NOT NULL PRIMARY KEY CHECK (number > 0),
    der         BYTEA   NOT NULL CHECK (length(der) >= 1),
    this_update BIGINT  NOT NULL,
    next_update BIGINT  NOT NULL,
    covers      BIGINT  NOT NULL CHECK (covers >= 0),
    CHECK (this_update < next_update)
);

CREATE TABLE challenge_use (
    nonce   BYTEA   NOT NULL PRIMARY KEY CHECK (length(nonce) = 32),
    device  TEXT    NOT NULL REFERENCES device (id),
    used    BIGINT  NOT NULL,
    expires BIGINT  NOT NULL
);
CREATE INDEX challenge_use_expires ON challenge_use (expires);

CREATE TABLE attestation_result (
    id       BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device   TEXT    NOT NULL REFERENCES device (id),
    status   TEXT    NOT NULL CHECK (status IN ('affirming', 'warning', 'contraindicated', 'none')),
    issued   BIGINT  NOT NULL,
    expires  BIGINT  NOT NULL,
    policy   TEXT    NOT NULL CHECK (length(policy) BETWEEN 1 AND 200),
    evidence TEXT    NOT NULL CHECK (length(evidence) <= 65536),
    result   TEXT    NOT NULL CHECK (length(result) BETWEEN 1 AND 16384)
);
CREATE INDEX last_result_of_device ON attestation_result (device, id);

CREATE TABLE clearance (
    id      TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    device  TEXT    NOT NULL REFERENCES device (id),
    purpose TEXT    NOT NULL CHECK (purpose IN ('payment', 'pin')),
    given   BIGINT  NOT NULL,
    expires BIGINT  NOT NULL,
    result  BIGINT  NOT NULL REFERENCES attestation_result (id)
);

CREATE TABLE derivation_mark (
    acquirer TEXT    NOT NULL PRIMARY KEY CHECK (length(acquirer) BETWEEN 1 AND 36),
    mark     BIGINT  NOT NULL CHECK (mark BETWEEN 0 AND 4294967296)
);

CREATE TRIGGER derivation_mark_rises BEFORE UPDATE ON derivation_mark FOR EACH ROW
WHEN (NEW.mark < OLD.mark OR NEW.acquirer <> OLD.acquirer)
EXECUTE FUNCTION refuse('a derivation mark only rises');

CREATE TRIGGER derivation_mark_stays BEFORE DELETE ON derivation_mark FOR EACH ROW
EXECUTE FUNCTION refuse('a derivation mark is never deleted');

CREATE TABLE audit (
    seq           BIGINT  NOT NULL PRIMARY KEY CHECK (seq > 0),
    at            BIGINT  NOT NULL,
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
);

-- The number is given here, one writer at a time until its commit (the lock is named 'TILL', in ASCII): numbers have no gaps,
-- and their order is that of the commits. A reader who has seen number n never meets a smaller one later.
CREATE FUNCTION number_audit_entry() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1414089804);
    SELECT coalesce(max(seq), 0) + 1 INTO NEW.seq FROM audit;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_number BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION number_audit_entry();

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW
EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW
EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT
EXECUTE FUNCTION refuse('the audit log is append-only');

-- Answers for those who ask the same again. Without an answer, a request is doing the work, or has been lost.
CREATE TABLE idempotency (
    principal   TEXT    NOT NULL CHECK (length(principal) BETWEEN 1 AND 255),
    key         TEXT    NOT NULL CHECK (length(key) BETWEEN 1 AND 64),
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    request     TEXT    NOT NULL CHECK (length(request) BETWEEN 1 AND 64),
    reserved    INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    status      INTEGER CHECK (status BETWEEN 200 AND 299),
    body        BLOB    CHECK (length(body) <= 65536),
    PRIMARY KEY (principal, key),
    CHECK (reserved < expires),
    CHECK ((status IS NULL) = (body IS NULL))
) STRICT;
CREATE INDEX idempotency_by_expiry ON idempotency (expires);

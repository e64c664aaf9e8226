"""Prepares a place, and runs schemathesis once a role over the document that the service serves.

The document is handed on as served but for one thing: where a name is asked for, the names of what was prepared stand beside the pattern, so that
requests reach more than "there is no such ...".
"""

import json
import pathlib
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

place, st, *more = sys.argv[1:]
place = pathlib.Path(place)
tls = place / "try" / "tls"
with open(place / "serving") as serving:
    address = json.loads(serving.readline())["serving"]["backend"]
base = f"https://{address}"

SEED = 20261122
EXAMPLES = 5
ROLES = ["backend", "operator", "officer"]
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
]


KEYS = []


def ask(role, method, path, body=None):
    """One request; the answer's JSON."""
    context = ssl.create_default_context(cafile=tls / "ca.pem")
    context.load_cert_chain(tls / f"{role}.pem", tls / f"{role}-key.pem")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}")


def prepare():
    """What requests can meet: a merchant, terminals with and without a code, keys. The names by schema."""
    ask("backend", "PUT", "/v1/merchants/m1", {"acquirer": "example-bank", "name": "Merchant"})
    codes = []
    for terminal in ["t1", "t2"]:
        ask("backend", "PUT", f"/v1/terminals/{terminal}", {"merchant": "m1", "level": "standard"})
        codes.append(ask("backend", "POST", "/v1/activations", {"terminal": terminal})["id"])
    for name, purpose, algorithm in [
        ("sign-1", "sign", "ec-p256"),
        ("mac-1", "mac", "hmac-sha256"),
        ("encrypt-1", "encrypt", "aes-256"),
        ("wrap-1", "wrap", "aes-256"),
    ]:
        ask("operator", "POST", "/v1/keys", {"key": name, "purpose": purpose, "algorithm": algorithm, "acquirer": "example-bank"})
        KEYS.append(name)
    return {"AcquirerId": ["example-bank"], "MerchantId": ["m1"], "TerminalId": ["t1", "t2"], "ActivationId": codes}


names = prepare()
document = ask("backend", "GET", "/v1/openapi.json")
schemas = document["components"]["schemas"]
for schema, known in names.items():
    schemas[schema] = {"anyOf": [{"type": "string", "enum": known}, schemas[schema]]}
for path in document["paths"].values():
    for operation in path.values():
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] == "key":
                parameter["schema"] = {"anyOf": [{"type": "string", "enum": KEYS}, parameter["schema"]]}
(place / "openapi.json").write_text(json.dumps(document))

# A body may be too long before it is anything else.
(place / "schemathesis.toml").write_text(
    "[checks.negative_data_rejection]\nexpected-statuses = [400, 403, 404, 405, 409, 413, 415, 422, '5xx']\n"
)

failed = []
for role in ROLES:
    print(f"== as {role}", flush=True)
    command = [st, "--config-file", str(place / "schemathesis.toml"), "run", str(place / "openapi.json"), "--url", base, "--tls-verify", str(tls / "ca.pem")]
    command += ["--request-cert", str(tls / f"{role}.pem"), "--request-cert-key", str(tls / f"{role}-key.pem")]
    command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--seed", str(SEED), "--max-examples", str(EXAMPLES)]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--no-color", "--continue-on-failure", "--warnings", "off", *more]
    if role != "backend":
        # Back ends alone use keys.
        command += ["--exclude-tag", "kms", "--exclude-tag", "key-sets"]
    if subprocess.run(command, cwd=place, check=False).returncode != 0:
        failed.append(role)
if failed:
    raise SystemExit(f"findings as {', '.join(failed)}")

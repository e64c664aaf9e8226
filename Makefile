# Everything a newcomer needs: `make demo` and `make test`. Both install SoftHSM where it is missing, and say so.

CARGO ?= cargo
SOFTHSM := $(firstword $(wildcard /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so))

.PHONY: schemathesis help demo test check format lint deny advisories fuzz storm soak bench image softhsm runner

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: softhsm ## the main job on a throw-away token, told as a story
	$(CARGO) build --quiet
	$(CARGO) run --quiet -- demo

test: softhsm runner ## every test; over PostgreSQL with TILLWARD_TEST_POSTGRES (.ci/postgres), over kryoptic with TILLWARD_TEST_KRYOPTIC (tests/kryoptic), in a container with a Docker engine
	$(CARGO) nextest run --workspace --no-fail-fast

check: format lint deny test ## what CI runs

format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path tests/kryoptic/Cargo.toml --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: ## licences, sources, banned and doubled crates
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (checks the dependency tree)"; $(CARGO) install --locked --quiet cargo-deny; }
	$(CARGO) deny --config .deny.toml check bans licenses sources

advisories: ## known vulnerabilities of the dependencies; fetches the RustSec database
	$(CARGO) deny --config .deny.toml check advisories

fuzz: ## every fuzz target for FUZZ_SECONDS (default 10)
	tests/fuzz/run $(or $(FUZZ_SECONDS),10)

schemathesis: softhsm ## the served OpenAPI document against a live service, as back end, operator and officer (PyPI: schemathesis)
	.ci/schemathesis

storm: softhsm runner ## every fault twenty times under load; writes docs/figures/storm-*.md (half an hour)
	TILLWARD_STORM_ROUNDS=20 TILLWARD_STORM_FIGURES=write $(CARGO) nextest run --test it --no-capture -P long -E 'test(/^weather::/)'

soak: softhsm runner ## ten million derivations and MACs; writes docs/figures/soak.md (an hour)
	TILLWARD_SOAK_CALLS=10000000 TILLWARD_SOAK_FIGURES=write $(CARGO) nextest run --test it --no-capture -P long -E 'test(/^soak::/)'

bench: softhsm ## the benchmark; writes docs/figures/bench.md and docs/figures/policy.md
	$(CARGO) bench --bench main_job
	$(CARGO) bench --bench policy

image: ## the container image of an HSM host over SoftHSM, as tillward-hsm-host:latest
	$(CARGO) build --release --locked
	softhsm-config/image --tag tillward-hsm-host:latest $(or $(CARGO_TARGET_DIR),target)/release/tillward

softhsm:
	@if [ -z "$(SOFTHSM)" ]; then \
	  echo "SoftHSM is missing: installing the Debian package softhsm2 (a PKCS#11 token in software)"; \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq softhsm2; \
	  else sudo apt-get update -qq && sudo apt-get install -y -qq softhsm2; fi; \
	fi

runner:
	@command -v cargo-nextest >/dev/null || { echo "installing cargo-nextest (the test runner)"; $(CARGO) install --locked --quiet cargo-nextest; }

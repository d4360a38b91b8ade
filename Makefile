# `make run` and `make test` do everything from nothing on a Debian machine with a Rust toolchain.

CARGO ?= cargo
TOOLS := $(CURDIR)/.tools

.PHONY: run build test test-rust test-sdk test-deploy test-system pii bench fuzz lint lint-deploy deny setup setup-tests

run: setup ## build, and start the whole system on loopback
	$(CARGO) run --release --locked -- sandbox

build: setup
	$(CARGO) build --release --locked

test: test-rust test-sdk test-deploy ## every test: units, the real binary, the official SDKs, deploy/ and the documents

test-rust: setup setup-tests tests/idp/node_modules/.package-lock.json tests/s3/.venv/stamp
	$(CARGO) test --locked

test-sdk: setup setup-tests
	$(CARGO) build --locked
	PORTCULLIS_BIN=$(CURDIR)/target/debug/portcullis tests/sdk/run

# Terraform runs where it is found; that it is not is said.
test-deploy: setup setup-tests tests/s3/.venv/stamp
	$(CARGO) build --locked
	PORTCULLIS_BIN=$(CURDIR)/target/debug/portcullis tests/deploy/run

# The shipped unit under a real systemd that is booted for it; needs root.
test-system: setup
	@$(call packages,systemd-analyze systemd-nspawn dbus-daemon ip curl,systemd systemd-container dbus iproute2 curl)
	$(CARGO) build --locked
	PORTCULLIS_BIN=$(CURDIR)/target/debug/portcullis tests/system/run

# PII_CORPUS=FILE scores other cases in the same format, without floors.
pii: setup ## what masking finds and what it leaves alone, by type
	$(CARGO) build --release --locked
	python3 tests/pii/score.py $(PII_CORPUS) -- target/release/portcullis redact --jsonl

bench: setup ## benches of the hot paths, and a table of what they measured
	$(CARGO) bench --locked
	benches/table

FUZZ_SECONDS ?= 10
fuzz: setup $(TOOLS)/bin/cargo-fuzz ## every fuzz target for a while; RUSTC_BOOTSTRAP lets a stable compiler sanitize
	for target in peek answer token claims proof revocations proxy_protocol texts mask audit_line; do \
	  RUSTC_BOOTSTRAP=1 PATH="$(TOOLS)/bin:$$PATH" $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

$(TOOLS)/bin/cargo-fuzz:
	$(CARGO) install --locked --debug --root $(TOOLS) cargo-fuzz@0.13.2

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

deny: $(TOOLS)/bin/cargo-deny
	PATH="$(TOOLS)/bin:$$PATH" .ci/deny

# 300 MB, and it brings a hcl2 of its own: not for every `make test`.
lint-deploy: $(TOOLS)/checkov/stamp
	$(TOOLS)/checkov/bin/checkov --directory deploy/terraform --framework terraform --compact --quiet --skip-download

$(TOOLS)/checkov/stamp: tests/deploy/checkov.txt | setup-tests
	python3 -m venv --clear $(TOOLS)/checkov
	$(TOOLS)/checkov/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --locked --debug --no-default-features --root $(TOOLS) cargo-deny@0.20.2

# Installs Debian packages for commands that are missing: $(call packages,COMMANDS,PACKAGES)
packages = for tool in $(1); do command -v $$tool >/dev/null || missing=yes; done; \
	if [ -n "$$missing" ]; then \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy $(2); \
	fi

# cmake builds zlib-ng, which Pingora uses; a C compiler builds the cryptography and links.
setup:
	@$(call packages,cmake cc,cmake build-essential)

# Real peers of the tests: Redis, Prometheus, and what the SDKs and the OpenID provider run on. Each alone: a Node.js of its makers
# conflicts with Debian's npm.
setup-tests:
	@$(call packages,python3,python3 python3-venv)
	@$(call packages,node npm,nodejs npm)
	@$(call packages,redis-server,redis-server)
	@$(call packages,promtool prometheus amtool,prometheus prometheus-alertmanager)

tests/idp/node_modules/.package-lock.json: tests/idp/package-lock.json | setup-tests
	cd tests/idp && npm ci --no-audit --no-fund --loglevel=error
	touch $@

# Stores of S3 and engines of SQL.
tests/s3/.venv/stamp: tests/s3/requirements.txt | setup-tests
	python3 -m venv --clear tests/s3/.venv
	tests/s3/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# `make run` and `make test` do everything from nothing on a Debian machine with a Rust toolchain.

CARGO ?= cargo
TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: run build test test-rust test-sdk bench lint deny setup

run: setup ## build, and start the whole system on loopback
	$(CARGO) run --release --locked -- sandbox

build: setup
	$(CARGO) build --release --locked

test: test-rust test-sdk ## every test: units, integration, official SDKs

test-rust: setup
	$(CARGO) test --locked

test-sdk: setup
	$(CARGO) build --locked
	tests/sdk/run

bench: setup ## criterion benches, and a table of what they measured
	$(CARGO) bench --locked
	benches/table

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

deny: $(TOOLS)/bin/cargo-deny
	.ci/deny

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install --locked --debug --no-default-features --root $(TOOLS) cargo-deny@0.20.2

# cmake builds zlib-ng, which Pingora uses; a C compiler links.
setup:
	@for tool in cmake cc make; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy cmake build-essential; \
	fi

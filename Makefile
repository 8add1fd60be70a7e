# What people and CI run. One profile (release) and one target directory that outlives a clone:
# the dependencies take a quarter of an hour to build on two cores, once.

CACHE := $(or $(HERALD_CACHE),$(HOME)/.cache/herald)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# RocksDB's headers are compiled once (see there).
export PATH := $(CURDIR)/scripts/cxx:$(PATH)
CARGO := cargo --locked
CRATES := herald herald-benches herald-connectors herald-dataflows herald-schemas herald-state
# Tests run our own code with failpoints and little optimised: it compiles in half the time, and the
# dependencies are those of the release.
TESTED := --release --workspace --features herald/failpoints \
  $(foreach crate,$(CRATES),--config 'profile.release.package.$(crate).opt-level=1')
HERALD := $(CARGO_TARGET_DIR)/release/herald

.PHONY: demo test build setup lint deny docs clients stores judge pairs season bench bench-kernels bench-view bench-peers bench-match bench-nexmark bench-serve dist dist-test ci
.NOTPARALLEL:

demo: ## build and watch the whole engine work, with nothing installed beside it
	@scripts/setup.sh --build
	$(CARGO) build --release --workspace --bins
	$(HERALD) demo

test: setup ## all tests, real Kafka and registry included
	$(CARGO) test $(TESTED) --doc
	$(CARGO) test $(TESTED) --tests --no-fail-fast

build: ## the binary
	@scripts/setup.sh --build
	$(CARGO) build --release --workspace --bins
	@echo $(HERALD)

setup: ## install what is missing; fetch Kafka, a schema registry, PostgreSQL, its clients and DuckDB for the tests
	@scripts/setup.sh

lint: ## formatting, clippy and docs, warnings denied
	cargo fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --features herald/failpoints -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

deny: ## what may enter the tree: licences, bans, versions, sources, advisories
	scripts/deny.sh

clients: setup build ## clients of PostgreSQL, the heavy ones too (dbt)
	scripts/clients.sh fetch --all
	scripts/clients.sh try $(HERALD) --all

stores: setup ## exports to a store with S3's API, which it fetches and starts; builds with the feature cloud
	scripts/stores.sh fetch
	$(CARGO) test $(TESTED) --features herald/cloud --test e2e -- stores:: --test-threads 1

judge: setup ## 200,000 random expressions before PostgreSQL; HERALD_EXPRESSIONS and HERALD_SEED say how many, and which
	HERALD_EXPRESSIONS=$${HERALD_EXPRESSIONS:-200000} $(CARGO) test $(TESTED) --test scalar -- --nocapture

pairs: setup ## 200 random edits of topologies over their states; HERALD_PAIRS and HERALD_SEED say how many, and which
	HERALD_PAIRS=$${HERALD_PAIRS:-200} $(CARGO) test $(TESTED) --test e2e edit_pairs -- --nocapture

season: setup ## a season of 2,000 matches over Kafka, through kills, before its judge; HERALD_MATCHES and HERALD_SEED say which
	HERALD_MATCHES=$${HERALD_MATCHES:-2000} HERALD_SEASON_KILLS=$${HERALD_SEASON_KILLS:-3} $(CARGO) test $(TESTED) --test e2e season:: -- --nocapture

bench: setup ## events per CPU-second beside the limit, in process and through Kafka
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches

bench-kernels: setup ## instructions of the engine's kernels beside their baseline; HERALD_UPDATE=1 writes it
	$(CARGO) test $(TESTED) --test kernels -- --nocapture

bench-view: ## queries of a view of 5,000,000 rows, or HERALD_BENCH_ROWS; HERALD_UPDATE=1 writes them to docs/queries.md
	@scripts/setup.sh --build
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches view

bench-peers: setup ## one job in Herald, Kafka Streams and Flink, beside the limit; PEERS='--events 300k --repeat 1' for less
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches peers $(PEERS)

bench-match: setup ## that job in Herald over three sizes of records, few and many keys, one and two workers; MATCH='--quick' for less
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches match $(MATCH)

bench-nexmark: ## NEXMark's queries in Herald and Flink over the same files of events; NEXMARK='--quick' for less
	@scripts/setup.sh --build
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches nexmark $(NEXMARK)

bench-serve: setup ## latency, recovery, start, bytes of a key, queries beside load; SERVE='--quick' for less, '--peers' for Streams too
	$(CARGO) build --release --workspace --bins
	$(CARGO_TARGET_DIR)/release/herald-benches serve $(SERVE)

docs: ## the documentation as a site with search, in site/
	scripts/docs.sh

dist: ## packages of the release in dist/: tarball, wheel, Debian package, OCI image; with exports to object stores
	@scripts/setup.sh --build
	$(CARGO) build --release --workspace --bins --features herald/cloud
	@scripts/setup.sh --dist
	scripts/dist.py $(HERALD) dist

dist-test: dist ## each package installed in a clean root and run there; needs root
	scripts/try_dist.sh dist

ci: ## what .ci/run runs
	.ci/run

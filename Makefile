# Flowjet's tasks. `make help` lists them.

# What fails in front of a pipe fails the task.
SHELL       := bash
.SHELLFLAGS := -o pipefail -c

GO        ?= go
BIN       ?= bin/flowjet
DATA      ?= flowjet-data
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
# What package managers compare: without a tag 0.0.0+COMMIT, and behind a tag 1.2.3+COMMITS-gCOMMIT.
PACKAGE_VERSION = $(shell echo '$(VERSION)' | sed -E 's/^v([0-9])/\1/; s/^([0-9.]+)-([0-9]+-g)/\1+\2/; /^[0-9]+\.[0-9]+\.[0-9]+/!s/^/0.0.0+/; s/[^A-Za-z0-9.+~-]/./g; :a; s/(\+.*)-/\1./; ta')
LINT      := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
NFPM      := $(GO) tool -modfile=tools/nfpm/go.mod nfpm
# The packages of this module; the tools have modules of their own.
PACKAGES  := ./...

.PHONY: help
help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/flowjet
	@[ -e $(BIN) ] || echo "Building $(BIN): the first time this takes a minute or two."
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/flowjet

.PHONY: run
run: build ## Run everything in one process with a simulated OpenNebula
	exec $(BIN) up --sim --data-dir $(DATA)

.PHONY: cluster
cluster: build ## Run three front-ends on this machine, to test failures
	exec $(BIN) cluster --data-dir $(DATA)-cluster

.PHONY: demo
demo: build ## Drive a running `make run` through a service's whole life
	$(BIN) demo --data-dir $(DATA)

.PHONY: test
test: ## Run all tests with the race detector
	$(GO) build -race $(PACKAGES)
	.ci/test $(GO) test -race -p 1 -timeout 30m $(PACKAGES) # -p 1: servers and processes of two packages would fight for two cores

.PHONY: bench
bench: ## Run every benchmark once, print its figures, and fail where a ratio is far from the one wanted
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./bench/...

.PHONY: bench-oned
bench-oned: ## Benchmark the fleet and the lists on a real ONED=endpoint, with AUTH=file of its server user, ROUNDS=n (default 5)
	FLOWJET_BENCH_ONED=$(ONED) FLOWJET_BENCH_ONED_AUTH=$(AUTH) FLOWJET_BENCH_ONED_TEMPLATE=$(TEMPLATE) \
		$(GO) test -run '^$$' -bench 'Fleet|ManyServices' -benchtime $(or $(ROUNDS),5)x -timeout 60m ./bench

.PHONY: bench-scale
bench-scale: ## Run the large benchmarks, with SERVICES=10000 of ten VMs each
	FLOWJET_BENCH_SCALE=$(or $(SERVICES),10000) $(GO) test -run '^$$' -bench 'Scale|Workers' -benchtime 1x -timeout 60m ./bench

.PHONY: bench-failover
bench-failover: ## Stop workers while their services deploy, and measure the interruption
	FLOWJET_BENCH_FAILOVER=1 $(GO) test -run '^$$' -bench Failover -benchtime 1x -timeout 10m ./bench

.PHONY: bench-lives
bench-lives: ## Create and remove 10,000 services, a week's, and measure what is left (SERVICES=a day's)
	FLOWJET_BENCH_LIVES=$(or $(SERVICES),1440) $(GO) test -run '^$$' -bench Lives -benchtime 1x -timeout 120m ./bench

.PHONY: fuzz
fuzz: ## Run every fuzz target with FUZZTIME inputs (default 1000x)
	.ci/fuzz

.PHONY: soak
soak: ## Kill bridges, oned and JetStream at random under load, MINUTES=m (default 10)
	FLOWJET_SOAK=$(or $(MINUTES),10)m $(GO) test -run 'TestSoak' -count 1 -timeout 0 -v ./bridge

.PHONY: nightly
nightly: ## Run the long tests: fuzzing, a worker's death at every call, and the soak
	NIGHTLY=1 .ci/fuzz
	EVERY_DEATH=1 $(GO) test -run TestWorkerDiesAtAnyCall -count 1 -timeout 30m ./consumers
	$(MAKE) soak

.PHONY: chaos
chaos: ## Inject random faults on three front-ends, SEED=n MINUTES=m (default 1 and 1)
	CHAOS_SEED=$(or $(SEED),1) CHAOS_LENGTH=$(or $(MINUTES),1)m \
	  $(GO) test -run TestChaos -count 1 -timeout 0 -v ./cmd/flowjet | grep -v 'process_test.go'

# What each package tests of what a tenant or a fault must not be able to do.
HOSTILE_TESTS := Hostile|OutlivesAKill|OnedIsRestored|OlderCopy|NoOtherDatabase|AnEventAlone|NoBodyTakesLong|CountsAndLengths|Strangers|Forged|LongNames|NeverTakes|Damaged|Tombstone|AnotherTime|Orphans|BelongsToAZone|Slots|SlowBodies|StreamsAreShared|LocksAreKept|AfterAKill|LongRequest|NoSecret|DefaultNATS|ReaderWrites|MustNotDo|OwnAddresses|FullDisk|Sealed|CannotBePublished|ThatPanics|AlwaysRefused|CannotBeRead|ClosedConnection|LostWithWork|InAnswersAre|MadeOfBlanks|TakeTurns|StopServices|RoomForOthers

.PHONY: hostile
hostile: ## Test what tenants and faults must not be able to do
	FLOWJET_HOSTILE=1 $(GO) test -count 1 -p 1 -timeout 30m -run '$(HOSTILE_TESTS)' ./cmd/flowjet ./flow/... ./pipeline/... ./consumers ./restapi ./opennebula ./app ./webhooks ./internal/seal

.PHONY: man
man: build ## Write man pages into man/
	$(BIN) man man

.PHONY: fmt
fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run 'make fmt':"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet $(PACKAGES)

.PHONY: lint
lint: ## Lint, with the linter pinned in tools/lint
	$(LINT) run $(PACKAGES)

.PHONY: structure
structure: ## Measure the structure of the code, against tools/structure/ceilings
	@$(GO) run ./tools/structure
	@GOCOVERDIR=$$(mktemp -d) $(GO) run -cover -covermode=atomic -coverpkg=./... ./tools/way

# Writes man pages and completion, also where the package is for another processor.
RUNS_HERE = GOOS= GOARCH= $(GO) run -trimpath ./cmd/flowjet

.PHONY: packages
packages: ## Build the .deb and the .rpm into dist/, VERSION=1.2.3
	CGO_ENABLED=0 $(MAKE) --no-print-directory build VERSION=$(VERSION)
	mkdir -p dist/man dist/completion
	$(RUNS_HERE) man dist/man && gzip -9nf dist/man/*.1
	for shell in bash zsh fish; do $(RUNS_HERE) completion $$shell >dist/completion/$$shell || exit 1; done
	for kind in deb rpm; do VERSION='$(PACKAGE_VERSION)' ARCH=$$($(GO) env GOARCH) $(NFPM) package -f deployments/package/nfpm.yaml -p $$kind -t dist/ || exit 1; done

.PHONY: packages-ci
packages-ci:
	.ci/package

.PHONY: walk
walk: ## Follow the installation pages on three front-ends with systemd (root)
	.ci/walk -v

.PHONY: walk-ci
walk-ci:
	.ci/walk

.PHONY: demo-ci
demo-ci: build
	.ci/demo

.PHONY: clients
clients: build ## Generate clients from the OpenAPI document and run them against a simulated Flowjet
	.ci/clients

.PHONY: ci
ci: export CHAOS_LENGTH = 60s
ci: fmt-check vet lint structure test fuzz demo-ci clients packages-ci walk-ci bench ## Run all checks of CI

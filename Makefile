# What this repository can do. `make` alone lists it.
.DEFAULT_GOAL := help
FUZZTIME ?= 10s
BROKERS ?= 1

.PHONY: help test race lint fmt quickstart ci e2e-native e2e-containers e2e-compose e2e-external e2e-figures prove-write prove-read prove-evolution fuzz cover

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run all tests; they need nothing but Go
	go test ./...

race: ## run all tests with the race detector (needs a C compiler)
	.ci/run race

lint: ## run gofmt, go vet and golangci-lint, which is installed below .cache
	.ci/run format hygiene vet lint

fmt: ## format all Go files
	gofmt -w .

quickstart: ## run everything in one process, on real orders, and serve until Ctrl-C
	go run ./cmd/quickstart

ci: ## run what the CI runs
	.ci/run

e2e-native: ## run the end-to-end suite on real services as processes (BROKERS=3 for three brokers)
	@e2e/run native:$(BROKERS)

e2e-containers: ## run it on testcontainers (BROKERS=3 for three brokers)
	@e2e/run containers:$(BROKERS)

e2e-compose: ## run it on docker-compose.yml
	@e2e/run compose

e2e-external: ## run it on services whose addresses are in LEDGERLINE_E2E_BROKERS, _REGISTRY_URL, _REDIS_URL
	@e2e/run external

e2e-figures: ## measure the embedded and the native stack, one after the other
	@e2e/run figures

prove-write: ## prove the write side under faults (SEED=, SEEDS=, MUTANT=, SHORT=1: see prove/run)
	@prove/run write

prove-read: ## prove the read side on broken Redis processes (SEED=, RUNS=, SHORT=1: see prove/run)
	@prove/run read

prove-evolution: ## prove that every schema and record ever released is read (SEED=, MUTANT=: see prove/run)
	@prove/run evolution

fuzz: ## fuzz every fuzz target for FUZZTIME (10s) each
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "go test -run ^$$ -fuzz ^$$target\$$ -fuzztime $(FUZZTIME) $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null; \
		done; \
	done

cover: ## write and sum up the coverage of all tests
	@mkdir -p .cache
	go test -coverpkg=./... -coverprofile=.cache/cover.out ./...
	go tool cover -func=.cache/cover.out | tail -1
	@echo "see: go tool cover -html=.cache/cover.out"

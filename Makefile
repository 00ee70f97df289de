# Every CI step is a target, and every target is what the README tells people to call.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
ENGINE ?= sim
SEED ?= 1
SEEDS ?= 1
N ?= 20

##@ Every day

.PHONY: e2e
e2e: ## Prove the reference stack: six suites on ENGINE (default sim)
	SEATRIAL_ENGINE=$(ENGINE) SEATRIAL_SEED=$(SEED) SEATRIAL_SEEDS=$(SEEDS) $(CARGO) run --quiet --bin seatrial -- run

.PHONY: test
test: ## Run every test that needs no cluster
	SEATRIAL_ENGINE=sim $(CARGO) test

.PHONY: conformance
conformance: ## Judge ENGINE (default sim) by the behaviours of Kubernetes that the model claims
	SEATRIAL_ENGINE=$(ENGINE) $(CARGO) test --quiet --test conformance

.PHONY: build
build: ## Build the optimised program into target/release
	$(CARGO) build --release

.PHONY: bench
bench: ## Measure: six suites at one seed, 100 seeds, 1,000 nodes
	$(CARGO) bench --bench suites --bench sim_scale

##@ Real clusters

.PHONY: soak-kind
soak-kind: $(if $(SEATRIAL),,build) ## End N (default 20) runs on kind in every way; nothing of ours may be left
	N=$(N) SEED=$(SEED) ci/soak-kind

##@ Before a commit

.PHONY: check
check: fmt-check lint test doc e2e ## All that CI checks

.PHONY: lint
lint: ## Clippy, warnings as errors; licences and bans where cargo-deny is installed
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check --hide-inclusion-graph licenses bans sources; \
	 else echo "cargo-deny is not installed: licences and bans not checked"; fi

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt

.PHONY: fmt-check
fmt-check: ## Fail if the code is not formatted
	$(CARGO) fmt --check

.PHONY: doc
doc: ## Build the documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

.PHONY: clean
clean: ## Remove everything that was built
	$(CARGO) clean

##@ Help

.PHONY: help
help: ## Show this text
	@awk 'BEGIN {FS = ":.*##"; printf "Usage: make <target> [ENGINE=sim] [SEED=1] [SEEDS=1] [N=20]\n"} \
	 /^[a-z0-9-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2} \
	 /^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

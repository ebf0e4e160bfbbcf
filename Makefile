# The commands of a developer. Each target first installs what it needs into .venv.
# The embedded stack uses settings of the environment: PORT=8080 make up.
# Another Python has a separate environment (.venv-3.12): make test PYTHON=3.12.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# (`make package PYTHON=…` uses .venv: it only downloads wheels for the other Python.)
VENV := .venv$(if $(filter package,$(MAKECMDGOALS)),,$(addprefix -,$(PYTHON)))
RUN := $(VENV)/bin/python
# What the embedded stack needs; and what tests and checks need on top of it.
STACK := $(VENV)/.stack
DEV := $(VENV)/.dev
# Bytecode is kept, whatever the environment says: else each of the processes below compiles all
# that it imports again, which doubles what a test run costs.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(STACK) ## deliver the sample catalog to a failing supply chain, check that all arrives
	@$(RUN) -m embedded.demo

# In five processes, one test file at a time each. ARGS="-n 0" uses one process and shows the output.
.PHONY: test
test: $(DEV) ## run every test that needs no cloud account; ARGS="-k words" selects some
	@$(RUN) -m pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

# Three processes keep two processors busy: some of these tests wait for a deadline to pass.
.PHONY: test-unit
test-unit: $(DEV) ## run the unit tests: nothing that starts a process or waits for real time
	@$(RUN) -m pytest -q -n 2 --dist worksteal tests/unit $(ARGS)

.PHONY: fmt
fmt: $(DEV) ## format the Python files, and mend what ruff can mend
	@$(RUN) -m ruff check --fix --quiet .
	@$(RUN) -m ruff format --quiet .

EXAMPLES ?= 100

.PHONY: test-api
test-api: $(DEV) ## hold the API to its OpenAPI document with many more requests; EXAMPLES=1000
	@EXAMPLES=$(EXAMPLES) $(RUN) -m pytest tests/clients/test_schemathesis.py $(ARGS)

# In one process, and each name that it uses elsewhere is its own: docs/contract-tests.md.
.PHONY: test-contract
test-contract: $(DEV) ## hold the servers of MONGODB_URI, NATS_URL, SYNC_QUEUE_URL to the adapters' tests
	@$(RUN) -m pytest --servers-of-environment tests/contract $(ARGS)

.PHONY: up
up: $(STACK) ## start the embedded stack in the background, or the parts that do not run
	@$(RUN) -m embedded.stack up

.PHONY: status
status: $(STACK) ## say what of the embedded stack runs, where, and whether the API is ready
	@$(RUN) -m embedded.stack status

.PHONY: down
down: $(STACK) ## stop the embedded stack, keep its data
	@$(RUN) -m embedded.stack down

.PHONY: clean
clean: $(STACK) ## stop the embedded stack and remove its data
	@$(RUN) -m embedded.stack clean

.PHONY: supply-chain
supply-chain: $(STACK) ## break the stack's fake supply chain, and mend it: ARGS="down", ARGS=up, ARGS="fail 0.3"
	@$(RUN) -m embedded.supply_chain $(or $(ARGS),--help)

.PHONY: bench
bench: $(STACK) ## measure what a delivery costs, as ratios to a baseline of the same run
	@$(RUN) -m embedded.bench

.PHONY: screenshots
screenshots: $(DEV) ## take the documentation's pictures of the console (chromium), some minutes
	@$(RUN) -m tools.screenshots $(ARGS)

SEEDS ?= 200
SCENARIO ?= random

.PHONY: simulate
simulate: $(DEV) ## run the use cases on a virtual clock, with faults; SEEDS=2000 SCENARIO=duplicates
	@$(RUN) -m simulation --seeds $(SEEDS) --scenario $(SCENARIO) $(ARGS)

MINUTES ?= 2

.PHONY: soak
soak: $(STACK) ## break links and processes under load, check that nothing is lost; MINUTES=10 SEED=1
	@$(RUN) -m embedded.soak --minutes $(MINUTES) $(addprefix --seed ,$(SEED))

EMULATOR ?= ministack
export EMULATOR

.PHONY: test-aws
test-aws: $(DEV) $(VENV)-$(EMULATOR)/.stamp ## apply terraform/ to an AWS emulator, and test it; EMULATOR=localstack
	@$(RUN) -m pytest tests/aws $(ARGS)

ARCH ?= arm64

.PHONY: package
package: $(STACK) ## make the Lambda artifacts in dist/; ARCH=arm64 (default) or x86_64
	@$(RUN) -m tools.package --arch $(ARCH) $(addprefix --python ,$(PYTHON))

.PHONY: aws-up
aws-up: $(STACK) $(VENV)-$(EMULATOR)/.stamp ## apply terraform/ to an AWS emulator, print the API's URL; EMULATOR=localstack
	@$(RUN) -m localstack.stack up

.PHONY: aws-down
aws-down: $(STACK) ## destroy what aws-up has created, and stop the emulator
	@$(RUN) -m localstack.stack down

# The token by the environment: others see a command's options.
.PHONY: verify-deployment
verify-deployment: export CATALOG_API := $(or $(URL),$(CATALOG_API))
verify-deployment: export CATALOG_TOKEN := $(or $(TOKEN),$(CATALOG_TOKEN))
verify-deployment: $(STACK) ## smoke test of a deployment: URL=https://…/api TOKEN=…; ARGS=--help says more
	@$(RUN) -m tools.verify_deployment $(ARGS)

.PHONY: rollback
rollback: $(STACK) ## take all functions on AWS back to the release before; ARGS="--list", "--to RELEASE"
	@$(RUN) -m tools.rollback $(ARGS)

.PHONY: sbom
sbom: package $(DEV) ## make the Lambda artifacts, and bills of materials of them and of the image, in dist/sbom/
	@$(RUN) -m tools.sbom

IMAGE ?= product-catalog:1.0.0

# --push, since the local store of Docker may hold one architecture only.
.PHONY: image
image: ## build and push the image for amd64 and arm64, with provenance and SBOM; IMAGE=registry/name:tag
	@docker buildx build --platform linux/amd64,linux/arm64 --provenance=mode=max --sbom=true \
	  --tag $(IMAGE) --push $(ARGS) .

# Terraform's provider comes from the registry (once, for all folders), or from the folder in TF_PLUGIN_DIR.
CATALOG_MODULE := terraform/modules/catalog
CHECKED := .run/check-terraform

.PHONY: check-terraform
check-terraform: $(VENV)-checkov/.stamp ## Terraform: format, validity (examples too), terraform test, checkov
	@mkdir -p $(CHECKED)/providers
	@terraform fmt -check -recursive terraform localstack
	@export TF_IN_AUTOMATION=1 TF_PLUGIN_CACHE_DIR=$(CURDIR)/$(CHECKED)/providers \
	    TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE=1; \
	  for folder in terraform $(wildcard terraform/examples/*/) $(CATALOG_MODULE); do \
	    export TF_DATA_DIR=$(CURDIR)/$(CHECKED)/$$(basename $$folder); \
	    terraform -chdir=$$folder init -backend=false -input=false -no-color \
	      $(if $(TF_PLUGIN_DIR),-plugin-dir=$(TF_PLUGIN_DIR)) >$(CHECKED)/log 2>&1 \
	      || { cat $(CHECKED)/log >&2; \
	        echo "without a registry, set TF_PLUGIN_DIR to a folder with the aws provider" >&2; exit 1; }; \
	    case $$folder in \
	      $(CATALOG_MODULE)) terraform -chdir=$$folder test -no-color ;; \
	      *) terraform -chdir=$$folder validate -no-color ;; \
	    esac >$(CHECKED)/log 2>&1 || { echo "$$folder:"; cat $(CHECKED)/log; exit 1; } >&2; \
	  done
	@$(VENV)-checkov/bin/checkov --directory terraform --skip-path terraform/examples \
	  --framework terraform --quiet --compact --skip-download

# The root's variables and the tables of the modules' READMEs.
.PHONY: terraform-docs
terraform-docs: $(DEV) ## write again what is made of the Terraform modules' variables and outputs
	@$(RUN) -m tools.terraform_docs
	@terraform fmt -recursive terraform

# terraform test: against a mock of the provider, so no account is asked.
.PHONY: check-terraform-kubernetes
check-terraform-kubernetes: ## Terraform for Kubernetes: validity, and its tests
	@mkdir -p .run
	@export TF_DATA_DIR=$(CURDIR)/.run/check-terraform-kubernetes TF_IN_AUTOMATION=1; \
	  terraform -chdir=terraform/kubernetes init -backend=false -input=false -no-color \
	    $(if $(TF_PLUGIN_DIR),-plugin-dir=$(TF_PLUGIN_DIR)) >.run/check-terraform-kubernetes.log 2>&1 \
	    || { cat .run/check-terraform-kubernetes.log >&2; exit 1; }; \
	  terraform -chdir=terraform/kubernetes validate -no-color && \
	  terraform -chdir=terraform/kubernetes test -no-color

.PHONY: check
check: $(DEV) check-terraform check-terraform-kubernetes ## format, lint, types, import rules, Terraform, image, workflows, manifests
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --no-error-summary
	@$(VENV)/bin/hadolint Dockerfile
	@$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@$(VENV)/bin/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(RUN) -m pytest -q tests/unit/test_architecture.py tests/kubernetes

.PHONY: test-kubernetes
test-kubernetes: $(DEV) ## build the image, run the manifests' pods (root, podman, runc, debootstrap)
	@$(RUN) -m pytest -s tests/kubernetes/running.py $(ARGS)

.PHONY: rules
rules: $(DEV) ## write the Prometheus rules again from terraform/modules/catalog/alarms.yaml
	@$(RUN) -m tools.prometheus_rules

LOCK := uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --fork-strategy fewest --no-header

.PHONY: lock
lock: ## write the requirements files again from pyproject.toml (uv); ARGS=--upgrade
	@$(LOCK) $(ARGS) --group service -o requirements.txt
	@$(LOCK) $(ARGS) pyproject.toml --group dev -o requirements-dev.txt
	@$(LOCK) $(ARGS) pyproject.toml --group embedded -o requirements/embedded.txt
	@for group in build checkov container localstack ministack; do \
	  $(LOCK) $(ARGS) --group $$group -o requirements/$$group.txt || exit 1; done

# Create the environment again if its Python does not run or is too old.
ifneq ($(shell $(RUN) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
.PHONY: $(VENV)/pyvenv.cfg
endif

$(VENV)/pyvenv.cfg:
	@python=$$(tools/find-python $(PYTHON)) && echo "$(VENV) has $$($$python --version), $$python" && \
	  $$python -m venv --clear $(VENV)

# pip's output is shown only when it fails.
INSTALL = echo "installing $< into $(@D) ..."; \
  $(@D)/bin/python -m pip install --disable-pip-version-check -r $< >$(@D)/pip.log 2>&1 \
    || { cat $(@D)/pip.log >&2; exit 1; }; touch $@

# And catalogctl, as a script that runs the sources here.
$(STACK): requirements/embedded.txt pyproject.toml $(VENV)/pyvenv.cfg
	@$(INSTALL)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . \
	  || { rm -f $@; exit 1; }

$(DEV): requirements-dev.txt $(STACK)
	@$(INSTALL)

# Includes the executor that runs Lambdas without Docker.
$(VENV)-localstack/.stamp: requirements/localstack.txt $(VENV)/pyvenv.cfg \
    $(wildcard localstack/pyproject.toml localstack/lambda_processes/*.py)
	@$(RUN) -m venv --clear $(@D)
	@$(INSTALL)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation ./localstack

# Checkov and the AWS emulators pin other versions than ours, so each has its own environment.
$(VENV)-%/.stamp: requirements/%.txt $(VENV)/pyvenv.cfg
	@$(RUN) -m venv --clear $(@D)
	@$(INSTALL)

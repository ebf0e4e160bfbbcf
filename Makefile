# Everything a developer does here. Each target installs what it needs into .venv first.
# Settings of the environment reach the embedded stack: PORT=8080 make up.

# Another Python, in an environment of its own (.venv-3.12): make test PYTHON=3.12.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# (`make package` needs no such environment to make the artifacts of another Python.)
VENV := .venv$(if $(filter package,$(MAKECMDGOALS)),,$(addprefix -,$(PYTHON)))
RUN := $(VENV)/bin/python
# What the embedded stack needs; and what tests and checks need on top of it.
STACK := $(VENV)/.stack
DEV := $(VENV)/.dev

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(STACK) ## load the sample catalog against a failing supply chain, show that all arrives
	@$(RUN) -m embedded.demo

# In two processes, a file each at a time; with ARGS="-n 0" in one, to see what a test prints.
.PHONY: test
test: $(DEV) ## run every test that needs no cloud account; ARGS="-k words" for some
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: up
up: $(STACK) ## start the embedded stack in the background, or what is missing of it
	@$(RUN) -m embedded.stack up

.PHONY: down
down: $(STACK) ## stop the embedded stack, keep its data
	@$(RUN) -m embedded.stack down

.PHONY: clean
clean: $(STACK) ## stop the embedded stack and remove its data
	@$(RUN) -m embedded.stack clean

.PHONY: bench
bench: $(STACK) ## compare ways to work side by side: what costs what, as ratios
	@$(RUN) -m embedded.bench

SEEDS ?= 200
SCENARIO ?= random

.PHONY: simulate
simulate: $(DEV) ## run the use cases on a virtual clock, with faults; SEEDS=2000 SCENARIO=duplicates
	@$(RUN) -m simulation --seeds $(SEEDS) --scenario $(SCENARIO) $(ARGS)

EMULATOR ?= ministack
export EMULATOR

.PHONY: test-aws
test-aws: $(DEV) $(VENV)-$(EMULATOR)/.stamp ## apply terraform/ to an emulator, and test it; EMULATOR=localstack
	@$(RUN) -m pytest tests/aws $(ARGS)

ARCH ?= arm64

.PHONY: package
package: $(STACK) ## make the Lambda artifacts in dist/; ARCH=arm64 (default) or x86_64
	@$(RUN) -m tools.package --arch $(ARCH) $(addprefix --python ,$(PYTHON))

.PHONY: aws-up
aws-up: $(STACK) $(VENV)-$(EMULATOR)/.stamp ## apply terraform/ to an AWS emulator here, print its URL; EMULATOR=localstack
	@$(RUN) -m localstack.stack up

.PHONY: aws-down
aws-down: $(STACK) ## destroy what aws-up has made, and stop the emulator
	@$(RUN) -m localstack.stack down

# Terraform's provider comes from the registry, or from the folder TF_PLUGIN_DIR.
.PHONY: check-terraform
check-terraform: $(VENV)-checkov/.stamp ## Terraform: format, validity, checkov
	@mkdir -p .run
	@terraform fmt -check -recursive terraform localstack
	@export TF_DATA_DIR=$(CURDIR)/.run/check-terraform TF_IN_AUTOMATION=1; \
	  terraform -chdir=terraform init -backend=false -input=false -no-color \
	    $(if $(TF_PLUGIN_DIR),-plugin-dir=$(TF_PLUGIN_DIR)) >.run/check-terraform.log 2>&1 \
	    || { cat .run/check-terraform.log >&2; \
	      echo "no registry? TF_PLUGIN_DIR names a folder with the aws provider" >&2; exit 1; }; \
	  terraform -chdir=terraform validate -no-color
	@$(VENV)-checkov/bin/checkov --directory terraform --framework terraform \
	  --quiet --compact --skip-download

.PHONY: check
check: $(DEV) check-terraform ## format, lint, types, import rules, Terraform, image and manifests
	@$(RUN) -m ruff format --check --quiet .
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --no-error-summary
	@$(VENV)/bin/hadolint Dockerfile
	@$(RUN) -m pytest -q tests/unit/test_architecture.py tests/kubernetes

.PHONY: test-kubernetes
test-kubernetes: $(DEV) ## build the image, run the manifests' pods (root, podman, runc, debootstrap)
	@$(RUN) -m pytest -s tests/kubernetes/running.py $(ARGS)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --no-header

.PHONY: lock
lock: ## write the requirements files again from pyproject.toml (uv); ARGS=--upgrade
	@$(LOCK) $(ARGS) pyproject.toml -o requirements.txt
	@$(LOCK) $(ARGS) pyproject.toml --group dev -o requirements-dev.txt
	@for group in container embedded; do \
	  $(LOCK) $(ARGS) pyproject.toml --group $$group -o requirements/$$group.txt || exit 1; done
	@for group in checkov localstack ministack; do \
	  $(LOCK) $(ARGS) --group $$group -o requirements/$$group.txt || exit 1; done

# An environment that does not run, or not with a Python that will do, is made anew.
ifneq ($(shell $(RUN) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
.PHONY: $(VENV)/pyvenv.cfg
endif

$(VENV)/pyvenv.cfg:
	@python=$$(tools/find-python $(PYTHON)) && echo "$(VENV) has $$($$python --version), $$python" && \
	  $$python -m venv --clear $(VENV)

# pip's output only matters when it fails.
INSTALL = echo "installing $< into $(@D) ..."; \
  $(@D)/bin/python -m pip install --disable-pip-version-check -r $< >$(@D)/pip.log 2>&1 \
    || { cat $(@D)/pip.log >&2; exit 1; }; touch $@

$(STACK): requirements/embedded.txt $(VENV)/pyvenv.cfg
	@$(INSTALL)

$(DEV): requirements-dev.txt $(STACK)
	@$(INSTALL)

# With the executor that runs its Lambdas without Docker.
$(VENV)-localstack/.stamp: requirements/localstack.txt $(VENV)/pyvenv.cfg \
    $(wildcard localstack/pyproject.toml localstack/lambda_processes/*.py)
	@$(RUN) -m venv --clear $(@D)
	@$(INSTALL)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation ./localstack

# Checkov and the AWS emulators pin other versions than ours, so each lives apart.
$(VENV)-%/.stamp: requirements/%.txt $(VENV)/pyvenv.cfg
	@$(RUN) -m venv --clear $(@D)
	@$(INSTALL)

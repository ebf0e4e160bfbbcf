# Everything a developer does here. Each target installs what it needs into .venv first.
# Settings of the environment reach the embedded stack: PORT=8080 make up.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: .venv/.stamp ## load the sample catalog against a failing supply chain, show that all arrives
	@$(PYTHON) -m embedded.demo

.PHONY: test
test: .venv/.stamp ## run every test that needs no cloud account; ARGS="-k words" for some
	@$(PYTHON) -m pytest $(ARGS)

.PHONY: up
up: .venv/.stamp ## start the embedded stack in the background, or what is missing of it
	@$(PYTHON) -m embedded.stack up

.PHONY: down
down: .venv/.stamp ## stop the embedded stack, keep its data
	@$(PYTHON) -m embedded.stack down

.PHONY: clean
clean: .venv/.stamp ## stop the embedded stack and remove its data
	@$(PYTHON) -m embedded.stack clean

.PHONY: bench
bench: .venv/.stamp ## compare ways to work side by side: what costs what, as ratios
	@$(PYTHON) -m embedded.bench

# ministack or localstack: which emulator of AWS to run.
EMULATOR ?= ministack
export EMULATOR

.PHONY: test-aws
test-aws: .venv/.stamp .venv-$(EMULATOR)/.stamp ## apply terraform/ to an emulator, and test it; EMULATOR=localstack
	@$(PYTHON) -m pytest tests/aws $(ARGS)

ARCH ?= arm64

.PHONY: package
package: .venv/.stamp ## make the Lambda artifacts in dist/; ARCH=arm64 (default) or x86_64
	@$(PYTHON) -m tools.package --arch $(ARCH)

.PHONY: aws-up
aws-up: .venv/.stamp .venv-$(EMULATOR)/.stamp ## apply terraform/ to an AWS emulator here, print its URL; EMULATOR=localstack
	@$(PYTHON) -m localstack.stack up

.PHONY: aws-down
aws-down: .venv/.stamp ## destroy what aws-up has made, and stop the emulator
	@$(PYTHON) -m localstack.stack down

# Terraform's provider comes from the registry, or from the folder TF_PLUGIN_DIR.
.PHONY: check-terraform
check-terraform: .venv-checkov/.stamp ## Terraform: format, validity, checkov
	@mkdir -p .run
	@terraform fmt -check -recursive terraform localstack
	@export TF_DATA_DIR=$(CURDIR)/.run/check-terraform TF_IN_AUTOMATION=1; \
	  terraform -chdir=terraform init -backend=false -input=false -no-color \
	    $(if $(TF_PLUGIN_DIR),-plugin-dir=$(TF_PLUGIN_DIR)) >.run/check-terraform.log 2>&1 \
	    || { cat .run/check-terraform.log >&2; \
	      echo "no registry? TF_PLUGIN_DIR names a folder with the aws provider" >&2; exit 1; }; \
	  terraform -chdir=terraform validate -no-color
	@.venv-checkov/bin/checkov --directory terraform --framework terraform \
	  --quiet --compact --skip-download

.PHONY: check
check: .venv/.stamp check-terraform ## format, lint, types, import rules, Terraform, image and manifests
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy --no-error-summary
	@.venv/bin/hadolint Dockerfile
	@$(PYTHON) -m pytest -q tests/unit/test_architecture.py tests/kubernetes

.PHONY: test-kubernetes
test-kubernetes: .venv/.stamp ## build the image, run the manifests' pods (root, podman, runc, debootstrap)
	@$(PYTHON) -m pytest -s tests/kubernetes/running.py $(ARGS)

.venv/.stamp: requirements-dev.txt
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	  found=; \
	  for python in python3.11 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	      found=$$python; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "error: Python 3.11 is needed, as python3.11 or python3;" \
	      "python3 is: $$(python3 --version 2>&1 | head -n 1)" >&2; \
	    exit 1; \
	  fi; \
	  $$found -m venv --clear .venv; \
	fi
	@echo "installing requirements into .venv ..."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# With the executor that runs its Lambdas without Docker.
.venv-localstack/.stamp: requirements/localstack.txt $(wildcard localstack/pyproject.toml localstack/lambda_processes/*.py) | .venv/.stamp
	@echo "installing localstack into .venv-localstack ..."
	@$(PYTHON) -m venv --clear .venv-localstack
	@echo '*' >.venv-localstack/.gitignore
	@.venv-localstack/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/localstack.txt
	@.venv-localstack/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation ./localstack
	@touch $@

# Checkov and the AWS emulator pin other versions than ours, so each lives apart.
.venv-%/.stamp: requirements/%.txt | .venv/.stamp
	@echo "installing $* into .venv-$* ..."
	@$(PYTHON) -m venv --clear .venv-$*
	@echo '*' >.venv-$*/.gitignore
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

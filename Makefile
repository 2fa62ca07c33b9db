# SPDX-License-Identifier: Apache-2.0
# Needs python3.11 and make. `make demo` and `make test` install what they need into .venv first.

PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
# One thread per worker: two test processes on two cores do not fight over them.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test check docs bench install clean

demo: $(STAMP)
	$(BIN)/edgeshift build resnet8 --model-option widths=[32,64,128] --data digits --out build/digits --resume

test: $(STAMP)
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist worksteal

check: $(STAMP)
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/python scripts/docs.py --check
	$(BIN)/mypy
	$(MAKE) test

docs: $(STAMP)
	$(BIN)/python scripts/docs.py

# Every measurement behind a figure, one after the other; hours, and EDGESHIFT_DATA for those on CIFAR-10.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	failed=; for file in $$(grep -l __main__ bench/*/*.py); do \
	  $(BIN)/python -m $$(echo $${file%.py} | tr / .) || failed="$$failed $$file"; done; \
	test -z "$$failed" || { echo "not run to their end, some for want of arguments (--help):$$failed"; exit 1; }

install: $(STAMP)

# torch comes first and pinned, so that pip never resolves another build of it on the way.
$(STAMP): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[derive,dev]'
	touch $(STAMP)

clean:
	rm -rf build

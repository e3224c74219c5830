# make report   run every case on every implementation; tables and report in reports/latest
# make test     lint, types, tests
# make power    how many wrong Adams each budget catches, anew in cases/power.json, with the difference to before
# make bench    speed and memory, as ratios measured side by side
# make reference  the report that is kept in reports/reference
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: report test power bench lint reference clean

report: $(READY)
	$(BIN)/parity run -j 2 -o reports/latest

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

power: $(READY)
	$(BIN)/python tests/faults/power.py -j 2
	git --no-pager diff --stat -- cases/power.json

bench: $(READY)
	$(BIN)/python -m benchmarks

reference: report
	mkdir -p reports/reference
	cp reports/latest/report.md reports/reference/report.md

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,tensorflow-cpu,jax,report,test]'
	# Without what it asks for: the full tensorflow, which would overwrite tensorflow-cpu.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps tf_keras
	touch $@

clean:
	rm -rf $(VENV) reports/latest runs build dist

# make report   run every case on every implementation; table and report in reports/latest
# make test     lint, types, the site of the documentation, tests
# make test-all the same, then what is thorough: whole commands, trainings, clusters, browsers, every row of everything
# make sweeps   the sweeps over all that there is
# make docs     that site, in build/site; asks no network
# make notebooks  the outputs that examples/*.ipynb keep, anew
# make dist     the wheel and the sdist, in dist
# make smoke    both in empty environments of every Python that is claimed and here; downloads what they ask for
# make machines  the whole catalogue under every instruction set, thread count and switch that is claimed; an hour
# make fuzz     damaged inputs of every kind for ten minutes, 1,000 kills, a soak; another SEED asks others
# make power    how many wrong Adams each budget catches, anew in cases/power.json, with the difference to before
#               and how many of them, one and two at once, identify names
# make bench    speed and memory, as ratios measured side by side
# make reference  the report that is kept in reports/reference
# make releases  what releases changed, and the atlas of them, in reports/releases; downloads 60 environments, one after
#               another, and goes on where it was stopped
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Thousands of processes start: none is to compile our source again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: report test test-all sweeps machines fuzz power bench lint docs notebooks dist smoke reference releases clean

report: $(READY)
	$(BIN)/parity run -j 2 -o reports/latest; code=$$?; $(BIN)/parity report reports/latest && exit $$code

TESTS := $(BIN)/pytest -rs -n 2 --dist loadfile --no-loadscope-reorder
ELSEWHERE := network or exhaustive or machines

test: lint docs
	$(TESTS) -m "not (thorough or $(ELSEWHERE))"

test-all: test
	$(TESTS) -m "thorough and not ($(ELSEWHERE))"

sweeps: $(READY)
	$(TESTS) -m "exhaustive and not network"

machines: $(READY)
	$(TESTS) -m machines

SEED := 0
KILLS := 200
SECONDS := 600

fuzz: $(READY)
	$(BIN)/python tests/fuzz/fuzz.py --seed $(SEED) --seconds $(SECONDS) -j 2
	$(BIN)/python tests/fuzz/killed.py all $(KILLS) $(SEED)
	$(BIN)/python tests/fuzz/soak.py 10

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m mkdocs build --strict

notebooks: $(READY)
	$(BIN)/python docs/notebooks.py examples/*.ipynb

dist: $(READY)
	$(BIN)/python -m hatchling build

smoke: $(READY)
	$(BIN)/pytest -rs -m "network or not network" tests/test_distribution.py

power: $(READY)
	$(BIN)/python tests/faults/power.py -j 2
	git --no-pager diff --stat -- cases/power.json

bench: $(READY)
	$(BIN)/python -m benchmarks

reference: report
	mkdir -p reports/reference
	rm -rf reports/reference/plots
	cp -r reports/latest/report.md reports/latest/plots reports/reference

TORCH := 1.13.1,2.0.1,2.2.2,2.4.1,2.6.0,2.8.0,2.10.0,2.12.1,2.13.0,2.14.1
KERAS := 3.3.3,3.6.0,3.9.2,3.12.0,3.15.1
TENSORFLOW := 2.16.2,2.17.1,2.18.1,2.19.1,2.20.0,2.21.0
JAX := 0.5.3,0.6.2,0.7.2,0.8.3,0.9.2,0.10.2
OPTAX_01 := 0.1.2,0.1.3,0.1.4,0.1.5,0.1.7,0.1.9
OPTAX_02 := 0.2.0,0.2.2,0.2.3,0.2.4,0.2.5,0.2.6,0.2.8
OLD_JAX := jax==0.4.13 jaxlib==0.4.13
NEW_JAX := jax==0.10.2 jaxlib==0.10.2
NUMPY := 1.26.4,2.0.2,2.2.6,2.4.6
ML_DTYPES := 0.4.1,0.5.1,0.5.4,0.6.0

LINES := torch torch-bisect keras keras-bisect keras-torch keras-jax tensorflow jax optax-0.1 optax-0.2 numpy ml_dtypes
UPGRADES := optax-0.1-to-0.2 tensorflow-2.15

releases: $(LINES:%=line-%) $(UPGRADES:%=upgrade-%)
	$(BIN)/parity atlas $(LINES:%=runs/releases/%) $(UPGRADES:%=runs/releases/%) -o reports/releases

line-torch: ASKED = matrix --package torch --versions $(TORCH) -i 'torch.adam.f*' -i 'torch.adamw.f*'
line-torch-bisect: ASKED = bisect --package torch --good 2.0.1 --bad 2.2.2 -i torch.adam.forloop -k same
line-keras: ASKED = matrix --package keras --versions $(KERAS) --with tensorflow-cpu==2.21.0 -i 'keras.adam.*'
line-keras-bisect: ASKED = bisect --package keras --good 3.3.3 --bad 3.9.2 --with tensorflow-cpu==2.21.0 \
	-i keras.adam.function -k accumulation -d float32
line-keras-torch: ASKED = matrix --package keras --versions $(KERAS) --with torch==2.13.0 -i 'keras_torch.*'
line-keras-jax: ASKED = matrix --package keras --versions $(KERAS) $(NEW_JAX:%=--with %) -i 'keras_jax.*'
line-tensorflow: ASKED = matrix --package tensorflow-cpu --versions $(TENSORFLOW) -i 'keras.adam.*' -i tensorflow.adam.kernel
line-jax: ASKED = matrix --package jax --versions $(JAX) --with optax==0.2.8 -i 'optax.adam.*' -i 'optax.adamw.*'
line-optax-0.1: ASKED = matrix --package optax --versions $(OPTAX_01) $(OLD_JAX:%=--with %) -i 'optax.adam.*'
line-optax-0.2: ASKED = matrix --package optax --versions $(OPTAX_02) --with jax==0.6.2 --with jaxlib==0.6.2 -i 'optax.adam.*'
line-numpy: ASKED = matrix --package numpy --versions $(NUMPY) --with numba==0.68.1 -i 'numpy.adam.*' \
	-i examples/float64_scalars.py:run
line-ml_dtypes: ASKED = matrix --package ml_dtypes --versions $(ML_DTYPES) --with numba==0.68.1 --with numpy==2.2.6 \
	-i 'numpy.adam.*'
upgrade-optax-0.1-to-0.2: ASKED = upgrade --before optax==0.1.9 $(OLD_JAX:%=--before %) --after optax==0.2.8 \
	$(NEW_JAX:%=--after %) -i 'optax.adam.*'
upgrade-tensorflow-2.15: ASKED = upgrade --before tensorflow-cpu==2.15.1 --after tensorflow-cpu==2.21.0 \
	--after keras==3.15.1 --after tf_keras==2.21.0 -i "tensorflow.*" -i "tf_keras.*"

# A matrix and a search take over what they have recorded; an upgrade that came to its end is not asked again. Exit code
# 1 says that something changed, which is what is recorded.
line-%: $(READY)
	$(if $(wildcard runs/releases/$*/bisect.json),,$(BIN)/parity $(ASKED) --discard -q -o runs/releases/$* \
		$(if $(wildcard runs/releases/$*/matrix.json),--resume) \
		$(if $(wildcard runs/releases/$*/bisect.log),--replay runs/releases/$*/bisect.log) || test $$? -eq 1)

upgrade-%: $(READY)
	$(if $(wildcard runs/releases/$*/summary.md),,$(BIN)/parity $(ASKED) --discard -q -o runs/releases/$* || test $$? -eq 1)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,tensorflow-cpu,jax,cluster,report,docs,test]'
	# Without what it asks for: the full tensorflow, which would overwrite tensorflow-cpu.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps tf_keras
	touch $@

clean:
	rm -rf $(VENV) reports/latest runs build dist

# make install   the virtual environment .venv with every Python extra
# make demo      set up and run a whole study on synthetic radiographs
# make test      set up (R too, where it may) and run the tests
# make faults    commands killed at random, writers beside each other (an hour)
# make check     lint, types, import contracts
# make calibration  error rates of every interval and test by simulation (half an hour)
# make fuzz      10,000 mutilated inputs for every reader, within 10 s and 1 GB each (hours)
# make evidence  recompute what the README promises (timed, so not part of the tests)
# make models    table of 26 timm models: the layer that is taken, beside pytorch-grad-cam (slow)
# make bench     time saltrust against its peers, outputs compared
# make gpu       tests and figures on a GPU in eight minutes; make gpu DEVICE=cpu rehearses them
# make gpu-wheels  what a machine with a GPU and no network lacks, in 64 MiB
# make pymer4-09 pymer4 0.9 in an environment of its own: does it give what the built-in engine gives?
# make wheel     build the wheel, check it, use it alone in a bare environment

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SALTRUST := $(BIN)/saltrust
EXTRAS := generate,r,dask,fast,parquet,timm,monai,torchxrayvision,hf,test,dev
R_PACKAGES := r-base-core r-cran-lme4 r-cran-lmertest r-cran-emmeans r-cran-multcomp r-cran-pbkrtest r-cran-sandwich r-cran-jsonlite
# Only `make references` needs these: their values lie in tests/reference.
R_REFERENCES := r-cran-clubsandwich r-cran-glmmtmb r-cran-nlme r-cran-brglm2 r-cran-boot r-cran-proc r-cran-pwr r-cran-geepack
HAVE_R = Rscript -e 'for (p in c("lme4", "lmerTest", "emmeans", "multcomp", "pbkrtest", "sandwich", "jsonlite")) loadNamespace(p)'

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# rpy2 is built without R, so that the environment is complete before R is there.
export RPY2_CFFI_MODE := ABI

.PHONY: install demo test faults fuzz calibration r check lint types contracts counts dcmtk wheel bench models evidence references pymer4-09 gpu gpu-wheels clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "saltrust needs Python 3.11 or newer; say make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: install
	$(SALTRUST) demo --output saltrust-demo --overwrite

r:
	@if $(HAVE_R) >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(R_PACKAGES) >/dev/null; \
	else \
	  echo "R with lme4, lmerTest, emmeans, multcomp and pbkrtest is not here and cannot be installed (no root or no apt): tests marked needs_r are skipped"; \
	fi

# Only `make evidence` needs it: gray values of DICOM are compared with those of dcm2pnm.
dcmtk:
	@command -v dcm2pnm >/dev/null || apt-get install -qq -y --no-install-recommends dcmtk >/dev/null

test: install r
	$(BIN)/python -m pytest -n 2 -m "not cuda" --durations=20

# Each a program: python -m tests.faults.NAME --seed SEED
FAULTS := kills places damage repairs
SEED ?= 1
calibration: install
	$(BIN)/python -m tests.calibration --page docs/statistics.md

faults: install
	for name in $(FAULTS); do $(BIN)/python -m tests.faults.$$name --seed $(SEED) || exit 1; done

EXAMPLES := 10000

fuzz: install
	$(BIN)/python -m tests.fuzz --examples $(EXAMPLES) --seed $(SEED)

check: lint types contracts

lint: install
	$(BIN)/ruff check saltrust tests evidence benchmarks .ci

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

counts:
	@echo "skips in the tests: $$(grep -rnE --include='*.py' 'pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)' tests | wc -l) places (see the summary above for how many took effect)"
	@echo "noqa: $$(grep -rn --include='*.py' 'noqa' saltrust tests evidence .ci | wc -l)"
	@echo "type: ignore: $$(grep -rn --include='*.py' 'type: ignore' saltrust tests evidence .ci | wc -l)"

wheel: install
	rm -rf dist build
	$(BIN)/python -m build --quiet --wheel
	$(BIN)/python .ci/check_wheel.py dist/*.whl
	rm -rf build/bare && $(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --upgrade dist/*.whl pandas
	build/bare/bin/python .ci/bare_environment.py

bench: install
	for script in benchmarks/*.py; do OMP_WAIT_POLICY=passive $(BIN)/python $$script || exit 1; done
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/mixed_effects.py --readers 3 --images 5000 --require 10 --repeats 1

DEVICE := cuda
PRESENT := benchmarks/gpu/present.txt

# With carried wheels and a Python that has torch, nothing is installed from a network.
gpu:
	@if ls build/gpu-wheels/*.whl >/dev/null 2>&1 && python3 -c 'import torch' 2>/dev/null; then \
	  benchmarks/gpu/run.sh --device $(DEVICE); \
	else \
	  $(MAKE) install && PYTHON=$(abspath $(BIN))/python benchmarks/gpu/run.sh --device $(DEVICE) --wheels build/none; \
	fi

gpu-wheels: install
	$(BIN)/python benchmarks/gpu/wheels.py --present $(PRESENT)

models: install
	$(BIN)/python evidence/models.py docs/networks.md

evidence: install dcmtk
	for script in $(filter-out evidence/promises.py evidence/models.py,$(wildcard evidence/*.py)); do $(BIN)/python $$script || exit 1; done

# Quantus wants an older NumPy and another OpenCV than ours; torch and pytorch-grad-cam are those here.
ENV_QUANTUS := build/quantus

references: install r $(ENV_QUANTUS)/made
	@Rscript -e 'for (p in c("clubSandwich", "glmmTMB", "nlme", "brglm2", "boot", "pROC", "pwr", "geepack")) loadNamespace(p)' >/dev/null 2>&1 || apt-get install -qq -y --no-install-recommends $(R_REFERENCES) >/dev/null
	for script in Rscripts/reference_*.R; do Rscript $$script || exit 1; done
	PYTHONPATH=. $(ENV_QUANTUS)/bin/python .ci/reference_faithfulness.py tests/reference/faithfulness/curves.json

$(ENV_QUANTUS)/made: | install
	$(PYTHON) -m venv $(ENV_QUANTUS)
	$(ENV_QUANTUS)/bin/python -m pip install --quiet 'quantus==0.6.0' 'numpy<2.4'
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > $$($(ENV_QUANTUS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/of_saltrust.pth
	touch $@

# pymer4 0.9 wants other R packages than 0.8. Debian's are unpacked beside it, not installed; Debian
# lacks `report`, which is loaded and, for what is compared, not called: a stub stands for it. rpy2
# 3.6 needs R 4.5.
ENV_09 := build/pymer4-09
R_PACKAGES_09 := r-cran-broom r-cran-broom.mixed r-cran-parameters r-cran-performance r-cran-insight r-cran-tibble r-cran-boot

pymer4-09: $(ENV_09)/made
	R_LIBS="$$PWD/$(ENV_09)/R/usr/lib/R/site-library" $(BIN)/python .ci/pymer4_09.py $(ENV_09)/bin/python

$(ENV_09)/made: | install r
	$(PYTHON) -m venv $(ENV_09)
	$(ENV_09)/bin/python -m pip install --quiet --no-deps pymer4==0.9.2
	$(ENV_09)/bin/python -m pip install --quiet 'rpy2>=3.5.17,<3.6' 'pandas<3' polars pyarrow great_tables scikit-learn formulae joblib scipy
	mkdir -p $(ENV_09)/packages $(ENV_09)/report/R $(ENV_09)/R/usr/lib/R/site-library
	cd $(ENV_09)/packages && apt-get download $$(apt-get install --simulate --no-install-recommends $(R_PACKAGES_09) | awk '/^Inst/ {print $$2}')
	for file in $(ENV_09)/packages/*.deb; do dpkg -x $$file $(ENV_09)/R || exit 1; done
	printf 'Package: report\nVersion: 0.0.0\nTitle: Stub\nDescription: Lets pymer4 0.9 load.\nLicense: MIT\n' > $(ENV_09)/report/DESCRIPTION
	echo 'export(report)' > $(ENV_09)/report/NAMESPACE
	echo 'report <- function(...) stop("this is a stub")' > $(ENV_09)/report/R/report.R
	R CMD INSTALL -l $(ENV_09)/R/usr/lib/R/site-library $(ENV_09)/report
	touch $@

clean:
	rm -rf $(VENV) build dist saltrust.egg-info saltrust-demo

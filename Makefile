# Two commands on a fresh machine: `make demo` and `make test`. Each creates .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test slow check format docs clean

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(STAMP)

demo: $(STAMP)  ## train MBPO on Pendulum, then write and name the report
	@run=runs/demo/$$(date +%Y%m%d-%H%M%S) && \
	$(BIN)/mbrl train agent=mbpo env=pendulum seed=0 run_dir=$$run && \
	$(BIN)/mbrl report $$run

test: $(STAMP)  ## all tests but the slow ones
	$(THREADS) $(BIN)/python -m pytest -m "not slow and not gpu" -n 2

slow: $(STAMP)  ## the slow tests: learning, kills, packaging
	$(THREADS) $(BIN)/python -m pytest -m "slow and not gpu" -n 2

check: $(STAMP)  ## format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(MAKE) test

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## the documentation site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(THREADS) $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv site build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

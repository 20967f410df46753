# make demo   opens a real image in a real napari window, segments it, writes demo/
# make test   checks and tests everything
# make bench  times everything against the reference, writes benchmarks/results.md
# TORCH='torch==2.13.0' and NAPARI='napari==0.8.*' choose the builds that go into .venv.

SHELL := /bin/bash
PYTHON ?= python3
TORCH ?= torch
NAPARI ?= napari
VENV ?= .venv
BIN := $(VENV)/bin
XVFB := xvfb-run -a -s "-screen 0 1400x900x24"
# The demo is for looking at: it opens on the user's own display where there is one.
SCREEN := $(if $(DISPLAY)$(WAYLAND_DISPLAY),,$(XVFB))
DATA ?= ../shared/data/dsb2018
# Processes in which `nano` is trained together: each works on one core, on four crops a step.
PROCESSES ?= 2

# napari's user settings must not change what is tested or shown.
export NAPARI_CONFIG :=
export QT_API := pyqt6

CHOICE := $(VENV)/.choice
.PHONY: demo test lint bench bench-quality train-nano system clean FORCE

demo: $(VENV)/.installed
	$(SCREEN) $(BIN)/python demo/demo.py

test: $(VENV)/.installed lint
	$(XVFB) $(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks demo
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(XVFB) $(BIN)/python -m benchmarks.speed

bench-quality: $(VENV)/.installed
	$(BIN)/python benchmarks/quality.py --data $(DATA)
	$(BIN)/python benchmarks/quality.py --data $(DATA) --auto
	$(BIN)/python benchmarks/quality.py --data $(DATA) --corrupt --limit 12
	$(BIN)/python benchmarks/quality.py --data $(DATA) --empty 5

train-nano: $(VENV)/.installed
	$(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) \
		-m napari_segment_anything.training.nano --data $(DATA)
	$(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) \
		-m napari_segment_anything.training.nano --data $(DATA) --out runs/nano/usual \
		--begin-with runs/nano/nano.safetensors --usual --steps 2500 --learning-rate 3e-4
	$(BIN)/python -m napari_segment_anything.training.rating --data $(DATA) \
		--weights runs/nano/usual/nano.safetensors --out runs/nano/rated.safetensors

system:
	bash scripts/system_packages.sh

# Rewritten only when the choice changes, so that a second run installs nothing.
$(CHOICE): FORCE | system
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo '$(TORCH) $(NAPARI)' | cmp -s - $@ || echo '$(TORCH) $(NAPARI)' > $@

$(VENV)/.installed: pyproject.toml $(CHOICE)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet -e '.[all,dev]' '$(TORCH)' '$(NAPARI)'
	touch $@

FORCE:

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

# `make` lists the targets. Everything happens in this folder: the environment is .venv, results go to build.
PYTHON ?= python3
python := .venv/bin/python
everything := .[labs,jupyter,book,assignments,dev]
resolver := build/resolver/bin/python
# Outputs go, and what JupyterLab notes of the kernel and of what a reader has folded away.
strip := -m nbstripout --keep-id --extra-keys 'metadata.language_info metadata.widgets \
	cell.metadata.jupyter cell.metadata.jp-MarkdownHeadingCollapsed'

# Arguments of make come from its command line: in the environment, LAB or OUT may be anything.
$(foreach name,LAB SCALE AGAIN DIR OUT,$(if $(findstring environment,$(origin $(name))),$(eval undefine $(name))))

# Labs and pages are in UTF-8, whatever the reader's locale is.
export PYTHONUTF8 = 1

ifdef SCALE
export LABKIT_SCALE = $(SCALE)
endif

.DEFAULT_GOAL := help
.PHONY: help labs test lint check pages lab notebooks bench book print links colab newest assignments grade constraints clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

labs: .venv/.ready  ## Run the labs (LAB=01: this one; SCALE=quick, standard, full; AGAIN=1: done ones too), build the site
	@echo "The site: file://$(CURDIR)/build/site/index.html is there after the first lab, and grows with each one"
	$(python) -m labkit fetch
	$(python) -m labkit run $(LAB) --site $(if $(AGAIN),--again)

test: check pages  ## Run all tests: first `check`, then `pages`

lint: .venv/.ready  ## Look for faults of form, names and types, in seconds
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

check: lint  ## Lint, then run the unit tests, two files at a time
	$(python) -m pytest tests --ignore=tests/book -n 2 --dist loadfile

pages: .venv/.ready  ## Execute every lab at scale quick, as Colab does, build the site and open each page
	@$(python) -m labkit.site.browser || true
	@echo "Executing the labs at scale quick, each opened alone, as in Colab"
	$(python) tests/rehearsals/colab.py build/test
	EXECUTED_LABS=build/test/labs EXECUTED_RECORDS=build/test/records $(python) -m pytest tests/book

colab: .venv/.ready  ## Execute the labs (LAB=01: this one) at scale quick with Colab's own versions of Python and packages
	$(python) tests/rehearsals/colab.py build/colab colab $(LAB)

newest: .venv/.ready  ## Execute every lab at scale quick with the newest version of every package
	$(python) tests/rehearsals/colab.py build/newest newest

lab: .venv/.ready  ## Open JupyterLab on the labs
	$(python) -m jupyterlab labs

notebooks: .venv/.ready  ## Derive each lab's notebook from its .py
	@for lab in labs/[0-9][0-9]_*; do \
		name=$${lab#labs/??_}; \
		$(python) -m jupytext --quiet --update --to notebook "$$lab/$$name.py" || exit 1; \
	done

bench: .venv/.ready  ## Time labkit beside the plain way of doing the same
	$(python) tests/bench.py

book: .venv/.ready  ## Build the site from the labs that `make labs` has executed
	$(python) -m labkit.site

print: .venv/.ready  ## Print the labs that `make labs` has executed, and all other pages, to build/book.pdf
	@$(python) -m labkit.site.browser
	$(python) -m labkit.site.print

links: .venv/.ready  ## List where the site leads to on other hosts
	@$(python) -m labkit.site --links

assignments: .venv/.ready  ## Make the student notebooks and autograders of all labs in build/assignments
	$(python) -m labkit assign

grade: .venv/.ready  ## Grade the notebooks in DIR=folder: scores, feedback and a summary in OUT, else build/grades
	@test -n "$(DIR)" || { echo "Say which folder: make grade DIR=folder"; exit 2; }
	$(python) -m labkit grade "$(DIR)" --out "$(or $(OUT),build/grades)"

# In an environment of its own: .venv holds the old versions, which a new bound in pyproject.toml may rule out.
constraints:  ## Resolve all packages anew and write constraints.txt
	$(PYTHON) -m venv build/resolver
	$(resolver) -m pip install --quiet --dry-run --ignore-installed --report build/resolved.json -e '$(everything)'
	@{ \
		echo "# Exact versions of all that this project installs, with every extra."; \
		echo "# Written by \`make constraints\`, which resolves the requirements of pyproject.toml anew."; \
		$(resolver) -c 'import json; \
			packages = [p["metadata"] for p in json.load(open("build/resolved.json"))["install"] if not p["is_direct"]]; \
			print(*sorted(("{name}=={version}".format(**p) for p in packages), key=str.lower), sep="\n")'; \
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## Remove results and the site; the environment and the downloads stay
	rm -rf build

.venv/.ready: pyproject.toml constraints.txt
	@echo "Making the environment in .venv: once, in about three minutes and 7 GB."
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"$(PYTHON) is Python {sys.version.split()[0]}; \
	3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(python) -m pip install -c constraints.txt -e '$(everything)'
	@# git runs it in the top folder of whichever clone or worktree it works in. Without it, nothing is added.
	@if test -z "$$(git rev-parse --show-cdup 2>&1)"; then \
		git config filter.nbstripout.clean "$(python) $(strip)"; \
		git config filter.nbstripout.smudge cat; \
		git config filter.nbstripout.required true; \
	fi
	@touch $@

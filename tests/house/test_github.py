"""What GitHub runs, asks and updates, as far as it can be read: nothing here runs a workflow."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from labkit.scale import SCALES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in GITHUB.glob("workflows/*.yml")}
FORMS = {path.stem: yaml.safe_load(path.read_text()) for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml")}
CHOICES = FORMS.pop("config")
ON = True  # what YAML makes of the key `on`
FIELDS = {"input", "textarea", "dropdown", "checkboxes", "markdown"}

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def pythons(workflow: dict) -> set[str]:
    """The versions of Python that the jobs set up, those of a matrix one by one."""
    found = set()
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            version = step.get("with", {}).get("python-version")
            if version == "${{ matrix.python }}":
                found |= set(job["strategy"]["matrix"]["python"])
            elif isinstance(version, str):  # one a line
                found |= set(version.split())
            else:
                found.add(version)
    return found - {None}


@each_workflow
def test_a_workflow_makes_only_what_the_makefile_has(workflow):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line.split() for step in steps(workflow) for line in step.get("run", "").splitlines()]
    made = {target for first, *rest in lines if first == "make" for target in rest}
    assert made and made <= targets


@each_workflow
def test_its_pythons_are_strings_that_the_project_supports_and_names(workflow):
    versions = pythons(workflow)
    assert versions and all(isinstance(version, str) for version in versions)  # else 3.10 would be 3.1
    assert [version for version in versions if version not in SpecifierSet(PROJECT["requires-python"])] == []
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(PROJECT["classifiers"])


def test_the_oldest_and_the_newest_python_that_the_project_names_are_tested():
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language")]
    assert {named[0], named[-1]} <= pythons(WORKFLOWS["test"])
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_a_branch_with_a_pull_request_is_tested_once():
    for workflow in WORKFLOWS.values():
        if "push" in workflow[ON]:
            assert workflow[ON]["push"] == {"branches": ["main"]}
    assert "pull_request" in WORKFLOWS["test"][ON]


def test_fast_jobs_come_before_slow_ones():
    jobs = WORKFLOWS["test"]["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "lint": None,
        "unit": "lint",
        "notebooks": "unit",
        "colab": "unit",
    }


@each_workflow
def test_a_workflow_may_only_read_but_for_the_pages_that_it_puts_online(workflow):
    granted = [workflow["permissions"], *(job.get("permissions", {}) for job in workflow["jobs"].values())]
    written = {scope for scopes in granted for scope, level in scopes.items() if level != "read"}
    puts_online = any(step.get("uses", "").startswith("actions/deploy-pages@") for step in steps(workflow))
    assert written == ({"pages", "id-token"} if puts_online else set())


@each_workflow
def test_a_newer_run_takes_the_place_of_an_older_one(workflow):
    assert workflow["concurrency"]["cancel-in-progress"] is True and workflow["concurrency"]["group"]


def test_no_two_workflows_cancel_each_other():
    groups = [workflow["concurrency"]["group"] for workflow in WORKFLOWS.values()]
    assert len(set(groups)) == len(groups)


@each_workflow
def test_every_action_has_a_version(workflow):
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", action)] == []


def test_every_week_the_newest_packages_are_tried_and_kept_if_all_is_well():
    weekly = WORKFLOWS["weekly"]
    [timing] = weekly[ON]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", timing["cron"]) and "workflow_dispatch" in weekly[ON]
    *_, resolve, test, newest, keep = steps(weekly)
    assert [step["run"] for step in (resolve, test, newest)] == ["make constraints", "make test", "make newest"]
    assert keep["with"]["path"] == "constraints.txt"


def test_actions_are_kept_up_to_date_and_nothing_else():
    settings = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    assert settings == {
        "version": 2,
        "updates": [{"package-ecosystem": "github-actions", "directory": "/", "schedule": {"interval": "monthly"}}],
    }


def test_the_hooks_before_a_commit_are_the_commands_of_make_lint():
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.ready", "lint"]
    lint = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    [source] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert source["repo"] == "local" and len(lint) > 1
    assert [hook["entry"] for hook in source["hooks"]] == lint
    for hook in source["hooks"]:
        assert hook["id"] and hook["name"] and (hook["language"], hook["pass_filenames"]) == ("system", False)


def test_whoever_has_neither_a_figure_nor_a_fault_to_report_can_write_all_the_same():
    assert CHOICES == {"blank_issues_enabled": True}


@each_form
def test_a_form_has_what_github_requires(form):
    assert form["name"] and form["description"] and set(form) == {"name", "description", "body"}
    for field in form["body"]:
        assert field["type"] in FIELDS and set(field) <= {"type", "id", "attributes", "validations"}
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"]
        assert set(field.get("validations", {})) <= {"required"}
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    ids, labels = [field["id"] for field in asked], [field["attributes"]["label"] for field in asked]
    assert asked and len(set(ids)) == len(ids) and len(set(labels)) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in ids)


def test_the_forms_ask_for_what_it_takes_to_look_into_it():
    asked = {name: {field.get("id") for field in form["body"]} for name, form in FORMS.items()}
    assert asked["figure"] >= {"lab", "scale", "record", "doctor", "expected"}
    assert asked["fault"] >= {"did", "happened", "expected", "doctor"}


def test_a_form_offers_the_scales_that_there_are():
    [scale] = [field for field in FORMS["figure"]["body"] if field.get("id") == "scale"]
    assert scale["type"] == "dropdown" and scale["attributes"]["options"] == list(SCALES)

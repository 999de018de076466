"""The command `labkit`: run the labs, fetch what they need, look at the machine, print the verdicts, start a new lab,
name the repository that Colab opens the labs from, make homework and grade it.
"""

import argparse
import sys
from pathlib import Path

from labkit.quiet import print_what_the_terminal_can

# Each command imports its module when it is called: `labkit --help` must not wait for torch.

SCALES = """scales (LABKIT_SCALE, or --scale):
  quick     for tests: all labs in about ten minutes on two cores
  standard  the default without a GPU: about ten minutes and 6 GB a lab, at most
  full      the default with a GPU and a model hub: the published models

examples:
  labkit run                          every lab
  labkit run 1 --scale quick          one lab, by its number
  labkit run prune_quantize --jobs 1  one lab, by its name
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 good, 1 something failed, 2 wrong usage, 130 interrupted."""
    print_what_the_terminal_can()
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except ModuleNotFoundError as error:
        print(f"labkit: the package {error.name} is missing; `labkit doctor` says what to install", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def find_root(start: Path) -> Path:
    """The project `start` lies in: the nearest folder above that holds labs/ and pyproject.toml.

    Raises FileNotFoundError when there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "labs").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise FileNotFoundError(
        f"neither {start} nor a folder above it holds labs/ and pyproject.toml: change to the project's folder"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="labkit", description=__doc__, epilog=SCALES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run labs from a clean kernel; notebooks and records go to build/")
    run.add_argument("labs", nargs="*", metavar="LAB", help='number or name: "1", "prune_quantize"; default: all')
    run.add_argument("--scale", choices=("quick", "standard", "full"), help="default: LABKIT_SCALE, else by machine")
    run.add_argument("--jobs", type=_positive, metavar="N", help="labs at once; default: one for every two cores")
    run.add_argument("--timeout", type=_positive, metavar="SECONDS", help="limit a cell; default: the lab's own")
    run.add_argument("--again", action="store_true", help="also run labs that were done and have not changed since")
    run.add_argument(
        "--keep", action="store_true", help="run in three processes; the records become recorded/SCALE.json"
    )
    run.add_argument("--site", action="store_true", help="build the site after each lab that was done")
    run.set_defaults(command=_run)

    claims = commands.add_parser("claims", help="print the verdict on every claim of the labs that have been run")
    claims.set_defaults(command=_claims)
    for command in (run, claims):
        command.add_argument("--build", type=Path, metavar="DIR", help="for results; default: the project's build/")

    fetch = commands.add_parser("fetch", help="put models and data that the labs need into the cache")
    fetch.set_defaults(command=_fetch)
    doctor = commands.add_parser("doctor", help="say what is missing on this machine and what to do about it")
    doctor.set_defaults(command=_doctor)

    new = commands.add_parser("new", help="make a lab that runs, from a template, and add it to the book and README.md")
    new.add_argument("name", metavar="NAME", help="lower case, words joined by _: sixteen_bits")
    new.add_argument("--question", metavar="TEXT", help="the one question that the lab asks; default: the template's")
    new.set_defaults(command=_new)

    repository = commands.add_parser(
        "repository", help="write the project's address and the tag of its version into set-up cells, badges and links"
    )
    repository.add_argument(
        "name", nargs="?", metavar="OWNER/NAME", help="as in its address on GitHub; default: the one that is set"
    )
    repository.set_defaults(command=_repository)

    homework = commands.add_parser("assign", help="make student notebooks and autograders of the labs' assignments")
    homework.add_argument("--out", type=Path, metavar="DIR", help="default: the project's build/assignments")
    homework.set_defaults(command=_assign)
    grade = commands.add_parser("grade", help="grade a folder of notebooks: scores, feedback, a summary of the class")
    grade.add_argument("submissions", type=Path, metavar="DIR", help="with notebooks, also in sub-folders")
    grade.add_argument("--assignments", type=Path, metavar="DIR", help="default: the project's build/assignments")
    grade.add_argument("--out", type=Path, metavar="DIR", help="default: the project's build/grades")
    grade.set_defaults(command=_grade)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _run(options: argparse.Namespace) -> int:
    from filelock import Timeout

    from labkit import scale
    from labkit.authoring import run
    from labkit.files import ZooError

    try:
        root = find_root(Path.cwd())
        labs = run.select(run.find_labs(root), options.labs)
        chosen = options.scale or scale.current()
    except (LookupError, FileNotFoundError, ValueError) as error:
        print(f"labkit run: {error}", file=sys.stderr)
        return 2
    build = (options.build or root / "build").absolute()
    try:
        if options.keep:
            return run.keep_labs(labs, chosen, build, options.jobs, options.timeout)
        return run.run_labs(
            labs,
            chosen,
            build,
            jobs=options.jobs,
            timeout=options.timeout,
            again=options.again,
            site_of=root if options.site else None,
        )
    except Timeout:
        print(f"labkit run: another run is at work in {build}; wait for it, or name another --build", file=sys.stderr)
    except (OSError, ZooError) as error:
        print(f"labkit run: {error}", file=sys.stderr)
    return 1


def _claims(options: argparse.Namespace) -> int:
    from labkit import claims

    try:
        return claims.main(options.build or find_root(Path.cwd()) / "build")
    except (FileNotFoundError, ValueError) as error:
        print(f"labkit claims: {error}", file=sys.stderr)
        return 2


def _fetch(_: argparse.Namespace) -> int:
    from labkit import zoo

    try:
        for origin in zoo.fetch_all():
            print(origin)
    except zoo.ZooError as error:
        print(f"labkit fetch: {error}", file=sys.stderr)
        return 1
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from labkit.authoring import doctor

    return doctor.main()


def _new(options: argparse.Namespace) -> int:
    from labkit.authoring import new

    try:
        return new.new(find_root(Path.cwd()), options.name, options.question or new.QUESTION)
    except (new.NewLabError, FileNotFoundError) as error:
        print(f"labkit new: {error}", file=sys.stderr)
        return 2


def _repository(options: argparse.Namespace) -> int:
    from labkit.authoring import repository

    try:
        root = find_root(Path.cwd())
        old = repository.read(root)
        if not (name := options.name or (old and old.name)):
            raise ValueError("no repository is set: name it, as in `labkit repository OWNER/NAME`")
        changed = repository.change(root, name)
        new = repository.read(root)
    except (ValueError, FileNotFoundError) as error:
        print(f"labkit repository: {error}", file=sys.stderr)
        return 2
    for path in changed:
        print(f"changed {path.relative_to(root)}")
    print(
        f"Set-up cells, badges and links name {new.address} at {new.revision}. Colab finds it once all is committed, "
        f"that commit is tagged (git tag {new.revision}; -f moves a tag that is there), and both are pushed."
    )
    return 0


def _assign(options: argparse.Namespace) -> int:
    from labkit.classroom import assign

    try:
        root = find_root(Path.cwd())
        labs = sorted(path.parent for path in root.glob("labs/[0-9][0-9]_*/assignment.py"))
        if not labs:
            raise FileNotFoundError(
                f"no lab in {root} has an assignment.py; make assignments in a clone that still has them"
            )
        for lab in labs:
            folder = (options.out or root / "build" / "assignments") / lab.name
            assign.make(lab, folder)
            print(f"{folder / assign.STUDENT}\n{folder / assign.AUTOGRADER}", flush=True)
    except (assign.AssignError, FileNotFoundError) as error:
        print(f"labkit assign: {error}", file=sys.stderr)
        return 1
    return 0


def _grade(options: argparse.Namespace) -> int:
    from labkit.classroom import grade

    try:
        build = find_root(Path.cwd()) / "build"
        out = options.out or build / "grades"
        grade.grade_folder(options.submissions, options.assignments or build / "assignments", out)
    except OSError as error:
        print(f"labkit grade: {error}", file=sys.stderr)
        return 2
    print(f"scores: {out / 'scores.csv'}\nsummary: {out / 'summary.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

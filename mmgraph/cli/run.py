"""``mmgraph run``."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgraph.cli.processes import processes, start, this_process
from mmgraph.cli.shell import UsageError, errors_for_people, print_json, say, this_command
from mmgraph.cli.sources import load_experiment
from mmgraph.process import launched

if TYPE_CHECKING:
    from mmgraph.experiment import Experiment, Result, Suite


def run(
    source: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="Or path/to/file.py:function.")],
    seed: Annotated[int | None, typer.Option(help="One seed; without it all of the experiment's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is finished, go on where it stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over where a run lies already.")] = False,
    out: Annotated[Path, typer.Option(help="Where runs/ goes: results lie in OUT/EXPERIMENT/SEED.")] = Path("runs"),
    baselines: Annotated[bool, typer.Option(help="Also run the experiment's baselines.")] = True,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="As fit.learning_rate=1e-3; may be given several times."),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table in LaTeX too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    nproc: Annotated[
        int | None, typer.Option(min=1, help="Processes, each with a share of the columns of every table.")
    ] = None,
    restarts: Annotated[int, typer.Option(min=0, help="With --nproc: times to go on after a killed process.")] = 3,
) -> None:
    """Run the experiment that a function returns; without --seed all its seeds, its baselines, and a table.

    The epoch is chosen on valid; the test is opened once a run, at the end. `--nproc 2` trains it in two processes of
    this machine, with the numbers of one; over machines: `torchrun … -m mmgraph run …`.
    """
    with errors_for_people(lambda: f"to go on: {this_command('--resume')}"), contextlib.ExitStack() as stack:
        if nproc is not None and launched() is None:
            raise typer.Exit(start(nproc, restarts, this_process(), this_process(going_on=True)))
        experiment = changed(load_experiment(source), changes or [])
        from mmgraph.experiment import run as run_one
        from mmgraph.experiment import run_all, table

        together = stack.enter_context(processes(experiment.fit.device))

        def tell(result: Result) -> None:
            if not together.leads:
                return
            metrics = ", ".join(f"{name} {result.metric(name):.4f}" for name in columns([result], "all"))
            metrics = metrics or "lists of every cut-off hold all the videos there are: give a smaller evaluate.k"
            line = f"{result.experiment} seed {result.seed}: test {metrics}  {result.directory}/result.json"
            say(line, err=as_json)

        told = {"overwrite": overwrite, "source": source, "progress": True, "together": together}
        if seed is not None:
            results = [run_one(experiment, seed, out, resume, **told)]
            tell(results[0])
        else:
            results = run_all(experiment, out, resume, baselines=baselines, report=tell, **told)
        if not together.leads:
            return
        if as_json:
            print_json({"results": [described(result) for result in results]})
        for protocol in dict.fromkeys(r.protocol for r in results if seed is None and not as_json):
            members = [r for r in results if r.protocol == protocol]
            for group in ("all", "warm", "cold"):
                if names := columns(members, group):
                    shown = table(members, names, group=group)
                    from rich.console import Console

                    Console().print(shown.rich())
                    if latex:
                        say(shown.latex())


def described(result: Result) -> dict[str, Any]:
    """A result as JSON values, with its folder."""
    return result.model_dump() | {"directory": str(result.directory)}


def columns(results: list[Result], group: str) -> list[str]:
    """Recall and NDCG of a group at 20, or at the largest cut-off below it that every result tells, or the smallest;
    and how new videos fare in the one list a person gets."""
    told = set.intersection(*(set(result.test.get(group, ())) for result in results))
    ks = sorted(int(name.partition("@")[2]) for name in told if name.startswith("recall@"))
    if not ks:
        return []
    k = max([k for k in ks if k <= 20], default=ks[0])
    new = [f"{name}@{k}" for name in ("new_share", "recall_new", "recall_known", "new_shown")]
    return [f"recall@{k}", f"ndcg@{k}", *(name for name in new if name in told)]


def changed(experiment: Experiment, changes: list[str]) -> Experiment:
    """The experiment with ``FIELD=VALUE`` settings applied, each value read as JSON where it is JSON.

    It is named after them, so that it gets a folder of its own, unless ``name=`` is among them. Its baselines take what
    is measured (``evaluate.…``) and stay as they are otherwise.

    Raises:
        UsageError: text without ``=``.
        ValueError: a field that does not exist, or a value that does not fit.
    """
    settings = _settings(changes)
    if not settings:
        return experiment
    if "name" not in settings:
        words = [f"{path.rpartition('.')[2]}={_as_folder(v)}" for path, v in settings.items() if path != "seeds"]
        settings["name"] = "-".join([experiment.name, *words])
    measured = {path: value for path, value in settings.items() if path.startswith("evaluate")}
    baselines = tuple(baseline.variant(measured) for baseline in experiment.baselines)
    return experiment.variant(settings, baselines=baselines)


def changed_suite(suite: Suite, changes: list[str]) -> Suite:
    """The suite with these settings applied to every row, each named after them; ``seeds=`` in place of the suite's.

    Raises:
        UsageError: as :func:`changed`, and for ``name=``.
        ValueError: as :func:`changed`.
    """
    settings = _settings(changes)
    if "name" in settings:
        raise UsageError("--set name=…: the rows of a suite keep names of their own")
    rows = tuple(changed(member, changes) for member in suite.members())
    return suite.model_copy(update={"experiments": rows, "seeds": None if "seeds" in settings else suite.seeds})


def _settings(changes: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for text in changes:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise UsageError(f"--set {text}: write FIELD=VALUE, as --set fit.learning_rate=1e-3")
        settings[path] = _value(value)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return float(text)  # .5 is no JSON
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _as_folder(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text)

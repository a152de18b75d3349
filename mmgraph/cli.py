"""The command line: a thin shell over functions of the library.

Heavy imports stand inside the commands, so that ``mmgraph --help`` needs neither torch nor PyG.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect as _inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmgraph.experiment import Experiment, Result

app = typer.Typer(
    name="mmgraph",
    help="Graph recommenders over things that have a look, a sound and words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_options: dict[str, bool] = {"traceback": False}


class UsageError(Exception):
    """A mistake of the user: shown as one message, without a traceback."""


@app.callback()
def main(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
) -> None:
    """Graph recommenders over things that have a look, a sound and words."""
    _options["traceback"] = traceback
    # torch reads it at its first allocation: large tensors on huge pages, so that fresh memory faults far less often
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextlib.contextmanager
def errors_for_people() -> Iterator[None]:
    """Turns the errors that a user can mend into a line each on stderr and exit code 1 (130 when interrupted)."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; run it again with --resume to go on", err=True)
        raise typer.Exit(130) from None
    except (UsageError, ValueError, KeyError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        if _options["traceback"]:
            raise
        plain = type(error) is KeyError and len(error.args) == 1  # its str() is the repr of the message
        message = str(error.args[0]) if plain else str(error)
        typer.echo(f"error: {message or type(error).__name__}", err=True)
        others = getattr(error, "others", ())  # of a DataError; its module would bring torch
        for other in others:
            typer.echo(f"error: {other}", err=True)
        if others:
            typer.echo(f"{1 + len(others)} problems", err=True)
        if not isinstance(error, UsageError):
            typer.echo("(mmgraph --traceback … shows where)", err=True)
        raise typer.Exit(1) from None


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, features and report.html.")] = Path("demo"),
) -> None:
    """Make a world of generated videos, encode it, train on it, recommend, and write a report."""
    with errors_for_people():
        from mmgraph.demo import run_demo

        run_demo(out, echo=typer.echo)


@app.command()
def run(
    source: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="Or path/to/file.py:function.")],
    seed: Annotated[int | None, typer.Option(help="One seed; without it all of the experiment's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what is finished, go on where it stopped.")] = False,
    out: Annotated[Path, typer.Option(help="Where runs/ goes: results lie in OUT/EXPERIMENT/SEED.")] = Path("runs"),
    baselines: Annotated[bool, typer.Option(help="Also run the experiment's baselines.")] = True,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table in LaTeX too.")] = False,
) -> None:
    """Run the experiment that a function returns; without --seed all its seeds, its baselines, and a table.

    The epoch is chosen on valid; the test is opened once a run, at the end.
    """
    with errors_for_people():
        experiment = load_experiment(source)
        from rich.console import Console

        from mmgraph.experiment import run as run_one
        from mmgraph.experiment import run_all, table

        console = Console()

        def tell(result: Result) -> None:
            metrics = ", ".join(f"{name} {result.metric(name):.4f}" for name in _columns(experiment))
            console.print(f"{result.experiment} seed {result.seed}: test {metrics}  {result.directory}/result.json")

        progress = console.is_terminal
        if seed is not None:
            tell(run_one(experiment, seed, out, resume, source=source, progress=progress))
            return
        results = run_all(experiment, out, resume, baselines=baselines, source=source, progress=progress, report=tell)
        for protocol in dict.fromkeys(r.protocol for r in results):
            mine = [r for r in results if r.protocol == protocol]
            groups = [g for g in ("all", "warm", "cold") if all(g in r.test for r in mine)]
            for group in groups:
                shown = table(mine, _columns(experiment), group=group)
                console.print(shown.rich())
                if latex:
                    typer.echo(shown.latex())


def _columns(experiment: Experiment) -> list[str]:
    """Recall and NDCG at 20, or at the largest cut-off where 20 is not measured."""
    ks = experiment.evaluate.k
    k = 20 if 20 in ks else max(ks)
    return [f"recall@{k}", f"ndcg@{k}"]


@app.command()
def recommend(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/lightgcn/0.")],
    user: Annotated[list[str], typer.Option("--user", help="Raw user id; may be given several times.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many videos.")] = 10,
    source: Annotated[str | None, typer.Option(help="The experiment's function, where it has moved.")] = None,
    why: Annotated[bool, typer.Option("--why", help="Also say why, from the graph.")] = False,
) -> None:
    """Recommend to users with a finished run: titles, scores, raw ids."""
    with errors_for_people():
        from rich.console import Console
        from rich.table import Table

        from mmgraph.experiment import Result, restore
        from mmgraph.recommend import explain, find_rows, recommend_ids

        result = Result.load(_seed_folder(folder))
        came_from = source or result.source
        if came_from is None:
            raise UsageError(f"{folder} does not say which function made it: give --source MODULE:FUNCTION")
        experiment = _member(load_experiment(came_from), result.experiment, came_from)
        ready = restore(result, experiment)
        dataset, console = ready.split.dataset, Console()
        found = recommend_ids(ready.model, ready.graph, dataset, user, k).to_frame()
        for raw in user:
            row = find_rows(dataset.user_ids, [raw], "user")
            mine = found.filter(found["user"].cast(str) == str(raw))
            shown = Table(title=f"{result.experiment}, user {raw}", title_justify="left")
            for name in ("rank", "title", "score", "video"):
                if name in mine.columns:
                    shown.add_column(name, justify="left" if name == "title" else "right")
            for line in mine.iter_rows(named=True):
                title = [str(line["title"])] if "title" in line else []
                shown.add_row(str(line["rank"]), *title, f"{line['score']:.4f}", str(line["video"]))
            console.print(shown)
            if why:
                for line in mine.iter_rows(named=True):
                    video = find_rows(dataset.video_ids, [line["video"]], "video")
                    reasons = explain(ready.graph, int(row[0]), int(video[0]), k=1).sentences(dataset)
                    console.print(f"{line['rank']}. " + ("; ".join(reasons) or "no path in the graph"), markup=False)


def _seed_folder(folder: Path) -> Path:
    """The folder itself when it holds a result, else its lowest seed."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; runs lie in runs/<experiment>/<seed>")
    if (folder / "result.json").exists():
        return folder
    seeds = sorted(
        (p.parent for p in folder.glob("*/result.json") if p.parent.name.isdigit()), key=lambda p: int(p.name)
    )
    return seeds[0] if seeds else folder


def _member(experiment: Experiment, name: str, source: str) -> Experiment:
    members = {e.name: e for e in (experiment, *experiment.baselines)}
    if name not in members:
        raise UsageError(f"{source} now returns {sorted(members)}, but the run is of {name!r}: give --source")
    return members[name]


@app.command()
def inspect(
    data: Annotated[Path, typer.Argument(help="A media folder, or a folder in another known layout.")],
) -> None:
    """Say what is in a folder: counts, density, modality coverage, time span; or all that is wrong with it."""
    with errors_for_people():
        if not data.exists():
            raise UsageError(f"no such folder: {data}")
        from mmgraph.data.inspect import inspect as look

        typer.echo(str(look(data)))


@app.command()
def encode(
    data: Annotated[Path, typer.Argument(help="A media folder, or another known layout with media, as MovieLens.")],
    text: Annotated[str | None, typer.Option(help="minilm, use, hash, or a Hugging Face folder.")] = None,
    image: Annotated[str | None, typer.Option(help="efficientnet-lite0, hash, or a Hugging Face folder.")] = None,
    audio: Annotated[str | None, typer.Option(help="mfcc, hash, or a Hugging Face folder.")] = None,
    video: Annotated[str | None, typer.Option(help="A VideoMAE-type model's folder.")] = None,
    generation: Annotated[bool, typer.Option("--generation", help="Also encode generation metadata.")] = False,
    text_columns: Annotated[
        str | None, typer.Option(help="As title,genres; by default title, description, caption, tags, genres.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where features go; by default DATA/features.")] = None,
    store: Annotated[Path | None, typer.Option(help="The feature store; by default DATA/.features.")] = None,
    device: Annotated[str, typer.Option(help="Where networks run.")] = "cpu",
) -> None:
    """Turn the raw media of a folder into features, once."""
    with errors_for_people():
        if not data.exists():
            raise UsageError(f"no such folder: {data}")
        from mmgraph.encoders import encode_folder

        chosen = {"text": text, "image": image, "audio": audio, "video": video, "generation": generation}
        columns = None if text_columns is None else [name.strip() for name in text_columns.split(",")]
        where = {"out": out, "store": store, "device": device}
        summary = encode_folder(data, **chosen, text_columns=columns, **where, progress=sys.stderr.isatty())
        typer.echo(summary.text())


def load_experiment(source: str) -> Experiment:
    """Calls the function that ``source`` names and returns its experiment; the current directory is importable.

    Args:
        source: ``module:function`` or ``path/to/file.py:function``.

    Raises:
        UsageError: no such module, file or function, it needs arguments, or it returned something else.
    """
    where, colon, name = source.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{source!r} is not MODULE:FUNCTION or path/to/file.py:function")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    function: Callable[[], Any] | None = getattr(module, name, None)
    if function is None:
        there = [n for n, f in vars(module).items() if _inspect.isfunction(f) and f.__module__ == module.__name__]
        there = [n for n in there if not n.startswith("_")]
        close = difflib.get_close_matches(name, there, n=1)
        raise UsageError(f"{where} has no {name!r}; " + (f"did you mean {close[0]!r}?" if close else f"it has {there}"))
    if not callable(function):
        raise UsageError(f"{source} is a {type(function).__name__}, not a function that returns an Experiment")
    needs = [
        p.name
        for p in _inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needs:
        raise UsageError(f"{source} needs arguments {needs}; write a function without any that calls it")
    experiment = function()
    from mmgraph.experiment import Experiment

    if not isinstance(experiment, Experiment):
        raise UsageError(f"{source} returned a {type(experiment).__name__}, not an Experiment")
    return experiment


def _load_module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # a module that exists but lacks something it imports is another mistake than a misspelt name
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"{name} needs the package {error.name!r}, which is not installed") from error
        raise UsageError(f"no module {name!r} here or among the installed packages") from None


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"no file {path}")
    path = path.resolve()
    for folder in (str(path.parent), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    there = sys.modules.get(path.stem)  # never take the place of another module
    name = path.stem if there is None or getattr(there, "__file__", None) == str(path) else f"{path.stem}_file"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its functions and classes can name where they live
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{path}, line {error.lineno}: {error.msg}") from None
    return module


if __name__ == "__main__":
    app()

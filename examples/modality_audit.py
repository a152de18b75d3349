"""What is each modality worth? A world whose sound tells nothing, audited.

python examples/modality_audit.py
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mmgraph.audit import AuditConfig, audit_run
from mmgraph.data import Features, Split, cold_video_split
from mmgraph.data.synthetic import WorldConfig, generate
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, train
from mmgraph.models import ContentMean
from mmgraph.report import write_audit

MODALITIES = ("text", "visual", "audio")


@cache
def split() -> Split:
    """A tenth of the videos is test, a tenth valid, with all their clicks; of the sound no video's is its own."""
    world = generate(WorldConfig(users=300, videos=300, days=20, informative={"audio": 0.0}))
    features = {m: Features.of(world.features[m], world.present[m]) for m in MODALITIES}
    return cold_video_split(world.dataset(features, name="small-world"), seed=0)


def experiment() -> Experiment:
    """New videos ranked by the mean content of what a person clicked."""
    evaluation = EvalConfig(k=(10,), groups=("cold",), auc=False)
    return Experiment(name="content", split=split, model=ContentMean, evaluate=evaluation, seeds=(0,))


def main() -> None:
    """Trains, audits on valid, and writes the page."""
    asked = experiment()
    train(asked, seed=0, out="runs")
    config = AuditConfig(metric="cold/recall@10", rates=(0.5,), pairs=0)
    found = audit_run(Path("runs") / asked.name / "0", asked, config)
    print(f"{found.metric}: {found.full:.3f} with all, {found.none:.3f} with none")
    for name in found.groups:
        print(f"{name}: left out {found.effect(name, 'drop')}, shuffled {found.effect(name, 'shuffle')}")
    print("page:", write_audit(found, "audit.html"))


if __name__ == "__main__":
    main()

"""A video that nobody has watched, ranked at once; and a person who came a minute ago.

python examples/cold_start.py
"""

from __future__ import annotations

import torch

from mmgraph.data import Features, global_time_split
from mmgraph.data.synthetic import MODALITIES, WorldConfig, generate
from mmgraph.graph import build_graph
from mmgraph.models import ContentVAE, People
from mmgraph.ops import CSR
from mmgraph.recommend import ColdStart, Platt
from mmgraph.train import FitConfig, fit


def main() -> None:
    """Trains on a small world, then adds videos and a user without training again."""
    world = generate(WorldConfig(users=300, videos=240, days=20))
    features = {m: Features.of(world.features[m], world.present[m]) for m in MODALITIES}
    dataset = world.dataset(features, name="small-world")
    graph = build_graph(global_time_split(dataset))

    torch.manual_seed(0)
    model = ContentVAE(graph, embedding_dim=32)
    fit(model, graph, config=FitConfig(epochs=3, batch_size=256))

    # what a score means as a chance, fitted on sampled pairs (use valid's exposures where you have them)
    start = ColdStart(model, graph)
    user, video = graph.interactions()
    labels = torch.cat([torch.ones(len(user)), torch.zeros(len(user))])
    other = torch.randint(graph.num_videos, (len(user),), generator=torch.Generator().manual_seed(0))
    scores = start.score(torch.arange(graph.num_users))
    platt = Platt().fit(torch.cat([scores[user, video], scores[user, other]]), labels)

    # three new videos: the second has no picture, the third only its generation metadata
    new = {m: Features(f.values[:3].clone(), f.present[:3].clone()) for m, f in features.items()}
    new["visual"] = Features(new["visual"].values, torch.tensor([True, False, False]))
    for m in ("text", "audio"):
        new[m] = Features(new[m].values, torch.tensor([True, True, False]))
    served = ColdStart(model, graph, platt).add(new)
    same = torch.equal(served.score(torch.arange(5))[:, : graph.num_videos], start.score(torch.arange(5)))
    print(f"{served.num_videos} videos ranked, known scores unchanged: {same}")
    print(
        "chances of the new ones for user 0:", [round(c, 3) for c in served.chance(torch.tensor([0]))[0, -3:].tolist()]
    )

    # a person with three clicks
    person = CSR.from_edges(torch.tensor([0, 0, 0]), torch.tensor([3, 14, 15]), (1, graph.num_videos))
    emb = model.fold_in(graph, People(clicks=person))
    ranking = model.score(emb, torch.tensor([0]))[0]
    ranking[person.indices.long()] = -torch.inf
    best = ranking.topk(5).indices
    print("for a new person who clicked 3, 14, 15:", dataset.video_ids.raw(best))


if __name__ == "__main__":
    main()

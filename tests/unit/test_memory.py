"""What is learned from jobs that ran out of memory."""

from __future__ import annotations

from gateway.domain import memory, model
from gateway.domain.comfy import graph, sizes

GB = 2**30
W0 = model.WorkerId("w0")


def test_nothing_is_known_at_first() -> None:
    assert not memory.Memory().demand("portrait", 512)


def test_a_larger_job_needs_at_least_as_much() -> None:
    learned = memory.Memory()
    learned.ran_out("portrait", 1000, vram=12 * GB, alone=True)
    assert learned.demand("portrait", 1000).more_than == 12 * GB
    assert learned.demand("portrait", 4000).more_than == 12 * GB
    assert not learned.demand("portrait", 999)
    assert not learned.demand("film", 1000)


def test_in_company_it_is_only_tight() -> None:
    learned = memory.Memory()
    learned.ran_out("portrait", 1000, vram=12 * GB, alone=False)
    assert learned.demand("portrait", 1000) == memory.Demand(tight=12 * GB)
    learned.fitted("portrait", 1000, vram=12 * GB, alone=True)
    assert learned.demand("portrait", 1000) == memory.Demand(tight=12 * GB)
    learned.fitted("portrait", 1000, vram=12 * GB, alone=False)
    assert not learned.demand("portrait", 1000)


def test_a_success_proves_older_knowledge_wrong() -> None:
    learned = memory.Memory()
    learned.ran_out("portrait", 1000, vram=12 * GB, alone=True)
    learned.ran_out("portrait", 9000, vram=24 * GB, alone=True)
    learned.fitted("portrait", 4000, vram=12 * GB, alone=True)
    assert not learned.demand("portrait", 4000)
    assert learned.demand("portrait", 9000).more_than == 24 * GB
    learned.fitted("portrait", 9000, vram=80 * GB, alone=True)
    assert learned.demand("portrait", 9000).more_than == 24 * GB


def test_what_is_learned_is_bounded_and_survives() -> None:
    learned = memory.Memory()
    for size in range(1, 100):
        learned.ran_out("portrait", size, vram=size * GB, alone=True)
    kept = learned.changed()
    assert learned.changed() == {}
    assert len(kept["portrait"]["too_small"]) == 16
    again = memory.Memory()
    again.load({"portrait": {"too_small": [list(pair) for pair in kept["portrait"]["too_small"]]}, "odd": {"tight": 3}})
    assert again.demand("portrait", 5) == learned.demand("portrait", 5)
    assert again.demand("portrait", 99).more_than == learned.demand("portrait", 99).more_than > 0


def test_the_next_try_is_alone_then_larger() -> None:
    first = memory.next_room(None, worker=W0, vram=12 * GB, alone=False, until=7.0)
    assert first == model.Room(alone_on=W0, until=7.0)
    assert memory.next_room(first, worker=W0, vram=12 * GB, alone=True, until=9.0) == model.Room(more_than=12 * GB)


GRAPH = graph.parse_graph(
    {
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 512, "batch_size": 4}},
        "6": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}},
        "7": {"class_type": "Odd", "inputs": {"width": True, "height": ["5", 0], "batch_size": -3}},
    }
)


def test_what_a_graph_makes_at_once() -> None:
    made = sizes.largest(GRAPH)
    assert made is not None
    assert (str(made), made.node, sizes.pixels(GRAPH)) == ("1024x512, 4 at once", "5", 1024 * 512 * 4)
    assert sizes.pixels(graph.parse_graph({"1": {"class_type": "A", "inputs": {}}})) == 0


def test_the_error_tells_node_sizes_and_advice() -> None:
    said = model.JobError(code="out_of_memory", message="CUDA out of memory", node_id="8", class_type="VAEDecode")
    where = memory.Where(worker=W0, vram=12 * GB, vram_free=GB, alone=True)
    error = memory.explained(said, where, sizes.largest(GRAPH))
    assert error.message.startswith(
        "Node 8 (VAEDecode) ran out of memory on w0 (12.0 GiB of card memory), although it had the card for itself "
        "while it made 1024x512, 4 at once (node 5). To make it fit, order fewer pictures"
    )
    assert error.details is not None
    assert error.details["said"] == "CUDA out of memory"
    assert error.details["size"] == {
        "node": "5",
        "class_type": "EmptyLatentImage",
        "width": 1024,
        "height": 512,
        "count": 4,
    }
    assert error.details["vram_total"] == 12 * GB

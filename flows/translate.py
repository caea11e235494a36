"""Stage `translate`: latent codes and a child go in, the child's images come out."""

from pathlib import Path

from prefect import flow, unmapped

from stylealign.params import Params
from tasks.devices import choose_device, one_by_one
from tasks.layout import child_places
from tasks.progress import follow_shards
from tasks.records import recorded
from tasks.translation import finish_translation, plan_translation, translate_shard


@flow(name="translate", task_runner=one_by_one())
def translate(params: Params, name: str) -> Path:
    """Draw every inverted image in one child's domain, and keep its labels beside it."""
    section, places = params.translate, child_places(params, name)
    device, num_threads = choose_device(params.project.device), params.project.num_threads
    inputs = {"codes": places.codes, "child": places.child}
    with recorded("translate", name, section, inputs) as record:
        plan = plan_translation(section, places)
        shared = map(unmapped, (section, places, device, num_threads))
        shards = translate_shard.map(plan.todo, *shared)
        follow_shards(f"translate {name}", shards, plan)
        manifest = finish_translation(plan, places)
        record.metrics({f"rows.{split}": num for split, num in manifest.counts.items()})
    return places.translated

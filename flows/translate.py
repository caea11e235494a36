"""Stage `translate`: latent codes and a child go in, the child's images come out."""

from pathlib import Path

from prefect import flow, unmapped

from stylealign.params import Params
from tasks.devices import choose_device, one_by_one
from tasks.layout import artifact
from tasks.progress import follow_futures
from tasks.records import recorded
from tasks.translation import finish_translation, plan_translation, translate_shard


@flow(name="translate", task_runner=one_by_one())
def translate(params: Params, name: str) -> Path:
    """Draw every inverted image in one child's domain, and keep its labels beside it."""
    section, folder, codes = params.translate, artifact("translate", name), artifact("invert")
    child, images = artifact("train_child", name), artifact("prepare", params.invert.dataset)
    parent, device = Path(params.train_parent.model), choose_device(params.project.device)
    with recorded("translate", name, section, {"codes": codes, "child": child}) as record:
        plan = plan_translation(section, codes, images, child, folder)
        num_threads = params.project.num_threads
        places = (section, codes, images, parent, child, folder, device, num_threads)
        shards = translate_shard.map(plan.todo, *map(unmapped, places))
        follow_futures(f"translate {name}", shards, plan.num_todo, unit="images")
        manifest = finish_translation(plan, child, images, name)
        record.metrics({f"rows.{split}": num for split, num in manifest.counts.items()})
    return folder

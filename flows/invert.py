"""Stage `invert`: labelled images and a model go in, latent codes come out."""

from pathlib import Path

from prefect import flow, unmapped

from stylealign.params import Params
from tasks.devices import choose_device, one_by_one
from tasks.inversion import finish_codes, invert_shard, plan_codes, prepare_encoder
from tasks.layout import artifact, metrics_file
from tasks.progress import follow_shards
from tasks.records import recorded


@flow(name="invert", task_runner=one_by_one())
def invert(params: Params) -> Path:
    """Invert every image that has no valid code yet, shard by shard."""
    section, folder = params.invert, artifact("invert")
    model = Path(params.train_parent.model)
    images, device = artifact("prepare", section.dataset), choose_device(params.project.device)
    with recorded("invert", "", section, {"images": images, "model": model}) as record:
        record.tag(parent_model=str(model))
        plan = plan_codes(section, model, images, folder, device)
        num_threads = params.project.num_threads
        encoder = prepare_encoder(section, model, folder, device, num_threads)
        places = (section, model, images, encoder, folder, device, num_threads)
        shards = invert_shard.map(plan.todo, *map(unmapped, places))
        follow_shards("invert", shards, plan)
        record.metrics(finish_codes(plan, model, images, metrics_file("invert")))
    return folder

"""Stage `transfer`: translated images and labels go in, a labelled child data set comes out."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.devices import choose_device
from tasks.layout import artifact, scratch_folder
from tasks.records import recorded
from tasks.transfer import count_accepted, fit_instruments, transfer_labels


@flow(name="transfer")
def transfer(params: Params, name: str) -> Path:
    """Carry the parent's labels to one child's images, with a confidence for each."""
    section, folder, codes = params.transfer, artifact("transfer", name), artifact("invert")
    child, images = artifact("train_child", name), artifact("prepare", params.invert.dataset)
    translated, scratch = artifact("translate", name), scratch_folder("transfer", name)
    parent, device = Path(params.train_parent.model), choose_device(params.project.device)
    places = (parent, child, scratch, folder, device, params.project.num_threads)
    with recorded("transfer", name, section, {"images": translated, "child": child}) as record:
        fit_instruments(section, params.invert, images, child, scratch, *places[4:])
        transfer_labels(section, codes, images, translated, *places)
        record.metrics(count_accepted(folder))
    return folder

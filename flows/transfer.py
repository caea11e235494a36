"""Stage `transfer`: translated images and labels go in, a labelled child data set comes out."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.devices import choose_device
from tasks.layout import child_places
from tasks.records import recorded
from tasks.transfer import count_accepted, fit_instruments, transfer_labels
from tasks.verdicts import kept_shares


@flow(name="transfer")
def transfer(params: Params, name: str) -> Path:
    """Carry the parent's labels to one child's images, with a confidence for each."""
    section, places = params.transfer, child_places(params, name)
    device, num_threads = choose_device(params.project.device), params.project.num_threads
    inputs = {"images": places.translated, "child": places.child}
    with recorded("transfer", name, section, inputs) as record:
        fit_instruments(section, params.invert, places, device, num_threads)
        transfer_labels(section, places, device, num_threads)
        record.metrics(count_accepted(places.transferred) | kept_shares(places.transferred))
    return places.transferred

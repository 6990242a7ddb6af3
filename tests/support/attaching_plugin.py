"""The source of a plugin whose results have files attached, as large as is asked for."""

ATTACHING_PLUGIN = """
import os

from attrs import frozen

from prover_framework import Limits, ProofType, Verdict, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    sizes: dict[str, int]
    media_type: str = "text/csv"
    trick: str = ""


@frozen(kw_only=True)
class Result:
    attaching: int


@hookimpl
def proof_type():
    return ProofType(
        name="attaching", title="Attaching", version="1", parameters=Parameters, result=Result,
        limits=Limits(
            attachments=3, attachment_bytes=4 * 2**20, attachments_bytes=6 * 2**20
        ),
    )


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, work):
    for name, size in parameters.sizes.items():
        with work.attach(name, parameters.media_type) as file:
            for begin in range(0, size, 1000):
                file.write(bytes([begin // 1000 % 251]) * min(1000, size - begin))
    place = work.attached
    if parameters.trick == "link":
        path = place[min(place)]
        path.unlink()
        path.symlink_to("/etc/hostname")
    if parameters.trick == "fifo":
        path = place[min(place)]
        path.unlink()
        os.mkfifo(path)
    if parameters.trick == "grow":
        with place[min(place)].open("ab") as file:
            file.truncate(5 * 2**20)
    if parameters.trick == "random":
        with work.attach("random", "application/octet-stream") as file:
            file.write(os.urandom(8))
    if parameters.trick == "fail":
        raise ValueError("after all")
    return Result(attaching=sum(parameters.sizes.values()))
"""

# The same method, judged by reading what is claimed.
READING_PLUGIN = (
    ATTACHING_PLUGIN.replace('"attaching"', '"reading"')
    .replace("attaching:", "reading:")
    .replace("Result(attaching", "Result(reading")
    + """

@hookimpl
def verify(parameters, claimed, work):
    if parameters.trick == "blind":
        return Verdict(accepted=True, reason="why not")
    size = sum(len(work.claimed(name).read_bytes()) for name in parameters.sizes)
    return Verdict(accepted=size == claimed.reading, reason=f"{size} bytes were read")
"""
)


def content(size: int) -> bytes:
    """Return what is attached by this size."""
    blocks = (bytes([n % 251]) * min(1000, size - n * 1000) for n in range(-(-size // 1000)))
    return b"".join(blocks)

"""What a plugin's check came to."""

from attrs import field, frozen
from attrs.validators import instance_of


@frozen
class Verdict:
    """What checking a claimed result against a new computation came to."""

    accepted: bool = field(validator=instance_of(bool))
    reason: str = field(validator=instance_of(str))

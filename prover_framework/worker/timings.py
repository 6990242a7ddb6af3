"""How long the parts of a worker wait."""

from attrs import frozen


@frozen(kw_only=True)
class Timings:
    """Waits and their limits that no operator has to choose.

    Args:
        poll_seconds: How long a receive waits for the first message; a queue may wait less.
        prefetch_seconds: A worker prefetches as many jobs as it expects to begin within half of
            this time: computations that take milliseconds would wait for messages most of the time.
            A job that has waited for a slot for the whole of it is released, since another worker
            may have one.
        trouble_seconds: A database or queue that is out of order is called again after this time,
            then more rarely.
        max_settle_wait_seconds: An outcome is tried to be stored at least as often as this, as long
            as its lease may last.
        max_invisible_seconds: A message is made invisible for waits up to this long. For longer
            ones it is deleted, and the sweep sends another when the job is due: SQS's visibility
            timeout ends at 12 hours, and each receive is counted.
        too_new_receives: A message of a later version is put back for so many receives, 2 s the
            first time and `max_too_new_seconds` the last ones. With the defaults that is a quarter
            of an hour, in which a deployment replaces its workers.
        max_too_new_seconds: The longest of these waits.
        incapable_receives: A message whose job this worker cannot do is put back; so often
            received it is deleted, and the sweep sends another.
        incapable_seconds: For how long it is put back first; then for twice as long.
        resources_seconds: For how long at most a job is put back whose resources are all in use.
        event_seconds: How often a worker looks for ends of groups that plugins have to be told of,
            besides those that it has brought about itself.
        event_retry_seconds: How long after a plugin has failed to take the end of a group it is
            notified again; twice as long each further time, half an hour at the most.
        event_give_up_seconds: How long after the end of a group that is given up: whatever was to
            follow from it has been done by hand since.
        release_seconds: What stops has this long to release its job. That is one write; a job whose
            database takes longer is free when its lease expires.
        order_seconds: How often a worker looks for what operators want of it: it obeys as soon.
    """

    poll_seconds: float = 20.0
    prefetch_seconds: float = 1.0
    trouble_seconds: float = 1.0
    max_settle_wait_seconds: float = 4.0
    max_invisible_seconds: float = 300.0
    too_new_receives: int = 20
    max_too_new_seconds: float = 60.0
    incapable_receives: int = 3
    incapable_seconds: float = 1.0
    resources_seconds: float = 5.0
    event_seconds: float = 2.0
    event_retry_seconds: float = 2.0
    event_give_up_seconds: float = 7 * 24 * 3600.0
    release_seconds: float = 5.0
    order_seconds: float = 1.0


USUAL_TIMINGS = Timings()

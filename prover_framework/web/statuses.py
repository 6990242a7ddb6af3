"""Which status of HTTP an error is answered with."""

from prover_framework.errors import (
    CallerUnknown,
    FeedBusy,
    GroupConflict,
    GroupIdInvalid,
    GroupNotFound,
    Limited,
    NotSigned,
    PayloadTooLarge,
    PriorityTooHigh,
    ProofError,
    ProverError,
    ReceiptMissing,
    ReceiptNotYet,
    RequestError,
    ScopeMissing,
    StoreError,
    StoreFull,
    TooManyOpenJobs,
    UnsupportedMediaType,
    VerificationEnded,
    VerifierUnavailable,
    WorkerNotFound,
)

STATUS_OF_ERROR: tuple[tuple[type[ProverError], int], ...] = (
    (PayloadTooLarge, 413),
    (UnsupportedMediaType, 415),
    (RequestError, 400),
    (CallerUnknown, 401),
    (ScopeMissing, 403),
    (PriorityTooHigh, 403),
    (TooManyOpenJobs, 503),
    (Limited, 429),
    (GroupNotFound, 404),
    (GroupIdInvalid, 404),
    (WorkerNotFound, 404),
    (GroupConflict, 409),
    (ReceiptNotYet, 409),
    (ReceiptMissing, 404),
    (ProofError, 400),
    (StoreError, 503),
    (StoreFull, 507),
    (FeedBusy, 503),
    (NotSigned, 503),
    (VerifierUnavailable, 503),
    (VerificationEnded, 422),
)


def status_of(error: ProverError) -> int:
    """Return the status that an error is answered with; 500 for what is nobody's but ours."""
    return next((status for cls, status in STATUS_OF_ERROR if isinstance(error, cls)), 500)

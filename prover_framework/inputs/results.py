"""Results: what other jobs of the same group have proved."""

from hashlib import sha256

from attrs import field, frozen
from attrs.validators import matches_re

from prover_framework.errors import DataNotYet
from prover_framework.hookspecs import hookimpl
from prover_framework.inputs.trusted import Sources, TrustedKind
from prover_framework.model.inputs import Chain, InputKind, LoadedData, Need
from prover_framework.model.names import JOB_ID
from prover_framework.model.receipts import HEX_32_BYTES, Statement
from prover_framework.receipts.canonical import canonical
from prover_framework.receipts.documents import statement_form
from prover_framework.serialization.converter import unstructure_object
from prover_framework.serialization.json_text import Json

NAME = "results"


@frozen
class ResultWanted:
    """Whose result is asked for.

    Args:
        job_id: The job's id in the group: a proof type's name, or that and a label.
    """

    job_id: str = field(validator=matches_re(JOB_ID))


@frozen(kw_only=True)
class JobResult:
    """What another job of the group has proved.

    Args:
        job_id: Its id in the group.
        statement: What it states, with its parameters, inputs and result.
    """

    job_id: str
    statement: Statement

    @property
    def number(self) -> int | float | str:
        """The number under the name of its proof type, as JSON has it."""
        found: int | float | str = self.statement.result[self.statement.proof_type]
        return found


@frozen(kw_only=True)
class ResultFacts:
    """Which result a proof rests on.

    Args:
        job_id: The job's id in the group.
        proof_type: Name of its proof type.
        statement_sha256: SHA-256 of the canonical JSON of its statement, in hex: not of where its
            data came from or of seals, which differ from run to run.
        seed: The seed of that job, in hex.
    """

    job_id: str
    proof_type: str
    statement_sha256: str = field(validator=matches_re(HEX_32_BYTES))
    seed: str = field(validator=matches_re(HEX_32_BYTES))


def result_of(job_id: str) -> Need:
    """Ask for the result of another job of the group.

    Args:
        job_id: The job's id in the group, such as ``name`` or ``name@label``.
    """
    return Need(NAME, unstructure_object(ResultWanted(job_id)))


def statement_digest(statement: Statement) -> str:
    """Return the SHA-256 of the canonical JSON of a statement, in hex."""
    return sha256(canonical(statement_form(statement))).hexdigest()


class Results(TrustedKind[ResultWanted, JobResult, ResultFacts]):
    """The kind of data."""

    name = NAME
    version = "1"
    need_type = ResultWanted
    data_type = JobResult
    facts_type = ResultFacts

    async def load_here(self, need: ResultWanted, sources: Sources) -> LoadedData[JobResult, None]:
        """Load the statement of another job."""
        if sources.results is None:
            raise DataNotYet("the results of the group's other jobs are not here")
        statement = await sources.results.statement_of(need.job_id)
        return LoadedData(JobResult(job_id=need.job_id, statement=statement))

    def facts(self, data: JobResult) -> ResultFacts:
        """Return which result it is."""
        return ResultFacts(
            job_id=data.job_id,
            proof_type=data.statement.proof_type,
            statement_sha256=statement_digest(data.statement),
            seed=data.statement.seed,
        )

    def canonical(self, data: JobResult) -> bytes:
        """Return the canonical JSON of the statement."""
        return canonical(statement_form(data.statement))

    def chain(self, data: JobResult) -> Chain | None:
        """Say whether the result rests on a simulated chain."""
        return Chain(None, data.statement.simulated)

    def seed_part(self, facts: ResultFacts) -> dict[str, Json]:
        """Return the other job's seed: its result may depend on the machine, its seed does not."""
        return {"seed": facts.seed}

    def rests_on(self, need: ResultWanted) -> str:
        """Return the other job."""
        return need.job_id


@hookimpl
def input_kind() -> InputKind[ResultWanted, JobResult, ResultFacts, None]:
    """Register results."""
    return Results()

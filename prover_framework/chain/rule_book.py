"""Which rules the headers of a chain obey: built in, or from a file that the settings name."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from attrs import field, frozen

from prover_framework.chain.fee_rules import MAINNET_FEE, Eip1559, FeeRule, FixedFee, OpStack
from prover_framework.chain.headers import MAX_NUMBER, MAX_TIMESTAMP
from prover_framework.chain.rules import ChainRules, FeePeriod
from prover_framework.errors import RequestError, SettingsError
from prover_framework.model.names import MAX_INT64
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.text import describe

_MAINNET_FEES: Final = (FeePeriod(0, MAINNET_FEE),)
_OP_FEES: Final = (FeePeriod(0, OpStack()),)

BUILT_IN: Final[Mapping[int, ChainRules]] = {
    1: ChainRules(
        name="mainnet", fees=_MAINNET_FEES, london_block=12_965_000, london_time=1_628_166_822
    ),
    5: ChainRules(name="Goerli", fees=_MAINNET_FEES, london_block=5_062_605),
    17000: ChainRules(name="Holesky", fees=_MAINNET_FEES),
    560048: ChainRules(name="Hoodi", fees=_MAINNET_FEES),
    11155111: ChainRules(name="Sepolia", fees=_MAINNET_FEES),
    # What Geth, and Hardhat and Anvil give the chains that they make up.
    1337: ChainRules(name="a local test chain", fees=_MAINNET_FEES),
    31337: ChainRules(name="a local test chain", fees=_MAINNET_FEES),
    10: ChainRules(name="OP Mainnet", fees=_OP_FEES),
    130: ChainRules(name="Unichain", fees=_OP_FEES),
    480: ChainRules(name="World Chain", fees=_OP_FEES),
    1868: ChainRules(name="Soneium", fees=_OP_FEES),
    8453: ChainRules(name="Base", fees=_OP_FEES),
    34443: ChainRules(name="Mode", fees=_OP_FEES),
    57073: ChainRules(name="Ink", fees=_OP_FEES),
    84532: ChainRules(name="Base Sepolia", fees=_OP_FEES),
    7777777: ChainRules(name="Zora", fees=_OP_FEES),
    11155420: ChainRules(name="OP Sepolia", fees=_OP_FEES),
    # https://github.com/bnb-chain/bsc, consensus/misc/eip1559: Parlia's base fee is 0. Blocks are
    # less than a second apart.
    56: ChainRules(
        name="BNB Smart Chain", fees=(FeePeriod(0, FixedFee(wei=0)),), equal_timestamps=True
    ),
    97: ChainRules(
        name="BNB Smart Chain's testnet",
        fees=(FeePeriod(0, FixedFee(wei=0)),),
        equal_timestamps=True,
    ),
    100: ChainRules(name="Gnosis"),
    137: ChainRules(name="Polygon"),
    80002: ChainRules(name="Polygon Amoy"),
    42161: ChainRules(name="Arbitrum One", equal_timestamps=True),
    42170: ChainRules(name="Arbitrum Nova", equal_timestamps=True),
    421614: ChainRules(name="Arbitrum Sepolia", equal_timestamps=True),
}

SIMULATED: Final = ChainRules(name="a simulated chain", fees=_MAINNET_FEES)


@frozen
class RuleBook:
    """The rules of chains by their ids (EIP-155).

    Args:
        further: Rules beside those that are built in; they win.
    """

    further: Mapping[int, ChainRules] = field(factory=dict)

    def rules_of(self, chain_id: int, *, simulated: bool = False) -> ChainRules:
        """Return the rules of a chain; of one that is not known, no rule of its base fee is."""
        if simulated:
            return SIMULATED
        found = self.further.get(chain_id) or BUILT_IN.get(chain_id)
        # Chains of less than a second between blocks are not rare.
        return found or ChainRules(name=f"chain {chain_id}", equal_timestamps=True)


def read_rule_book(file: Path | None) -> RuleBook:
    """Read the rules of further chains from a file of JSON; see ``docs/reference/chain-data.md``.

    Raises:
        SettingsError: The file cannot be read, or is wrong somewhere, and where.
    """
    if file is None:
        return RuleBook()
    try:
        document = parse_json(file.read_bytes())
        chains = _Object(document, "the document", {"chains"}).items("chains")
        return RuleBook(dict(map(_chain, chains)))
    except OSError as error:
        raise SettingsError(
            f"PROVER_CHAIN_RULES: {file} cannot be read: {error.strerror}"
        ) from None
    except RequestError:
        raise SettingsError(f"PROVER_CHAIN_RULES: {file} is not JSON") from None
    except ValueError as error:
        raise SettingsError(f"PROVER_CHAIN_RULES: {file}: {error}") from None


class _Object:
    """An object of the document, read key by key; a key that nobody reads is refused."""

    def __init__(self, value: Json, where: str, known: Iterable[str]) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        self._value = value
        self._where = where
        if unknown := sorted(set(value) - set(known)):
            raise ValueError(
                f"{where} has {unknown[0]!a}; what it may have is {', '.join(sorted(known))}"
            )

    def items(self, key: str) -> list[Json]:
        value = self._value.get(key)
        if not isinstance(value, list):
            raise _wrong(f"{self._where}.{key}", "an array", value)
        return value

    def integer(self, key: str, maximum: int, default: int | None = None) -> int:
        value = self._value.get(key, default)
        if type(value) is not int or not 0 <= value <= maximum:
            raise ValueError(f"{self._where}.{key} must be 0..{maximum}, and is {describe(value)}")
        return value

    def text(self, key: str) -> str:
        value = self._value.get(key)
        if not isinstance(value, str) or not value:
            raise _wrong(f"{self._where}.{key}", "a text", value)
        return value

    def flag(self, key: str) -> bool:
        value = self._value.get(key, False)
        if not isinstance(value, bool):
            raise _wrong(f"{self._where}.{key}", "true or false", value)
        return value


def _wrong(where: str, form: str, value: Json) -> ValueError:
    return ValueError(f"{where} must be {form}, and is {describe(value)}")


def _chain(value: Json) -> tuple[int, ChainRules]:
    known = {"chain_id", "name", "fees", "london_block", "london_time", "equal_timestamps"}
    chain = _Object(value, "a chain", known)
    chain_id = chain.integer("chain_id", MAX_INT64)
    periods = tuple(map(partial(_period, where=f"fees of chain {chain_id}"), chain.items("fees")))
    if [p.from_block for p in periods] != sorted({p.from_block for p in periods}):
        raise ValueError(f"fees of chain {chain_id}: from_block must rise from one to the next")
    return chain_id, ChainRules(
        name=chain.text("name"),
        fees=periods,
        london_block=chain.integer("london_block", MAX_NUMBER, 0),
        london_time=chain.integer("london_time", MAX_TIMESTAMP, 0),
        equal_timestamps=chain.flag("equal_timestamps"),
    )


def _period(value: Json, where: str) -> FeePeriod:
    known = {"from_block", "rule", "elasticity", "denominator", "minimum_wei", "wei"}
    period = _Object(value, where, known)
    return FeePeriod(period.integer("from_block", MAX_NUMBER, 0), _rule(period, where))


def _rule(period: _Object, where: str) -> FeeRule | None:
    match period.text("rule"):
        case "eip1559":
            return Eip1559(
                elasticity=period.integer("elasticity", MAX_INT64, 2),
                denominator=period.integer("denominator", MAX_INT64, 8),
                minimum_wei=period.integer("minimum_wei", MAX_INT64, 0),
            )
        case "op_stack":
            return OpStack()
        case "fixed":
            return FixedFee(wei=period.integer("wei", MAX_INT64))
        case "none":
            return None
        case other:
            raise ValueError(
                f"{where}: there is no rule {other!a}; there are eip1559, op_stack, fixed and none"
            )

"""AWS credentials that are read again when they are refused: they rotate while a service runs."""

import asyncio
from typing import TYPE_CHECKING, Any

from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

# To read them costs some milliseconds, and may ask a server of AWS. Many calls are refused at once.
READ_SECONDS = 1.0

# What AWS says of credentials that it does not accept, for whatever reason. Its words to these
# quote the signed request, which is not for logs.
CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


class RotatingCredentials(AioCredentials):
    """Credentials from wherever all AWS tools look; see `AioSession.get_credentials`."""

    def __init__(self) -> None:
        super().__init__("", "", method="prover")
        self._source: AioCredentials | None = None
        self._reading = asyncio.Lock()
        # When they were read last, and whether that brought others.
        self._read_at = -READ_SECONDS
        self._has_changed = False

    async def load_credentials(self) -> "RotatingCredentials":
        """Read them for the first time: what a session asks its provider for.

        Raises:
            BotoCoreError: The configuration contradicts itself.
        """
        self._source = await AioSession().get_credentials()
        return self

    async def get_frozen_credentials(self) -> "ReadOnlyCredentials":  # type: ignore[override]
        """Return those that sign a request now.

        Raises:
            NoCredentialsError: There are none.
        """
        if self._source is None:
            await self._read_again()
        if self._source is None:
            raise NoCredentialsError
        return await self._source.get_frozen_credentials()

    async def on_answer(self, response: Any, attempts: int, **_: object) -> float | None:
        """Have a call made once more if its credentials were refused and there are others.

        Args:
            response: The answer and what it says, as AWS's library hands them to its handlers.
            attempts: How often the call was made.
        """
        if response is None or attempts != 1:
            return None
        code = str(response[1].get("Error", {}).get("Code", "")).rpartition(".")[2]
        if code not in CREDENTIAL_CODES:
            return None
        return 0.0 if await self._read_again() else None

    async def _read_again(self) -> bool:
        """Read them, if that is not done already; return whether they are others than before."""
        now = asyncio.get_running_loop().time
        async with self._reading:
            if now() - self._read_at >= READ_SECONDS:
                before = await _frozen(self._source)
                self._source = await AioSession().get_credentials() or self._source
                self._read_at = now()
                self._has_changed = await _frozen(self._source) != before
            return self._has_changed


async def _frozen(credentials: AioCredentials | None) -> "ReadOnlyCredentials | None":
    return None if credentials is None else await credentials.get_frozen_credentials()

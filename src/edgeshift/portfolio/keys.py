# SPDX-License-Identifier: Apache-2.0
"""Ed25519 keys as PEM files: made, read, named."""

import hashlib
import os
from pathlib import Path

from edgeshift.core.errors import BadValue, FolderTaken
from edgeshift.core.files import sync_folder, write_bytes

# cryptography takes 50 ms to import and most portfolios are opened without a key: it loads on first use.
MAX_BYTES = 1 << 16


class PublicKey:
    """Tells whether the owner of the private half signed some bytes.

    Attributes:
        name: First 16 hex digits of the SHA-256 of its 32 bytes.
    """

    def __init__(self, raw: bytes) -> None:
        """From the 32 bytes."""
        self._raw = raw
        self.name = hashlib.sha256(raw).hexdigest()[:16]

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's, over that data."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self._raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """Signs bytes.

    Attributes:
        public: The other half.
    """

    def __init__(self, seed: bytes) -> None:
        """From the 32 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(data)


def new(path: Path) -> PublicKey:
    """Write a new private key, readable by its owner alone, and the public one beside it as `<name>.pub`.

    Raises:
        FolderTaken: If one of the files is there already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    beside = path.with_name(path.name + ".pub")
    for taken in (path, beside):
        if taken.exists():
            raise FolderTaken(f"key must go into a new file, got {taken} that is there already")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Created with its mode: a key that was ever readable by others is no secret.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_bytes(beside, public_pem)
    return PublicKey(key.public_key().public_bytes_raw())


def private(path: Path) -> PrivateKey:
    """The key in a file.

    Raises:
        BadValue: If it holds no unencrypted Ed25519 private key as PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _content(path)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadValue("key", str(path), "an unencrypted Ed25519 private key as PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadValue("key", type(key).__name__, "an Ed25519 private key")
    return PrivateKey(key.private_bytes_raw())


def public(source: Path | bytes) -> PublicKey:
    """The key in a file, or in the bytes of one.

    Raises:
        BadValue: If it is no Ed25519 public key as PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = source if isinstance(source, bytes) else _content(source)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        got = "bytes" if isinstance(source, bytes) else str(source)
        raise BadValue("public key", got, "an Ed25519 public key as PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadValue("public key", type(key).__name__, "an Ed25519 public key")
    return PublicKey(key.public_bytes_raw())


def _content(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise BadValue("key", str(path), f"an existing file of at most {MAX_BYTES} bytes")
    return path.read_bytes()

"""Read the private key of the App, whatever a form, a shell or a secret store has made of it.

No message shows anything of what was given.
"""

from __future__ import annotations

import base64
import binascii
import re
import string

from app.environment.fault import SettingsFault

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BASE64_CHARACTERS = frozenset(string.ascii_letters + string.digits + "+/=-_")
_MIN_BASE64_CHARACTERS = 200
"""Fewer characters hold no key: even one of 1024 bits has more than 600."""
_MAX_NESTING = 2
"""How often a key may be encoded in base64."""
_WANTED = "GitHub's .pem file is wanted, whole and unencrypted"
_OTHER_LABELS = {
    "CERTIFICATE REQUEST": "it looks like a request for a certificate",
    "CERTIFICATE": "it looks like a certificate",
    "RSA PUBLIC KEY": "it is a public key",
    "PUBLIC KEY": "it is a public key",
    "ENCRYPTED PRIVATE KEY": "it is encrypted with a passphrase",
    "EC PRIVATE KEY": "it is a key for elliptic curves, not RSA",
    "DSA PRIVATE KEY": "it is a DSA key, not RSA",
    "OPENSSH PRIVATE KEY": "it is a key for ssh",
}
_OTHER_TEXTS = (
    (re.compile(r"(?:ssh-(?:rsa|ed25519)|ecdsa-\S+) "), "it is a public key for ssh"),
    (re.compile(r"SHA256:[A-Za-z0-9+/=]{40,46}\s*\Z"), "it is the fingerprint of a key"),
)
_KEY_LABELS = ("RSA PRIVATE KEY", "PRIVATE KEY")


def normalize_private_key(given: str | bytes) -> str:
    """Return the key as PEM with its lines; what holds none is returned as text, for `check_private_key` to explain.

    Reads PEM with newlines written out, blanks instead of newlines, CRLF or quotes, base64 of it, and DER.
    """
    if isinstance(given, bytes):
        try:
            text = given.decode("utf-8-sig")
        except UnicodeDecodeError:
            return _pem_of_der(given) or given.decode("latin-1")
    else:
        text = given
    return _normalize_text(text, _MAX_NESTING)


def looks_like_base64(text: str) -> bool:
    """Return True for a text that could be a key in base64, so that it is no path of a file."""
    compact = "".join(text.split())
    return len(compact) >= _MIN_BASE64_CHARACTERS and _BASE64_CHARACTERS.issuperset(compact)


def check_private_key(text: str) -> None:
    """Check that the text is an RSA key that can sign.

    Raises SettingsFault, which says what was seen instead.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - `muster --help` reads no keys
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    if seen := _describe_other(text):
        raise SettingsFault(f"no private key in PEM: {seen}; {_WANTED}.")
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise SettingsFault(f"no private key in PEM: {_OTHER_LABELS['ENCRYPTED PRIVATE KEY']}; {_WANTED}.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsFault(f"no private key in PEM: it is damaged or cut off; {_WANTED}.") from None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsFault(f"no private key in PEM: it is not an RSA key; {_WANTED}.")


def _normalize_text(text: str, nesting: int) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    text = text.replace("\\r", "").replace("\\n", "\n").replace("\r", "\n")
    blocks = [block for block in _BLOCK.finditer(text) if block[1] in _KEY_LABELS]
    if blocks:
        return _pem_of_block(blocks[0][1], blocks[0][2])
    if "-----BEGIN" in text or not looks_like_base64(text) or not nesting:
        return text
    decoded = _decode_base64(text)
    inner = _pem_of_der(decoded) or _normalize_text(decoded.decode("utf-8", "replace"), nesting - 1)
    return inner if _BLOCK.search(inner) and _describe_other(inner) == "" else text


def _pem_of_block(label: str, body: str) -> str:
    """Write a block of PEM with lines of 64 characters; an encrypted one, which has headers, stays as it is."""
    if ":" in body:
        return f"-----BEGIN {label}-----\n{body.strip()}\n-----END {label}-----\n"
    compact = "".join(body.split())
    lines = [compact[start : start + 64] for start in range(0, len(compact), 64)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


def _pem_of_der(content: bytes) -> str:
    """Write a key in DER, PKCS#1 or PKCS#8, as PEM; empty if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        key = serialization.load_der_private_key(content, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return ""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def _decode_base64(text: str) -> bytes:
    compact = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _describe_other(text: str) -> str:
    """Return what the text is instead of a key; empty if it may be one."""
    if "Proc-Type: 4,ENCRYPTED" in text:
        return _OTHER_LABELS["ENCRYPTED PRIVATE KEY"]
    labels = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----", text)
    if any(label in _KEY_LABELS for label in labels):
        return "" if _BLOCK.search(text) else "its last line is missing"
    if known := [_OTHER_LABELS[label] for label in labels if label in _OTHER_LABELS]:
        return known[0]
    if other := [seen for pattern, seen in _OTHER_TEXTS if pattern.match(text)]:
        return other[0]
    return _describe_base64(_decode_base64(text)) if looks_like_base64(text) else "it holds none"


def _describe_base64(content: bytes) -> str:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key  # noqa: PLC0415

    if b"-----BEGIN" in content:
        return f"it looks like base64 of something else: {_describe_other(content.decode('utf-8', 'replace'))}"
    for load, seen in ((x509.load_der_x509_certificate, "a certificate"), (load_der_public_key, "a public key")):
        try:
            load(content)
        except Exception:  # noqa: BLE001, S112 - whatever the parser raises, it is not that
            continue
        return f"it looks like base64 of {seen}"
    try:
        load_der_private_key(content, password=None)
    except TypeError:
        return f"it looks like base64 of a key, and {_OTHER_LABELS['ENCRYPTED PRIVATE KEY']}"
    except Exception:  # noqa: BLE001, S110 - whatever the parser raises, it is not that
        pass
    return "it looks like base64, but of no key"

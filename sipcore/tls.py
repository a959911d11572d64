"""TLS contexts of a profile (SPEC C10): chain and host name are verified unless the operator says otherwise."""

from __future__ import annotations

import ssl

from sipcore.errors import TransportError
from sipcore.policy.settings import Profile


def make_client_context(profile: Profile) -> ssl.SSLContext:
    """The context for connections to the profile's servers, TLS 1.2 and newer.

    TransportError when a file that the profile names cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=profile.tls_ca_file or None)
        if profile.tls_certificate_file:
            context.load_cert_chain(profile.tls_certificate_file, profile.tls_key_file or None)
    except (OSError, ValueError) as error:
        raise _unusable(profile, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not profile.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def make_server_context(profile: Profile) -> ssl.SSLContext | None:
    """The context for connections that the servers open to us; None without a certificate of our own."""
    if not profile.tls_certificate_file:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=profile.tls_ca_file or None)
        context.load_cert_chain(profile.tls_certificate_file, profile.tls_key_file or None)
    except (OSError, ValueError) as error:
        raise _unusable(profile, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _unusable(profile: Profile, error: Exception) -> TransportError:
    files = [profile.tls_ca_file, profile.tls_certificate_file, profile.tls_key_file]
    reason = getattr(error, "strerror", None) or error
    return TransportError(f"TLS cannot be set up with {', '.join(filter(None, files))}: {reason}")

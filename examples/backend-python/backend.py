#!/usr/bin/env python3
"""A backend that trusts nobody but the token: verifies Vestibule's access token by the published keys, and opens the
provider's token inside it with the one key it was given. See README.md."""

import argparse
import json
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jwcrypto import jwe, jwk, jws
from jwcrypto.common import JWException, json_decode

SIGNATURES = ["ES256", "EdDSA", "RS256"]  # never HS256 beside public keys, never "none"
REQUIRED = ["iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti"]
SKEW = 30  # seconds


class Refused(Exception):
    """The token opens nothing here."""


class PublishedKeys:
    """The issuer's JWK Set, read again when a token names a key that is not in it, at most once a minute."""

    def __init__(self, source):
        self.source, self.keys, self.read_at, self.lock = source, jwk.JWKSet(), 0.0, threading.Lock()

    def find(self, kid):
        with self.lock:
            if self.keys.get_key(kid) is None and time.monotonic() - self.read_at > 60:
                self.keys, self.read_at = jwk.JWKSet.from_json(read(self.source)), time.monotonic()
            return self.keys.get_key(kid)


class Verifier:
    """Everything RFC 9068 section 4 asks for."""

    def __init__(self, issuer, audience, published, own):
        self.issuer, self.audience, self.published, self.own = issuer, audience, published, own

    def claims(self, token):
        signed = jws.JWS()
        signed.allowed_algs = SIGNATURES
        try:
            signed.deserialize(token)
            header = signed.jose_header
            key = self.published.find(header.get("kid"))
            if header.get("typ") != "at+jwt" or key is None or key.get("alg") != header.get("alg"):
                raise Refused("not an access token of this issuer")
            signed.verify(key)
            claims = json_decode(signed.payload)
        except (JWException, ValueError, TypeError) as error:
            raise Refused("not an access token of this issuer") from error
        if not isinstance(claims, dict) or any(name not in claims for name in REQUIRED):
            raise Refused("a claim is missing")
        if claims["iss"] != self.issuer or claims["aud"] != self.audience:  # a list never equals a string
            raise Refused("issued elsewhere, or for another resource")
        now = time.time()
        if claims["exp"] <= now or claims["iat"] > now + SKEW:
            raise Refused("not valid at this time")
        return claims

    def upstream_token(self, claims):
        """The provider's token; None where it was too long to travel along."""
        if "upstream_token" not in claims:
            return None
        sealed = jwe.JWE(algs=["dir", "A256GCM"])
        try:
            sealed.deserialize(claims["upstream_token"])
            header = sealed.jose_header
            key = self.own.get_key(header.get("kid"))
            # The envelope names the token it was made for, so it cannot be moved into another one.
            if key is None or any(header.get(name) != claims[name] for name in ("jti", "aud")):
                raise Refused("the upstream token is not for us")
            sealed.decrypt(key)
        except (JWException, ValueError) as error:
            raise Refused("the upstream token does not open") from error
        return sealed.payload.decode()


def read(source):
    if source.startswith(("https://", "http://")):
        with urllib.request.urlopen(source, timeout=10) as reply:
            return reply.read(1 << 20).decode()
    with open(source, encoding="utf-8") as file:
        return file.read()


def own_keys(path):
    """`vestibule key show --json` writes one JWK, or a set while an older master key is still in use."""
    document = json.loads(read(path))
    keys = jwk.JWKSet()
    for key in document.get("keys", [document]):
        keys.add(jwk.JWK(**key))
    return keys


def handler(verifier):
    class Backend(BaseHTTPRequestHandler):
        def do_GET(self):
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            try:
                if scheme.lower() != "bearer":
                    raise Refused("no bearer token")
                claims = verifier.claims(token.strip())
                upstream = verifier.upstream_token(claims)
            except Refused as refused:
                return self.answer(401, {"error": "invalid_token", "error_description": str(refused)})
            # Here a real backend calls the provider's API with `upstream`. It is never logged and never sent back.
            shown = upstream and f"{upstream[:4]}… ({len(upstream)} characters)"
            told = {name: claims[name] for name in ("sub", "client_id", "scope", "email", "name") if name in claims}
            return self.answer(200, {**told, "upstream_token": shown})

        def answer(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Backend


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuer", required=True, help="Vestibule's public URL")
    parser.add_argument("--audience", required=True, help="the identifier of this resource")
    parser.add_argument("--jwks", help="URL or file of the published keys (ISSUER/jwks)")
    parser.add_argument("--key", required=True, help="file with what `vestibule key show --json` printed")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args()
    jwks = options.jwks or options.issuer.rstrip("/") + "/jwks"
    verifier = Verifier(options.issuer, options.audience, PublishedKeys(jwks), own_keys(options.key))
    server = ThreadingHTTPServer(("127.0.0.1", options.port), handler(verifier))
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()

"""Signs and checks the cases with the official Python SDK, and prints what it made and what it accepts.

pip install stripe && python make.py > python.json
"""

import json
import pathlib

import stripe
from stripe import SignatureVerificationError, WebhookSignature

CASES = pathlib.Path(__file__).with_name("cases.json")


def vectors(case):
    first, second = case["secrets"]
    at, body = case["timestamp"], case["body"]
    header = WebhookSignature.generate_signature_header(body, first, at)
    signature = header.split("v1=")[1]
    other = WebhookSignature.generate_signature_header(body, second, at).split("v1=")[1]
    headers = {
        "one": header,
        "both, the right one first": f"t={at},v1={signature},v1={other}",
        "both, the right one last": f"t={at},v1={other},v1={signature}",
        "an older scheme beside": f"t={at},v0={other},v1={signature}",
        "the signature first": f"v1={signature},t={at}",
        "of the other secret": f"t={at},v1={other}",
        "of another time": f"t={at + 1},v1={signature}",
        "only an older scheme": f"t={at},v0={signature}",
        "without a time": f"v1={signature}",
        "without a signature": f"t={at}",
    }
    for name, header in headers.items():
        yield vector(case, name, body, header)
    yield vector(case, "of another body", body + " ", f"t={at},v1={signature}")


def vector(case, name, body, header):
    secret = case["secrets"][0]
    try:
        # Its age is checked against the clock of this machine: not here.
        WebhookSignature.verify_header(body, header, secret, tolerance=None)
        accepted = True
    except SignatureVerificationError:
        accepted = False
    return {
        "name": f"{case['name']}: {name}",
        "secret": secret,
        "timestamp": case["timestamp"],
        "body": body,
        "header": header,
        "accepted": accepted,
    }


cases = json.loads(CASES.read_text(encoding="utf-8"))
made = [vector for case in cases for vector in vectors(case)]
print(json.dumps({"sdk": f"stripe {stripe.VERSION} for Python", "vectors": made}, indent=1))

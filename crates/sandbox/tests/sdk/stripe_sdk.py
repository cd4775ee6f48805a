"""Stripe's own Python SDK against a running sandbox.

usage: stripe_sdk.py <address> <secret key> <webhook secret>
"""

import http.server
import json
import queue
import sys
import threading
import urllib.request

import stripe

address, key, secret = sys.argv[1:4]
client = stripe.StripeClient(key, base_addresses={"api": address})
deliveries = queue.Queue()


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        deliveries.put((body, self.headers["stripe-signature"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def control(path, body):
    request = urllib.request.Request(
        address + path,
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def refused(error, call):
    try:
        call()
    except error as refusal:
        return refusal
    raise AssertionError(f"{error.__name__} expected")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
threading.Thread(target=server.serve_forever, daemon=True).start()
control("/sandbox/webhook", {"url": f"http://127.0.0.1:{server.server_port}/webhook"})

# An intent is made once per idempotency key, changed, and paid at the second try.
params = {
    "amount": 1250,
    "currency": "eur",
    "metadata": {"order_id": "o-1"},
    "automatic_payment_methods": {"enabled": True},
}
options = {"idempotency_key": "sdk-1"}
intent = client.v1.payment_intents.create(params, options)
assert intent.id == client.v1.payment_intents.create(params, options).id
refused(stripe.IdempotencyError, lambda: client.v1.payment_intents.create({**params, "amount": 1}, options))
assert intent.status == "requires_payment_method" and intent.client_secret.startswith(intent.id)
client.v1.payment_intents.update(intent.id, {"metadata": {"job": "j-1"}})
declined = refused(
    stripe.CardError,
    lambda: client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"}),
)
assert (declined.http_status, declined.code) == (402, "card_declined")
assert declined.error.decline_code == "generic_decline"
assert declined.error.payment_intent.status == "requires_payment_method"
paid = client.v1.payment_intents.confirm(
    intent.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
)
assert paid.status == "succeeded" and paid.amount_received == 1250
assert paid.metadata.to_dict() == {"order_id": "o-1", "job": "j-1"}
assert paid.latest_charge.paid and paid.latest_charge.payment_intent == intent.id

# Part of it goes back; more than the rest cannot.
refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 250})
assert refund.status == "succeeded" and refund.charge == paid.latest_charge.id
too_much = refused(
    stripe.InvalidRequestError,
    lambda: client.v1.refunds.create({"payment_intent": intent.id, "amount": 1001}),
)
assert too_much.param == "amount"
assert client.v1.charges.retrieve(refund.charge).amount_refunded == 250
assert [found.id for found in client.v1.refunds.list({"payment_intent": intent.id}).data] == [refund.id]

# A dispute, as the buyer opens it.
dispute = control("/sandbox/disputes", {"payment": intent.id, "amount": 100})
assert client.v1.disputes.retrieve(dispute["id"]).status == "needs_response"
disputed = refused(
    stripe.InvalidRequestError, lambda: client.v1.refunds.create({"payment_intent": intent.id})
)
assert disputed.code == "charge_disputed"

# A hosted checkout, expired again.
session = client.v1.checkout.sessions.create(
    {
        "mode": "payment",
        "success_url": "https://shop.example/done",
        "line_items": [
            {
                "quantity": 2,
                "price_data": {"currency": "eur", "unit_amount": 50, "product_data": {"name": "Pages"}},
            }
        ],
    }
)
assert session.amount_total == 100 and session.url.startswith("http")
assert client.v1.checkout.sessions.expire(session.id).status == "expired"

# The list of events, page by page, tells all of it.
listed = list(client.v1.events.list({"limit": 3}).auto_paging_iter())
kinds = [event.type for event in reversed(listed)]
assert kinds == [
    "payment_intent.created",
    "charge.failed",
    "payment_intent.payment_failed",
    "charge.succeeded",
    "payment_intent.succeeded",
    "refund.created",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "checkout.session.expired",
], kinds

# Each was delivered, in whatever order, and its signature is taken by the SDK and by nothing but the right secret.
arrived = {}
while len(arrived) < len(listed):
    body, signature = deliveries.get(timeout=60)
    event = stripe.Webhook.construct_event(body, signature, secret)
    refused(
        stripe.SignatureVerificationError,
        lambda: stripe.Webhook.construct_event(body, signature, "whsec_of_somebody_else"),
    )
    refused(
        stripe.SignatureVerificationError,
        lambda: stripe.Webhook.construct_event(body + b" ", signature, secret),
    )
    arrived[event.id] = event
assert {event.id: event.type for event in listed} == {event.id: event.type for event in arrived.values()}
succeeded = next(event for event in arrived.values() if event.type == "payment_intent.succeeded")
assert succeeded.data.object.id == intent.id and not succeeded.livemode

print(f"stripe {stripe.VERSION}: {len(arrived)} events")

// Signs and checks the cases with the official SDK for Node.js, and prints what it made and what it accepts.
//
// npm install stripe && node make.mjs > node.json

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

// Not `import`, which does not look where NODE_PATH says.
const Stripe = createRequire(import.meta.url)('stripe');
const { webhooks } = new Stripe('sk_test_nothing_is_called');

const cases = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'));

function header(body, secret, timestamp) {
  return webhooks.generateTestHeaderString({ payload: body, secret, timestamp });
}

function vectors(one) {
  const [first, second] = one.secrets;
  const { timestamp: at, body } = one;
  const whole = header(body, first, at);
  const signature = whole.split('v1=')[1];
  const other = header(body, second, at).split('v1=')[1];
  const headers = {
    one: whole,
    'both, the right one first': `t=${at},v1=${signature},v1=${other}`,
    'both, the right one last': `t=${at},v1=${other},v1=${signature}`,
    'an older scheme beside': `t=${at},v0=${other},v1=${signature}`,
    'the signature first': `v1=${signature},t=${at}`,
    'of the other secret': `t=${at},v1=${other}`,
    'of another time': `t=${at + 1},v1=${signature}`,
    'only an older scheme': `t=${at},v0=${signature}`,
    'without a time': `v1=${signature}`,
    'without a signature': `t=${at}`,
  };
  const made = Object.entries(headers).map(([name, value]) => vector(one, name, body, value));
  return [...made, vector(one, 'of another body', `${body} `, `t=${at},v1=${signature}`)];
}

function vector(one, name, body, value) {
  const [secret] = one.secrets;
  let accepted = true;
  try {
    // As if it had just come.
    webhooks.signature.verifyHeader(body, value, secret, 300, undefined, one.timestamp * 1000);
  } catch (error) {
    if (error.type !== 'StripeSignatureVerificationError') {
      throw error;
    }
    accepted = false;
  }
  return { name: `${one.name}: ${name}`, secret, timestamp: one.timestamp, body, header: value, accepted };
}

const sdk = `stripe ${Stripe.PACKAGE_VERSION} for Node.js`;
console.log(JSON.stringify({ sdk, vectors: cases.flatMap(vectors) }, null, 1));

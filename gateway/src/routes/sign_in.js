const at = (id) => document.getElementById(id);
const forms = ['link', 'code', 'ask'];
let token;

// Says something, and shows the forms that can be used next.
function show(text, ...usable) {
  at('say').textContent = text;
  for (const id of forms) at(id).hidden = !usable.includes(id);
}

// The cookie that binds the link to this browser comes and goes by itself: the page has the API's own origin.
async function post(path, body) {
  const answer = await fetch('/api/v1/auth/' + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

function reason({ body }) {
  const detail = Array.isArray(body.detail) ? body.detail[0]?.msg : body.detail;
  return typeof detail === 'string' ? detail : 'the server refused';
}

async function verify(proof, refused, ...usable) {
  const answer = await post('verify-magic-link', proof);
  if (answer.status === 401) return show(refused, 'code', 'ask');
  if (answer.status !== 200) return show('That did not work: ' + reason(answer) + '.', ...usable);
  const { access_token, refresh_token } = answer.body;
  history.replaceState(null, '', location.pathname);
  show('You are signed in. These are the tokens for your client:');
  at('out').textContent = JSON.stringify({ access_token, refresh_token }, null, 2);
  at('out').hidden = false;
}

const actions = {
  link: () => verify({ token },
    'The link was refused. It works once, for a few minutes, and only in the browser that asked for it. '
    + 'In that browser you can type the code from the mail; or ask for a new link here.', 'link', 'code', 'ask'),
  code: () => verify({ code: at('letters').value.trim() },
    'The code was refused. Check it, or ask for a new mail: after five wrong tries a code is void.',
    'code', 'ask'),
  ask: async () => {
    const answer = await post('magic-link', { email: at('email').value.trim() });
    if (answer.status !== 202) return show('That did not work: ' + reason(answer) + '.', 'ask');
    const minutes = Math.ceil(answer.body.expires_in / 60);
    show('If the address is right, a mail is on its way. Within ' + minutes
      + ' minutes, open its link in this browser or type its code here.', 'code', 'ask');
    at('letters').value = '';
    at('letters').focus();
  },
};

for (const id of forms) {
  at(id).addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = at(id).querySelector('button');
    button.disabled = true;
    try {
      await actions[id]();
    } catch {
      at('say').textContent = 'The server did not answer. Try again.';
    } finally {
      button.disabled = false;
    }
  });
}

function start() {
  token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) show('Press the button to use the link from your mail. It works once.', 'link');
  else show('Enter your e-mail address. You get a link and a code that sign you in.', 'ask');
}

// A link opened in the tab of this page changes only the part after the #, which loads nothing anew.
addEventListener('hashchange', start);
start();

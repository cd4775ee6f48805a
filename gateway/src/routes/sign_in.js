const at = (id) => document.getElementById(id);
const forms = ['link', 'code', 'ask'];
const ASKED = 'quire-asked-until';
let token;

// Says something, shows the forms that can be used next, and goes to the first of them.
function show(text, ...usable) {
  at('say').textContent = text;
  for (const id of forms) at(id).hidden = !usable.includes(id);
  at('out').hidden = true;
  focusOn(usable[0]);
}

function focusOn(form) {
  if (form) at(form).querySelector('input, button').focus();
}

// Until when a code may be typed here. It survives a reload, and holds no secret.
function remember(until) {
  try {
    localStorage.setItem(ASKED, until);
  } catch {
    // A browser that keeps nothing shows the form for the code only until it loads the page anew.
  }
}

// The form for the code is of use only in the browser that asked for the mail.
function awaitsCode() {
  try {
    return Number(localStorage.getItem(ASKED)) > Date.now();
  } catch {
    return false;
  }
}

function withCode(usable) {
  return awaitsCode() ? [usable, 'code'] : [usable];
}

// The cookie that binds the link to this browser comes and goes by itself: the page has the API's own origin.
async function post(path, body) {
  const answer = await fetch('/api/v1/auth/' + path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: answer.status, wait: answer.headers.get('Retry-After'), body: await answer.json() };
}

function failure({ wait, body }) {
  const detail = Array.isArray(body.detail) ? body.detail[0]?.msg : body.detail;
  const reason = typeof detail === 'string' ? detail.replace(/^Value error, /, '') : 'the server refused';
  return 'That did not work: ' + reason + '.' + (wait ? ' Try again in ' + wait + ' s.' : '');
}

async function verify(proof, refused, form) {
  const answer = await post('verify-magic-link', proof);
  const next = form === 'code' ? ['code', 'ask'] : withCode('ask');
  if (answer.status === 401) return show(refused, ...next);
  if (answer.status !== 200) return show(failure(answer), form, ...next);
  const { access_token, refresh_token } = answer.body;
  remember(0);
  history.replaceState(null, '', location.pathname);
  show('You are signed in. These are the tokens for your client:');
  at('out').textContent = JSON.stringify({ access_token, refresh_token }, null, 2);
  at('out').hidden = false;
}

const actions = {
  link: () => verify({ token },
    'The link was refused. It works once, for a few minutes, and only in the browser that asked for it. '
    + 'In that browser you can type the code from the mail; or ask for a new link here.', 'link'),
  code: () => verify({ code: at('letters').value.trim() },
    'The code was refused. Check it, or ask for a new mail: after five wrong tries a code is void.', 'code'),
  ask: async () => {
    const answer = await post('magic-link', { email: at('email').value.trim() });
    // An earlier mail may still be of use.
    if (answer.status !== 202) return show(failure(answer), ...withCode('ask'));
    remember(Date.now() + 1000 * answer.body.expires_in);
    at('letters').value = '';
    const minutes = Math.ceil(answer.body.expires_in / 60);
    show('If the address is right, a mail is on its way. Within ' + minutes
      + ' minutes, open its link in this browser or type its code here.', 'code', 'ask');
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
      focusOn(id);
    } finally {
      button.disabled = false;
    }
  });
}

function start() {
  token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) show('Press the button to use the link from your mail. It works once.', 'link');
  else if (awaitsCode()) show('Type the code from your last mail, or ask for a new one.', 'code', 'ask');
  else show('Enter your e-mail address. You get a link and a code that sign you in.', 'ask');
}

// A link opened in the tab of this page changes only the part after the #, which loads nothing anew.
addEventListener('hashchange', start);
start();

const say = document.getElementById('say');
const go = document.getElementById('go');
const out = document.getElementById('out');
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (!token) {
  say.textContent = 'This address has no token. Open the link from your mail again.';
  go.disabled = true;
}
go.addEventListener('click', async () => {
  go.disabled = true;
  try {
    const answer = await fetch('/api/v1/auth/verify-magic-link', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ token }),
    });
    const body = await answer.json();
    if (answer.ok) {
      history.replaceState(null, '', location.pathname);
      say.textContent = 'You are signed in. These are the tokens for your client:';
      out.textContent = JSON.stringify({ access_token: body.access_token, refresh_token: body.refresh_token }, null, 2);
      out.hidden = false;
    } else {
      say.textContent = 'The link did not work: ' + (typeof body.detail === 'string' ? body.detail : 'it is not valid') + '.';
    }
  } catch {
    say.textContent = 'The server did not answer. Try again.';
    go.disabled = false;
  }
});

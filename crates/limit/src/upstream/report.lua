-- Tells what became of a call of an upstream; see account.rs, which does the same.
-- KEYS[1]: the upstream. ARGV: the time in microseconds, or 0 for the server's own; calls and cost of a minute, 0 for
-- no bound; what is added to both buckets; the token of the call; nothing, served, busy or gone; for how many
-- microseconds the upstream is busy.
-- Answers for how many microseconds it is busy, by what all calls were told.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local sizes = { tonumber(ARGV[2]), tonumber(ARGV[3]) }
local amounts = { tonumber(ARGV[4]), tonumber(ARGV[5]) }
local token, report, after = ARGV[6], ARGV[7], tonumber(ARGV[8])
local row = redis.call('HMGET', KEYS[1], 'calls', 'cost', 'at', 'state', 'until', 'trial')
local at, state, busy_until = tonumber(row[3] or '0'), row[4], tonumber(row[5] or '0')
local whole = function(number) return string.format('%.0f', number) end

local drained, names = 0, { 'calls', 'cost' }
for i = 1, 2 do
  local missing = 0
  if sizes[i] > 0 then
    missing = math.max(tonumber(row[i] or '0') - math.max(now - at, 0) * sizes[i] / 60000000, 0)
    missing = math.max(missing + amounts[i], 0)
    drained = math.max(drained, missing * 60000 / sizes[i])
  end
  redis.call('HSET', KEYS[1], names[i], string.format('%.6f', missing))
end
redis.call('HSET', KEYS[1], 'at', whole(now))
if report == 'busy' then
  -- Calls that were under way together must not shorten what one of them was told.
  if state ~= 'open' or busy_until < now + after then busy_until = now + after end
  redis.call('HSET', KEYS[1], 'state', 'open', 'until', whole(busy_until))
  state = 'open'
end
if report ~= 'nothing' and row[6] == token then
  redis.call('HDEL', KEYS[1], 'trial', 'trial_until')
  if report == 'served' and busy_until <= now then
    redis.call('HSET', KEYS[1], 'state', 'closed')
    state = 'closed'
  end
end
local busy = state == 'open' and math.max(busy_until - now, 0) or 0
redis.call('PEXPIRE', KEYS[1], whole(math.max(drained, busy / 1000) + 3600000))
return busy

-- Lets one call of an upstream through, or says how long it must wait; see account.rs, which does the same.
-- KEYS[1]: the upstream. ARGV: the time in microseconds, or 0 for the server's own; calls and cost of a minute, 0 for
-- no bound; the cost of the call; its token; how long it may try, in microseconds; for how long the caller knows the
-- upstream to be busy, in microseconds and perhaps below zero, or nothing; 1 if Redis was not told of that.
-- Answers 0: passes, 1: passes and tries, 2: the upstream is busy, 3: another call tries, 4: a bucket is empty; then
-- the microseconds to wait.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local sizes = { tonumber(ARGV[2]), tonumber(ARGV[3]) }
local amounts = { 1, tonumber(ARGV[4]) }
local token, trial, known, untold = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8] == '1'
local row = redis.call('HMGET', KEYS[1], 'calls', 'cost', 'at', 'state', 'until', 'trial', 'trial_until')
local at, state, busy_until = tonumber(row[3] or '0'), row[4], tonumber(row[5] or '0')
local trial_until = tonumber(row[7] or '0')
local whole = function(number) return string.format('%.0f', number) end

if known ~= '' and (not state or untold) and not (state == 'open' and busy_until > now + tonumber(known)) then
  -- Redis has forgotten what the caller still knows, or was out of reach when the upstream said so.
  state, busy_until = 'open', now + tonumber(known)
  redis.call('HSET', KEYS[1], 'state', state, 'until', whole(busy_until))
  redis.call('PEXPIRE', KEYS[1], whole(math.max(busy_until - now, 0) / 1000 + 3600000))
end
if state == 'open' and busy_until > now then return { 2, busy_until - now } end
if row[6] and trial_until > now then return { 3, trial_until - now } end

local missing, wait, drained = {}, 0, 0
for i = 1, 2 do
  missing[i] = 0
  if sizes[i] > 0 then
    missing[i] = math.max(tonumber(row[i] or '0') - math.max(now - at, 0) * sizes[i] / 60000000, 0)
    local excess = missing[i] + math.min(amounts[i], sizes[i]) - sizes[i]
    if excess > 0 then wait = math.max(wait, math.ceil(excess * 60000000 / sizes[i])) end
    missing[i] = missing[i] + amounts[i]
    drained = math.max(drained, missing[i] * 60000 / sizes[i])
  end
end
if wait > 0 then return { 4, wait } end

local tries = state == 'open'
redis.call('HSET', KEYS[1], 'calls', string.format('%.6f', missing[1]), 'cost', string.format('%.6f', missing[2]),
  'at', whole(now), 'state', state or 'closed')
if tries then
  redis.call('HSET', KEYS[1], 'trial', token, 'trial_until', whole(now + trial))
end
-- Long after it could matter.
redis.call('PEXPIRE', KEYS[1], whole(math.max(drained, trial / 1000) + 3600000))
return { tries and 1 or 0, 0 }

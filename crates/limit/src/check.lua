-- GCRA over all policies of a call: all are checked, then all are counted, or none. Shadow policies are counted
-- with the others if they would allow the call, and have no say.
-- KEYS[i]: the arrival time of policy i. ARGV[1]: the time in microseconds, or 0 for the server's own.
-- ARGV[3i - 1], ARGV[3i], ARGV[3i + 1]: interval and tolerance of policy i in microseconds, 1 for a shadow.
-- Answers per policy: 1 if it denies, else 0; then the microseconds to its arrival time.
-- Whole microseconds since 1970 stay below 2^53, so Lua's numbers are exact.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local allowed = true
local arrivals, denies = {}, {}
for i = 1, #KEYS do
  local arrival = tonumber(redis.call('GET', KEYS[i]) or '0')
  if arrival < now then arrival = now end
  arrivals[i] = arrival
  denies[i] = arrival - tonumber(ARGV[3 * i]) > now
  if denies[i] and ARGV[3 * i + 1] ~= '1' then allowed = false end
end
local answer = {}
for i = 1, #KEYS do
  local arrival = arrivals[i]
  if allowed and not denies[i] then
    arrival = arrival + tonumber(ARGV[3 * i - 1])
    local expiry = math.ceil((arrival - now) / 1000)
    redis.call('SET', KEYS[i], string.format('%.0f', arrival), 'PX', string.format('%.0f', expiry))
  end
  answer[2 * i - 1] = denies[i] and 1 or 0
  answer[2 * i] = arrival - now
end
return answer

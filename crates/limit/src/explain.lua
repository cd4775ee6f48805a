-- How policies stand. Writes nothing. KEYS and ARGV as in check.lua.
-- Answers: the time in microseconds, then per policy the microseconds to its arrival time, 0 if that is over.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local answer = { now }
for i = 1, #KEYS do
  local arrival = tonumber(redis.call('GET', KEYS[i]) or '0')
  if arrival < now then arrival = now end
  answer[i + 1] = arrival - now
end
return answer

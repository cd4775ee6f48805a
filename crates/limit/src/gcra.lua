-- GCRA over all policies of a route: all are checked, then all are consumed, or none.
-- KEYS[i]: the arrival time of policy i. ARGV[1]: the time in microseconds, or 0 for the server's own.
-- ARGV[2i], ARGV[2i + 1]: interval and tolerance of policy i in microseconds.
-- Answers: 1 or 0, then per policy the microseconds to its arrival time.
-- Whole microseconds since 1970 stay below 2^53, so Lua's numbers are exact.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local allowed = 1
local arrivals = {}
for i = 1, #KEYS do
  local arrival = tonumber(redis.call('GET', KEYS[i]) or '0')
  if arrival < now then arrival = now end
  arrivals[i] = arrival
  if arrival - tonumber(ARGV[2 * i + 1]) > now then allowed = 0 end
end
local answer = { allowed }
for i = 1, #KEYS do
  local arrival = arrivals[i]
  if allowed == 1 then
    arrival = arrival + tonumber(ARGV[2 * i])
    local expiry = math.ceil((arrival - now) / 1000)
    redis.call('SET', KEYS[i], string.format('%.0f', arrival), 'PX', string.format('%.0f', expiry))
  end
  answer[i + 1] = arrival - now
end
return answer

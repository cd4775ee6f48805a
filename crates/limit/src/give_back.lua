-- Takes one call back from each policy. KEYS and ARGV as in check.lua. Answers nothing of use.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
for i = 1, #KEYS do
  local arrival = tonumber(redis.call('GET', KEYS[i]) or '0') - tonumber(ARGV[3 * i - 1])
  if arrival > now then
    -- The old expiry comes later than needed, which changes nothing: a time that is over counts as none.
    redis.call('SET', KEYS[i], string.format('%.0f', arrival), 'KEEPTTL')
  else
    redis.call('DEL', KEYS[i])
  end
end
return {}

-- Renew the leases of running deliveries.
--
-- KEYS  stream
-- ARGV  group  consumer  first id  last id  (id count)...
-- Returns the ids that are not ours any more.
--
-- One step, because XCLAIM steals: renewing without looking would take a job back from
-- the worker that took it over. JUSTID resets the idle time and leaves the count.
local counts = held(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local ours, lost = {}, {}
for i = 5, #ARGV, 2 do
  if counts[ARGV[i]] == tonumber(ARGV[i + 1]) then
    ours[#ours + 1] = ARGV[i]
  else
    lost[#lost + 1] = ARGV[i]
  end
end
for from = 1, #ours, 1000 do
  local args = { KEYS[1], ARGV[1], ARGV[2], 0 }
  for i = from, math.min(from + 999, #ours) do args[#args + 1] = ours[i] end
  args[#args + 1] = 'JUSTID'
  redis.call('XCLAIM', unpack(args))
end
refuse_as_replica(KEYS[1], ARGV[1])
return lost

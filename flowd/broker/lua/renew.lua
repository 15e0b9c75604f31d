-- Renew the leases of running deliveries.
--
-- KEYS  stream
-- ARGV  group  consumer  first id  last id  (id count)..., 1,000 at most
-- Returns the ids that are not ours any more.
--
-- One step, because XCLAIM steals: renewing without looking would take a job back from
-- the worker that took it over. JUSTID resets the idle time and leaves the count.
--@ begin
local n = (#ARGV - 4) / 2
local held = fence(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], n)
local ours, lost = {}, {}
for i = 5, #ARGV, 2 do
  if held(ARGV[i]) == tonumber(ARGV[i + 1]) then
    ours[#ours + 1] = ARGV[i]
  else
    lost[#lost + 1] = ARGV[i]
  end
end
if #ours > 0 then
  local args = { KEYS[1], ARGV[1], ARGV[2], 0, unpack(ours) }
  args[#args + 1] = 'JUSTID'
  redis.call('XCLAIM', unpack(args))
  --@ renewed
end
refuse_as_replica(KEYS[1], ARGV[1])
return lost

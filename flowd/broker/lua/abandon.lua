-- Give up deliveries whose handlers do not end.
--
-- KEYS  stream
-- ARGV  group  consumer  consumer that gets them  (id  count  count from now on)...
-- Returns the ids that were not ours any more.
--
-- A consumer renews what it owns and runs, when it sorts out its own entries. So what it
-- gives up goes to a name that no process has; the lease that runs, runs on, and any worker
-- takes the job over at its end. One step, because XCLAIM steals.
--
-- A worker that ends takes its delivery off the count: it was stopped, and did not crash.
local group, consumer = ARGV[1], ARGV[2]
local lost = {}
for i = 4, #ARGV, 3 do
  local id = ARGV[i]
  local p = redis.call('XPENDING', KEYS[1], group, id, id, 1, consumer)[1]
  if p and p[4] == tonumber(ARGV[i + 1]) then
    redis.call(
      'XCLAIM', KEYS[1], group, ARGV[3], 0, id, 'IDLE', p[3], 'RETRYCOUNT', ARGV[i + 2],
      'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
refuse_as_replica(KEYS[1], group)
return lost

-- Say of suspects that wait for their turn whether this delivery counts.
--
-- KEYS  stream
-- ARGV  group  consumer  (id  count  count from now on)...
-- Returns the ids that are not ours any more.
--
-- A worker that dies would raise the count of what only waits in it. So what waits is held
-- with one delivery less, and gets it back when it starts. One step, because XCLAIM
-- steals. Either count is ours: the answer to a former try may have been lost.
local group, consumer = ARGV[1], ARGV[2]
local lost = {}
for i = 3, #ARGV, 3 do
  local id, new = ARGV[i], tonumber(ARGV[i + 2])
  local p = redis.call('XPENDING', KEYS[1], group, id, id, 1, consumer)[1]
  if p and (p[4] == tonumber(ARGV[i + 1]) or p[4] == new) then
    redis.call(
      'XCLAIM', KEYS[1], group, consumer, 0, id, 'RETRYCOUNT', new, 'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
refuse_as_replica(KEYS[1], group)
return lost

-- Let leases run out that were stamped by a clock that has stepped back since.
--
-- KEYS  stream
-- ARGV  group  lease in ms  (id consumer count)...
-- Returns how many.
--
-- One step, because an entry may be renewed, settled or taken over at any moment. Owner and
-- count stay, so that the next sweep takes it over, counted, and a renewal keeps it. What
-- is stamped in the future shows no idle time at all.
--
-- Bounds: one row for each id, of which the caller sends 500 at most.
local stream, group = KEYS[1], ARGV[1]
local expired = 0
for i = 3, #ARGV, 3 do
  local id, consumer = ARGV[i], ARGV[i + 1]
  local p = redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
  if p and p[3] == 0 and p[4] == tonumber(ARGV[i + 2]) then
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'IDLE', ARGV[2], 'JUSTID')
    expired = expired + 1
  end
end
refuse_as_replica(stream, group)
return expired

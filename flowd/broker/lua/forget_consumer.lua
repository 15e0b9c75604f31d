-- Forget consumers that own nothing.
--
-- KEYS  stream  receipts  workers
-- ARGV  group  ms without a sign of life, at least  consumer, or '' for all
-- Returns how many were deleted.
--
-- One step, because XGROUP DELCONSUMER drops what the consumer owns, and no other
-- consumer gets it.
--
-- Bounds: the group's consumers, each read once; no job is read.
local deleted = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local found = by_name(row)
  local meant = ARGV[3] == '' or ARGV[3] == found.name
  if meant and found.pending == 0 and found.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], found.name)
    redis.call('HDEL', KEYS[2], found.name)
    redis.call('HDEL', KEYS[3], found.name)
    deleted = deleted + 1
  end
end
return deleted

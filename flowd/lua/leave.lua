-- Forget a consumer that owns nothing.
--
-- KEYS  stream
-- ARGV  group  consumer
-- Returns 1 if it was deleted, 0 if it owns entries or is not there.
--
-- One step, because XGROUP DELCONSUMER drops what the consumer owns without handing it
-- to anybody.
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local found = {}
  for i = 1, #c, 2 do found[c[i]] = c[i + 1] end
  if found.name == ARGV[2] and found.pending == 0 then
    return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) + 1
  end
end
return 0

-- Resume a queue: set its group back to where it was.
--
-- KEYS  stream  control
-- ARGV  group
-- Returns 1, or 0 if it was not paused.
--
-- One step, because between two a worker would get both. If where it was is lost, the
-- last entry that is pending says it: what is behind it and was settled is deleted, so all
-- that is there was never delivered.
local stream, control, group = KEYS[1], KEYS[2], ARGV[1]
local refused = other_group(stream, group)
if refused then return refused end
local saved = redis.call('HGET', control, '@paused')
local row = group_of(stream, group)
local stands = row and row['last-delivered-id'] == END
if stands then
  local id, read = (saved or ''):match('^(%S+) (%S+)')
  id = id or redis.call('XPENDING', stream, group)[3] or '0-0'
  if read and read ~= '-' then
    redis.call('XGROUP', 'SETID', stream, group, id, 'ENTRIESREAD', read)
  else
    redis.call('XGROUP', 'SETID', stream, group, id)
  end
end
redis.call('HDEL', control, '@paused')
refuse_as_replica(stream, group)
return (saved or stands) and 1 or 0

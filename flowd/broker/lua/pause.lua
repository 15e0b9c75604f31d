-- Pause a queue: set its group behind every entry there can be, so that no reader gets one.
--
-- KEYS  stream  control
-- ARGV  group
-- Returns 1, or 0 if it was paused before.
--
-- Readers of any kind and version stop at once, those that are blocked as well. One step,
-- because where the group was must be kept before it is set elsewhere.
--
-- A group that is made anew while its queue is paused stands at its beginning: then this
-- keeps the new place and sets it again.
local stream, control, group = KEYS[1], KEYS[2], ARGV[1]
local refused = other_group(stream, group)
if refused then return refused end
local row = group_of(stream, group)
if not row then return redis.error_reply('NOGROUP the queue was never set up: start a worker') end
local known = redis.call('HGET', control, '@paused')
if row['last-delivered-id'] ~= END then
  local read = row['entries-read']
  redis.call(
    'HSET', control, '@paused',
    row['last-delivered-id'] .. ' ' .. (read and string.format('%.0f', read) or '-') .. ' '
      .. (known and known:match('%d+$') or string.format('%.0f', now_ms())))
  redis.call('XGROUP', 'SETID', stream, group, END)
end
refuse_as_replica(stream, group)
return known and 0 or 1

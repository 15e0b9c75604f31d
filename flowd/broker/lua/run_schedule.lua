-- Enqueue the job of a schedule at an operator's request; its ticks are not changed.
--
-- KEYS  stream  cron
-- ARGV  name  job id
-- Returns the entry's id.
--
-- One step, because the fields and the run belong to the release that is registered.
local stream, cron, name = KEYS[1], KEYS[2], ARGV[1]
local fields = redis.call('HGET', cron, name .. ':fields')
if not fields then return redis.error_reply('ERR no such schedule') end
local now = string.format('%.0f', now_ms())
local entry = { '_id', ARGV[2], '_at', now }
for _, each in ipairs(cmsgpack.unpack(fields)) do entry[#entry + 1] = each end
local id = redis.call('XADD', stream, '*', unpack(entry))
redis.call(
  'HSET', cron, name .. ':run', ARGV[2], name .. ':entry', id, name .. ':ran', now,
  name .. ':outcome', '')
return id

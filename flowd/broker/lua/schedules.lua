-- Register the schedules of a queue, in place of those that were registered.
--
-- KEYS  cron
-- ARGV  digest of them, '' for none  1 if only what is left behind may be replaced, else 0
--       then for each: name, what its ticks depend on, text for operators, n,
--         (field name, value) * n/2
-- Returns 1 if these are registered now, else 0.
--
-- One step, because workers of two releases set up at the same moment, and half of the
-- one set must not stay with half of the other. A schedule that is new, or whose ticks
-- are others, begins now: no tick of the past runs.
local cron, digest = KEYS[1], ARGV[1]
local now = now_ms()
local ms = string.format('%.0f', now)
local owner = redis.call('HGET', cron, '@digest')
if not owner and digest == '' then return 1 end
if ARGV[2] == '1' and owner and owner ~= digest then
  -- A release without schedules gives no sign of life, so it is given longer.
  local patience = owner == '' and 3600000 or 60000
  local seen = redis.call('HGET', cron, '@seen')
  if now - (tonumber(seen or nil) or 0) < patience then return 0 end
end

local names, kept, i = {}, {}, 3
while i <= #ARGV do
  local name, timing, text, n = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local fields = { unpack(ARGV, i + 4, i + 3 + n) }
  local tick = redis.call('HGET', cron, name .. ':tick')
  if not tick or redis.call('HGET', cron, name .. ':timing') ~= timing then
    redis.call('HSET', cron, name .. ':tick', ms)
  end
  redis.call(
    'HSET', cron, name .. ':timing', timing, name .. ':text', text,
    name .. ':fields', cmsgpack.pack(fields))
  kept[name] = true
  names[#names + 1] = name
  i = i + 4 + n
end
local before = redis.call('HGET', cron, '@names') or ''
for name in before:gmatch('[^,]+') do
  if not kept[name] then
    for _, part in ipairs({ 'tick', 'timing', 'text', 'fields', 'paused', 'run', 'entry',
      'ran', 'outcome' }) do
      redis.call('HDEL', cron, name .. ':' .. part)
    end
  end
end
redis.call(
  'HSET', cron, '@digest', digest, '@seen', ms, '@names', table.concat(names, ','))
return 1

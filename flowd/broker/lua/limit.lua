-- Show the keys of a gate that hold up jobs, or change the limit of one.
--
-- KEYS  stream  delayed jobs  those of the gate
-- ARGV  group  what  c:KEY or r:KEY, or ''  limit  rules
--         what: list, set, reset; reset without a key resets all of them
-- Returns for each key { c:KEY, r:KEY or u:KEY, own limit or -1, slots that are taken, jobs
--   that wait for it, ms until one may start or -1, holder... }; of a lock the job that has it.
--
-- One step, because what a higher limit lets in has to come with it.
--
-- Bounds: 100 keys, and of each 20 holders and the lanes of 20; 1,000 slots and 1,000 lanes
-- that may go are looked at.
local stream, bodies = KEYS[1], KEYS[2]
local group, what, named, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local gate = open_gate(stream, group, bodies)
local seen, order = {}, {}

local function see(name)
  if not seen[name] and #order < 100 then
    seen[name] = true
    order[#order + 1] = name
  end
end

if what == 'set' then
  redis.call('HSET', gate.limits, named, limit)
elseif what == 'reset' and named ~= '' then
  redis.call('HDEL', gate.limits, named)
elseif what == 'reset' then
  for _, name in ipairs(redis.call('HKEYS', gate.limits)) do see(name) end
  redis.call('DEL', gate.limits)
end
if what ~= 'list' then
  if named ~= '' then see(named) end
  for _, name in ipairs(order) do
    local sign, key = name:sub(1, 1), name:sub(3)
    if sign == 'r' then gate.wake_rate(key) end
    for _ = 1, sign == 'c' and math.min(100, gate.slots_left(key)) or 0 do gate.wake(sign, key) end
  end
  gate.admit()
  gate.close()
  return {}
end

if named ~= '' then
  see(named)
else
  for _, name in ipairs(redis.call('HKEYS', gate.limits)) do see(name) end
  local from = '-'
  while #order < 100 do
    local row = redis.call('ZRANGEBYLEX', gate.waits, from, '+', 'LIMIT', 0, 1)[1]
    if not row then break end
    local name = row:match('^%Z+')
    see(name)
    from = '(' .. name .. '\1'
  end
  local taken = {}
  for _, row in ipairs(redis.call('ZRANGE', gate.slots, 0, 999)) do
    local key = row:match('^%Z+')
    taken[key] = (taken[key] or 0) + 1
    local most = gate.rules.n
    if most and taken[key] >= math.max(1, 0.8 * most) then see('c:' .. key) end
  end
end
-- Jobs of lanes that may go wait as well: for room, or for a worker.
local ready = {}
for _, lane in ipairs(redis.call('ZRANGE', gate.lanes, 0, 999)) do
  local c, r, u = lane:match('^(%S*) (%S*) %S* %S* (%S*)$')
  for sign, key in pairs({ c = c, r = r, u = u }) do
    local name = sign .. ':' .. key
    if seen[name] then
      ready[name] = (ready[name] or 0)
        + redis.call('ZLEXCOUNT', gate.parked, '[' .. lane .. '\0', '(' .. lane .. '\1')
    end
  end
end
local rows = {}
for _, name in ipairs(order) do
  local sign, key = name:sub(1, 1), name:sub(3)
  local own = redis.call('HGET', gate.limits, name)
  local row = { name, tonumber(own or -1), 0, ready[name] or 0, -1 }
  if sign == 'c' then
    row[3] = redis.call('ZLEXCOUNT', gate.slots, '[' .. key .. '\0', '(' .. key .. '\1')
    for _, slot in ipairs(redis.call(
      'ZRANGEBYLEX', gate.slots, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 20)) do
      row[#row + 1] = slot:sub(#key + 2)
    end
  elseif sign == 'u' then
    local _, job = gate.holder(key)
    if job then
      row[3] = 1
      row[6] = job
    end
  else
    local opens = gate.opens_at(key)
    row[5] = opens and math.ceil((opens - gate.now) / 1000) or -1
  end
  for _, wait in ipairs(redis.call(
    'ZRANGEBYLEX', gate.waits, '[' .. name .. '\0', '(' .. name .. '\1', 'LIMIT', 0, 20)) do
    local lane = wait:sub(#name + 19)
    row[4] = row[4]
      + redis.call('ZLEXCOUNT', gate.parked, '[' .. lane .. '\0', '(' .. lane .. '\1')
  end
  rows[#rows + 1] = row
end
return rows

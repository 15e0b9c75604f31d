-- Tend a queue: promote what is due, take over what was abandoned.
--
-- KEYS  stream  delayed  delayed jobs
-- ARGV  group  consumer  lease in ms  promotions at most  takeovers at most  cursor
--       stranded at most  channel of the tail  id that this consumer is running...
-- Returns { promoted, ms until the next is due or -1, cursor, ms until the next lease
--   may run out, { { id, count, fields }... }, listeners } where the entries are this
--   consumer's now.
--
-- One step each, because a job must never be in two places or in none, and an entry
-- must reach the caller with the very count that fences it.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local refused = other_group(stream, group)
if refused then return refused end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[4])
-- What is promoted takes the room of its body: behind a write that changes nothing, a
-- server that is out of memory accepts it. Or a queue of delayed jobs alone would stop.
if due[1] then refuse_as_replica(stream, group) end
local refused_one = false
for _, job in ipairs(due) do
  local body = redis.call('HGET', bodies, job)
  local added = body and redis.pcall('XADD', stream, '*', unpack(cmsgpack.unpack(body)))
  refused_one = type(added) == 'table'
  if refused_one then break end
  redis.call('HDEL', bodies, job)
  redis.call('ZREM', delayed, job)
end
local next = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
local next_due = next[2] and math.max(refused_one and 1000 or 0, next[2] - now) or -1

local taken = {}
-- An entry deleted while it was pending is a ghost: acknowledge it, or it stays for ever.
local function take(id, count)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    taken[#taken + 1] = { id, count, entry[2] }
  else
    redis.call('XACK', stream, group, id)
  end
end

local running = {}
for i = 9, #ARGV do running[ARGV[i]] = true end

-- After a read whose reply was lost, the server holds entries for us that nobody runs.
local stranded = tonumber(ARGV[7])
if stranded > 0 then
  for id, count in pairs(held(stream, group, consumer, '-', '+')) do
    if #taken < stranded and not running[id] then take(id, count) end
  end
end

local cursor, next_lease = ARGV[6], lease
local takeovers = tonumber(ARGV[5])
if takeovers > 0 then
  -- Our own leases may have run out while the server was away. XAUTOCLAIM skips no
  -- consumer, and would raise the count of a job that is running here. What nobody runs
  -- here was handed to a connection that only the server still believed in.
  local from = '-'
  while from do
    local mine = redis.call(
      'XPENDING', stream, group, 'IDLE', lease, from, '+', 1000, consumer)
    for _, p in ipairs(mine) do
      local stray = not running[p[1]]
      if not stray or #taken < takeovers then
        redis.call('XCLAIM', stream, group, consumer, 0, p[1], 'JUSTID')
        if stray then take(p[1], p[4]) end
      end
    end
    from = mine[1000] and '(' .. mine[1000][1]
  end
  if #taken < takeovers then
    local claimed = redis.call(
      'XAUTOCLAIM', stream, group, consumer, lease, cursor, 'COUNT', takeovers - #taken)
    cursor = claimed[1]
    for _, entry in ipairs(claimed[2]) do
      if entry then
        local p = redis.call('XPENDING', stream, group, entry[1], entry[1], 1)[1]
        taken[#taken + 1] = { entry[1], p[4], entry[2] }
      end
    end
    if not claimed[3] then -- 6.2 leaves deleted entries pending, now under our name
      for id in pairs(held(stream, group, consumer, '-', '+')) do
        if #redis.call('XRANGE', stream, id, id) == 0 then
          redis.call('XACK', stream, group, id)
        end
      end
    end
  end
  -- Leases are renewed at a quarter; one that is half gone belongs to a dead worker.
  local half = math.floor(lease / 2)
  next_lease = cursor == '0-0' and half or 0
  local suspects = redis.call('XPENDING', stream, group, 'IDLE', half, '-', '+', 100)
  for _, p in ipairs(suspects) do
    next_lease = math.min(next_lease, math.max(0, lease - p[3]))
  end
end
-- Without the right to ask, nobody listens.
local listeners = redis.pcall('PUBSUB', 'NUMSUB', ARGV[8])[2] or 0
refuse_as_replica(stream, group)
return { #due, next_due, cursor, next_lease, taken, listeners }

-- Maintain a queue: promote what is due, take over what was abandoned.
--
-- KEYS  stream  delayed  delayed jobs
-- ARGV  group  consumer  lease in ms  promotions at most  takeovers at most  cursor
--       own entries to take at most  ids that this consumer runs, with spaces between
-- Returns { promoted, ms until the next is due or -1, cursor, ms until the next lease
--   may run out, { { id, count, fields }... }, 1 if entries of this consumer have to be
--   sorted out first } where the entries are this consumer's now.
--
-- One step each, because a job must never be in two places or in none, and an entry
-- must reach the caller with the very count that fences it.
--
-- Bounds: 1 MB of jobs and the one that reaches it, moved or returned; 10,000 pending
-- entries looked at for takeovers, from the cursor on. Of its own entries a consumer has
-- no more than it may run, and those of one lost answer.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Returns the id of the entry; false if the job has to wait elsewhere; or an error.
local function promote(_, body)
  return redis.pcall('XADD', stream, '*', unpack(cmsgpack.unpack(body)))
end

--@ begin
local refused = other_group(stream, group)
if refused then return refused end

local bytes, most_bytes = 0, 1000000
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[4])
-- What is promoted takes the room of its body: behind a write that changes nothing, a
-- server that is out of memory accepts it. Or a queue of delayed jobs alone would stop.
if due[1] then refuse_as_replica(stream, group) end
local gone, refused_one = {}, false
for _, job in ipairs(due) do
  local body = redis.call('HGET', bodies, job)
  local added = body and promote(job, body)
  refused_one = type(added) == 'table'
  if refused_one then break end
  if added then redis.call('HDEL', bodies, job) end
  gone[#gone + 1] = job
  bytes = bytes + #(body or '')
  --@ promoted
  if bytes >= most_bytes then break end
end
--@ due
-- Last, so that a job is due again if what it came to is not written.
if gone[1] then redis.call('ZREM', delayed, unpack(gone)) end
local next = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
local next_due = next[2] and math.max(refused_one and 1000 or 0, next[2] - now) or -1

local taken, wanted = {}, 0
local function room() return #taken < wanted and bytes < most_bytes end

-- An entry deleted while it was pending is a ghost: acknowledge it, or it stays pending without end.
local function take(id, count, entry)
  if not entry then
    redis.call('XACK', stream, group, id)
    return
  end
  for _, value in ipairs(entry[2]) do bytes = bytes + #value end
  taken[#taken + 1] = { id, count, entry[2] }
end

-- Own entries that do not run came in an answer that never arrived; those that run and
-- have lost their lease are renewed, because the server was away.
local own = tonumber(ARGV[7])
if own > 0 then
  local running, from = {}, '-'
  for id in string.gmatch(ARGV[8] or '', '[^ ]+') do running[id] = true end
  wanted = own
  while from and room() do
    local rows = redis.call('XPENDING', stream, group, from, '+', 1000, consumer)
    local late = { stream, group, consumer, 0 }
    for _, p in ipairs(rows) do
      local id = p[1]
      if running[id] then
        if p[3] >= lease then late[#late + 1] = id end
      elseif room() then
        redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
        take(id, p[4], redis.call('XRANGE', stream, id, id)[1])
      end
    end
    if #late > 4 then
      late[#late + 1] = 'JUSTID'
      redis.call('XCLAIM', unpack(late))
    end
    from = rows[1000] and '(' .. rows[1000][1]
  end
end

local cursor, next_lease, unsorted = ARGV[6], lease, 0
local takeovers = tonumber(ARGV[5])
if takeovers > 0 then
  -- XAUTOCLAIM skips no consumer, and would raise the count of a job that runs here.
  unsorted = #redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', 1, consumer)
  -- One at a time, so that what is claimed never exceeds the bytes; each look passes ten
  -- entries at most. JUSTID leaves the count, which is raised with the entry at hand.
  local looks = unsorted > 0 and 0 or 1000
  wanted = #taken + takeovers
  while looks > 0 and room() do
    looks = looks - 1
    local found = redis.call(
      'XAUTOCLAIM', stream, group, consumer, lease, cursor, 'COUNT', 1, 'JUSTID')
    cursor = found[1]
    local id = found[2][1]
    if id then
      local count = redis.call('XPENDING', stream, group, id, id, 1)[1][4] + 1
      redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', count, 'JUSTID')
      take(id, count, redis.call('XRANGE', stream, id, id)[1])
    end
    if cursor == '0-0' then looks = 0 end
  end
  -- Leases are renewed at a quarter; one that is half gone belongs to a dead worker.
  local half = math.floor(lease / 2)
  next_lease = (cursor == '0-0' and unsorted == 0) and half or 0
  if redis.call('XPENDING', stream, group)[1] <= 10000 then
    local suspects = redis.call('XPENDING', stream, group, 'IDLE', half, '-', '+', 100)
    for _, p in ipairs(suspects) do
      next_lease = math.min(next_lease, math.max(0, lease - p[3]))
    end
  else
    next_lease = math.min(next_lease, 1000) -- too many to ask: look again soon
  end
end
local reply = { #gone, next_due, cursor, next_lease, taken, unsorted }
refuse_as_replica(stream, group)
--@ reply
return reply
